"""Triton's gRPC client, unmodified: every answer is torch's, and the descriptions are those of HTTP."""

from __future__ import annotations

import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import MODELS, ROWS, check_classes, check_outputs, check_probabilities

from benchmarks.infer_messages import INFER


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The reports of the client."""
    return run_client("triton_grpc", doors.grpc, module="tritonclient")


@pytest.fixture(scope="module")
def http_reports(doors: Doors) -> Reports:
    """The reports of the HTTP client."""
    return run_client("triton_http", doors.http, module="tritonclient")


def test_the_server_and_its_models_are_live_and_ready(reports: Reports) -> None:
    for call in ("live", "ready", "model ready", "version ready", "loaded"):
        assert reports[call] is True, call
    refused = reports["unknown model ready"]
    assert reports.get("is it ready") is False or refused["status"] == "StatusCode.NOT_FOUND"


def _plain(described: object) -> object:
    """Returns a description without the texts of 64-bit numbers and the empty fields of protobuf's JSON form."""
    if isinstance(described, dict):
        return {key: plain for key, value in described.items() if (plain := _plain(value)) not in ({}, [], "", 0, None)}
    if isinstance(described, list):
        return [_plain(value) for value in described]
    return int(described) if isinstance(described, str) and described.lstrip("-").isdigit() else described


@pytest.mark.parametrize("model", MODELS)
def test_descriptions_are_those_of_http(reports: Reports, http_reports: Reports, model: str) -> None:
    assert _plain(reports["server"]) == _plain(http_reports["server"])
    metadata = reports[f"metadata of {model}"]
    assert _plain(metadata) == _plain(http_reports[f"metadata of {model}"])
    config, other = reports[f"config of {model}"]["config"], http_reports[f"config of {model}"]
    for key in ("name", "platform", "max_batch_size", "input", "output"):
        assert _plain(config[key]) == _plain(other[key]), key


def test_the_index_is_that_of_http(reports: Reports, http_reports: Reports) -> None:
    def versions(models: list[dict[str, str]]) -> set[tuple[str, str]]:
        # The state of an older version depends on whether somebody has asked for it yet.
        assert {entry["state"] for entry in models} <= {"READY", "UNAVAILABLE"}
        return {(entry["name"], entry["version"]) for entry in models}

    assert versions(reports["index"]["models"]) == versions(http_reports["index"])


@pytest.mark.parametrize("model", MODELS)
def test_raw_answers_are_torchs(reports: Reports, model: str) -> None:
    check_outputs(model, reports[f"raw {model}"])


@pytest.mark.parametrize("call", ["double", "by column", "gzip", "deflate"])
def test_the_form_of_a_request_does_not_change_its_answer(reports: Reports, call: str) -> None:
    check_outputs("colours", reports[call])


def test_outputs_versions_classes_and_ids_are_as_asked(reports: Reports) -> None:
    assert list(reports["one output"]) == ["probabilities"]
    check_probabilities("colours", reports["one output"]["probabilities"]["data"])
    version, outputs = reports["version"]
    assert version == "1"
    check_outputs("late", outputs)
    classes = reports["classes"]
    assert (classes["datatype"], classes["shape"]) == ("BYTES", [ROWS, 2])
    check_classes("colours", classes["data"], 2)
    assert reports["id"] == ["mine, ünïque", "colours"]


def test_requests_in_flight_together_keep_their_answers(reports: Reports) -> None:
    assert sorted(int(id_) for id_, _ in reports["async"]) == list(range(20))
    for _, outputs in reports["async"]:
        check_outputs("colours", outputs)


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("unknown model", "NOT_FOUND", "nobody"),
        ("unknown version", "NOT_FOUND", "7"),
        ("unknown output", "INVALID_ARGUMENT", "logits"),
        ("wrong width", "INVALID_ARGUMENT", "3"),
        ("words", "INVALID_ARGUMENT", "x0"),
        ("shared memory", "INVALID_ARGUMENT", "shared_memory"),
        ("metadata of nobody", "NOT_FOUND", "nobody"),
        ("load of nobody", "", "nobody"),
    ],
)
def test_an_error_reaches_the_client_with_code_and_reason(reports: Reports, call: str, code: str, words: str) -> None:
    error = reports[call]
    assert error is not None, "no error"
    assert error["status"].startswith(f"StatusCode.{code}"), error
    assert words in error["message"]


def test_statistics_count_what_was_asked(reports: Reports) -> None:
    [entry] = reports["statistics"]["model_stats"]
    assert (entry["name"], entry["version"]) == ("colours", "1")
    assert int(entry["inference_stats"]["success"]["count"]) >= 20


def test_the_benchmark_asks_the_method_that_the_client_asks() -> None:
    service_pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")
    asked: list[str] = []

    class Channel:
        def __getattr__(self, name: str) -> object:
            return lambda path, **_: asked.append(path)

    service_pb2_grpc.GRPCInferenceServiceStub(Channel())
    assert INFER in asked
