"""KServe's clients, unmodified: REST with both protocols, and gRPC with raw and typed contents."""

from __future__ import annotations

import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import MODELS, check_outputs, check_probabilities, check_values, expected_labels


def _run(protocol: str, address: str) -> Reports:
    return run_client("kserve_clients", protocol, address, module="kserve", environment="kserve")


@pytest.fixture(scope="module")
def v1(doors: Doors) -> Reports:
    """The reports of the REST client with version 1 of the protocol, which is TensorFlow Serving's."""
    return _run("v1", doors.http)


@pytest.fixture(scope="module")
def v2(doors: Doors) -> Reports:
    """The reports of the REST client with the Open Inference Protocol."""
    return _run("v2", doors.http)


@pytest.fixture(scope="module")
def grpc(doors: Doors) -> Reports:
    """The reports of the gRPC client."""
    return _run("grpc", doors.grpc)


def test_the_server_and_its_models_are_live_and_ready(v2: Reports) -> None:
    for call in ("live", "ready", "model ready"):
        assert v2[call] is True, call
    assert v2["unknown model ready"] is False


@pytest.mark.parametrize("model", MODELS)
def test_binary_answers_are_torchs(v2: Reports, model: str) -> None:
    id_, outputs = v2[f"binary {model}"]
    assert id_ == "mine"
    check_outputs(model, outputs)


@pytest.mark.parametrize("model", ["colours", "price", "late"])
def test_json_answers_are_torchs(v2: Reports, model: str) -> None:
    check_outputs(model, v2[f"json {model}"])


def test_binary_outputs_are_read(v2: Reports) -> None:
    check_outputs("colours", v2["binary both ways"])


def test_a_model_is_ready_in_version_1(v1: Reports) -> None:
    assert v1["model ready"] is True


@pytest.mark.parametrize("model", MODELS)
def test_answers_of_version_1_are_torchs(v1: Reports, model: str) -> None:
    predictions = v1[model]["predictions"]
    if model == "price":
        check_values(model, predictions)
    else:
        # TensorFlow Serving's form: an object for each row where a model has several outputs.
        assert [row["predictions"] for row in predictions] == expected_labels(model)
        check_probabilities(model, [row["probabilities"] for row in predictions])


def test_an_error_of_version_1_reaches_the_client_with_status_and_reason(v1: Reports) -> None:
    assert v1["unknown model"]["status"] == 404
    assert "nobody" in v1["unknown model"]["message"].partition("for url")[0]


def test_an_error_reaches_the_client_with_status_and_reason(v2: Reports) -> None:
    assert v2["unknown model"]["status"] == 404
    assert "nobody" in v2["unknown model"]["message"].partition("for url")[0]
    assert v2["wrong width"]["status"] == 400
    assert "3 values" in v2["wrong width"]["message"]


@pytest.mark.parametrize("contents", ["raw", "typed"])
@pytest.mark.parametrize("model", MODELS)
def test_answers_over_grpc_are_torchs(grpc: Reports, model: str, contents: str) -> None:
    id_, outputs = grpc[f"{contents} {model}"]
    assert id_ == "mine"
    check_outputs(model, outputs)


def test_readiness_and_errors_over_grpc_are_the_clients(grpc: Reports) -> None:
    for call in ("live", "ready", "model ready"):
        assert grpc[call] is True, call
    assert grpc["unknown model"]["status"] == "NOT_FOUND"
    assert grpc["wrong width"]["status"] == "INVALID_ARGUMENT"
