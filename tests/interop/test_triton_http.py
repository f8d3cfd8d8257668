"""Triton's HTTP client, unmodified: every answer is torch's, every description and every error is the client's own."""

from __future__ import annotations

import pytest
from client_runs import Reports, run_client
from doors import Doors
from served_models import MODELS, ROWS, check_classes, check_outputs, check_probabilities, expected_labels, labels

from models.columns.schema import ClassTarget

INPUTS = {
    "colours": [("input", "FP32", [-1, 4])],
    "price": [("input", "FP32", [-1, 2])],
    "visits": [
        ("age", "FP32", [-1, 1]),
        ("income", "FP32", [-1, 1]),
        ("city", "BYTES", [-1, 1]),
        ("since", "BYTES", [-1, 1]),
    ],
    "late": [("input", "FP32", [-1, 3])],
}
_LABELS = {"colours": "BYTES", "visits": "INT64", "late": "BOOL"}


def outputs_of(model: str) -> list[tuple[str, str, list[int]]]:
    """Returns name, datatype and shape of each output that a model has."""
    if model == "price":
        return [("predictions", "FP32", [-1])]
    return [("predictions", _LABELS[model], [-1]), ("probabilities", "FP32", [-1, len(labels(model))])]


@pytest.fixture(scope="module")
def reports(doors: Doors) -> Reports:
    """The reports of the synchronous client."""
    return run_client("triton_http", doors.http, module="tritonclient")


@pytest.fixture(scope="module")
def async_reports(doors: Doors) -> Reports:
    """The reports of the client for asyncio."""
    return run_client("triton_aio", doors.http, module="tritonclient")


def test_the_server_and_its_models_are_live_and_ready(reports: Reports) -> None:
    for call in ("live", "ready", "model ready", "version ready", "loaded"):
        assert reports[call] is True, call
    assert reports["unknown model ready"] is False
    assert reports["unknown version ready"] is False
    assert reports["server"]["name"] == "axon"
    assert "binary_tensor_data" in reports["server"]["extensions"]


@pytest.mark.parametrize("model", MODELS)
def test_metadata_and_configuration_name_the_tensors(reports: Reports, model: str) -> None:
    metadata, config = reports[f"metadata of {model}"], reports[f"config of {model}"]
    assert metadata["name"] == config["name"] == model
    assert metadata["versions"] == (["1", "2"] if model == "late" else ["1"])
    for kind, declared in (("input", INPUTS[model]), ("output", outputs_of(model))):
        tensors = [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in metadata[f"{kind}s"]]
        assert tensors == declared
        configured = [(tensor["name"], tensor["data_type"], tensor["dims"]) for tensor in config[kind]]
        assert configured == [
            (name, f"TYPE_{datatype.replace('BYTES', 'STRING')}", shape[1:] or [1])
            for name, datatype, shape in declared
        ]
    assert config["max_batch_size"] > 0


def test_metadata_of_a_version_is_that_of_its_model(reports: Reports) -> None:
    assert reports["metadata of a version"] == reports["metadata of late"]


def test_the_index_lists_each_version(reports: Reports) -> None:
    versions = {(entry["name"], entry["version"]): entry["state"] for entry in reports["index"]}
    assert versions == dict.fromkeys(
        [("colours", "1"), ("price", "1"), ("visits", "1"), ("late", "1"), ("late", "2")], "READY"
    )


@pytest.mark.parametrize("model", MODELS)
def test_binary_answers_are_torchs(reports: Reports, model: str) -> None:
    check_outputs(model, reports[f"binary {model}"])


@pytest.mark.parametrize("model", ["colours", "price", "late"])
def test_json_answers_are_torchs(reports: Reports, model: str) -> None:
    check_outputs(model, reports[f"json {model}"])


@pytest.mark.parametrize("call", ["mixed", "double", "by column", "by flat column", "gzip", "deflate"])
def test_the_form_of_a_request_does_not_change_its_answer(reports: Reports, call: str) -> None:
    check_outputs("colours", reports[call])


