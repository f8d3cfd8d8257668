"""OpenVINO's client of TensorFlow Serving's API, unmodified: version 0 is the default version."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import check_probabilities, check_values, expected_labels


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The reports of the client."""
    return run_client("ovms_http", doors.http, module="ovmsclient", environment="ovms")


def _check(model: str, outputs: Any) -> None:
    if model == "price":
        check_values(model, np.ravel(outputs["predictions"] if isinstance(outputs, dict) else outputs).tolist())
        return
    assert np.ravel(outputs["predictions"]).tolist() == expected_labels(model)
    check_probabilities(model, outputs["probabilities"])


@pytest.mark.parametrize("form", ["matrix", "columns"])
@pytest.mark.parametrize("model", ["colours", "price", "late"])
def test_answers_are_torchs(reports: Reports, model: str, form: str) -> None:
    _check(model, reports[f"{form} {model}"])


def test_texts_in_base64_and_gaps_are_read(reports: Reports) -> None:
    _check("visits", reports["columns visits"])


def test_a_version_answers(reports: Reports) -> None:
    _check("late", reports["version"])


def test_metadata_and_status_are_there(reports: Reports) -> None:
    inputs, outputs = reports["metadata"]["inputs"], reports["metadata"]["outputs"]
    assert inputs == {"input": {"dtype": "DT_FLOAT", "shape": [-1, 4]}}
    assert outputs["probabilities"] == {"dtype": "DT_FLOAT", "shape": [-1, 3]}
    assert reports["metadata"]["model_version"] == 1
    assert reports["metadata of texts"]["inputs"]["city"] == {"dtype": "DT_STRING", "shape": [-1, 1]}
    assert reports["status"]["1"]["state"] == "AVAILABLE"
    assert reports["status of a version"]["1"]["state"] == "AVAILABLE"


@pytest.mark.parametrize("call", ["unknown model", "unknown version", "status of nobody"])
def test_what_is_not_there_is_not_found(reports: Reports, call: str) -> None:
    assert reports[call]["type"] == "ModelNotFoundError"


def test_a_wrong_row_is_refused_with_its_reason(reports: Reports) -> None:
    assert "Row 0, column 'age': \"Rome\" is not a number" in reports["text for a number"]["message"]
    assert reports["wrong width"] is not None
    assert "3" in reports["wrong width"]["message"]
