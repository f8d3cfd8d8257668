"""The client of MLflow's scoring server, unmodified: frames with gaps, timestamps and an index."""

from __future__ import annotations

from typing import Any

import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import check_probabilities, expected_labels


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The reports of the client, which asks the default model."""
    return run_client("mlflow_scoring", *doors.http.split(":"), module="mlflow", environment="mlflow")


def _check(predictions: dict[str, Any]) -> None:
    """Checks the frame that the client makes of an answer."""
    names = list(predictions)
    if names == ["0"] or names == [0]:
        assert predictions[names[0]] == expected_labels("visits")
        return
    assert predictions["predictions"] == expected_labels("visits")
    check_probabilities("visits", predictions["probabilities"])


@pytest.mark.parametrize(
    "call", ["frame", "frame with timestamps", "frame with an index", "records", "list", "no parameters"]
)
def test_answers_to_a_frame_are_torchs(reports: Reports, call: str) -> None:
    _check(reports[call])


def test_the_server_has_a_version(reports: Reports) -> None:
    assert reports["version"]


@pytest.mark.parametrize("call", ["frame of another model", "matrix without a column", "parameters"])
def test_wrong_rows_are_refused_with_their_reason(reports: Reports, call: str) -> None:
    assert "error code 4" in reports[call]