def test_only_the_outputs_that_were_asked_for_come(reports: Reports) -> None:
    assert list(reports["one output"]) == ["probabilities"]
    check_probabilities("colours", reports["one output"]["probabilities"]["data"])


def test_a_version_answers_under_its_number(reports: Reports) -> None:
    version, outputs = reports["version"]
    assert version == "1"
    check_outputs("late", outputs)


def test_the_most_probable_classes_come_in_their_order(reports: Reports) -> None:
    classes = reports["classes"]
    assert (classes["datatype"], classes["shape"]) == ("BYTES", [ROWS, 2])
    check_classes("colours", classes["data"], 2)


def test_an_answer_repeats_the_id(reports: Reports) -> None:
    assert reports["id"] == ["mine, ünïque", "colours"]


def test_requests_in_flight_together_keep_their_answers(reports: Reports) -> None:
    assert [id_ for id_, _ in reports["async"]] == list(map(str, range(20)))
    for _, outputs in reports["async"]:
        check_outputs("colours", outputs)


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        ("unknown model", "404", "nobody"),
        ("unknown version", "404", "7"),
        ("unknown output", "400", "logits"),
        ("wrong name", "4", "nobody"),
        ("wrong width", "4", "3"),
        ("words", "4", "x0"),
        ("gaps", "4", "x0"),
        ("shared memory", "400", "shared_memory"),
        ("deadline", "504", ""),
        ("metadata of nobody", "404", "nobody"),
        ("config of nobody", "404", "nobody"),
        ("load with a config", "400", "config"),
        ("load with a file", "400", ""),
        ("load of nobody", "4", "nobody"),
    ],
)
def test_an_error_reaches_the_client_with_status_and_reason(
    reports: Reports, call: str, status: str, words: str
) -> None:
    error = reports[call]
    assert error is not None, "no error"
    assert error["status"].startswith(status), error
    assert words in error["message"]


def test_an_unloaded_model_answers_again_once_it_is_loaded(reports: Reports) -> None:
    assert reports["unloaded model ready"] is False
    assert reports["unloaded"] is not None
    states = {entry["name"]: entry.get("state") for entry in reports["index without a model"]}
    assert states.get("price") != "READY"
    check_outputs("price", reports["loaded again"])


def test_statistics_count_what_was_asked(reports: Reports) -> None:
    [entry] = reports["statistics"]["model_stats"]
    assert (entry["name"], entry["version"]) == ("colours", "1")
    counted = entry["inference_stats"]
    assert counted["success"]["count"] >= 20
    assert entry["inference_count"] >= 20 * ROWS
    for part in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        assert {"count", "ns"} <= counted[part].keys()
    assert reports["all statistics"] == sorted(["colours", "price", "visits", "late", "late"])


def test_the_client_for_asyncio_gets_the_same(async_reports: Reports, reports: Reports) -> None:
    for call in ("live", "ready", "model ready"):
        assert async_reports[call] is True
    assert async_reports["server"] == reports["server"]
    assert async_reports["metadata"] == reports["metadata of colours"]
    assert async_reports["config"] == reports["config of colours"]
    assert len(async_reports["many"]) == 10 * len(MODELS)
    for id_, outputs in async_reports["many"]:
        check_outputs(id_.split()[0], outputs)
    for algorithm in ("gzip", "deflate"):
        check_outputs("colours", async_reports[algorithm])
    assert async_reports["unknown model"]["status"] == "404"


def test_the_models_of_these_tests_have_labels_of_three_types() -> None:
    kinds = {
        type(checkpoint.schema.target.labels[0])
        for checkpoint in MODELS.values()
        if isinstance(checkpoint.schema.target, ClassTarget)
    }
    assert kinds == {str, int, bool}
    assert all(len(set(expected_labels(model))) > 1 for model in ("colours", "visits"))
