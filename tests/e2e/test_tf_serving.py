"""TensorFlow Serving's REST protocol on the running server: torch's answers, and the protocol's own errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from protocol_servers import (
    FIRST,
    MODELS,
    MOST_ROWS,
    ORACLES,
    READ_SECRET,
    SECRET,
    ask,
    protocol_server,
    rows_of,
    stopped_worker,
)
from serving import Oracle, Server

from models.columns.schema import ClassTarget, NumericTarget


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with protocol_server(tmp_path_factory.mktemp("tf")) as server:
        yield server


def post(server: Server, path: str, document: Any, **headers: str) -> Any:
    answer = ask(server, "POST", path, json.dumps(document), **headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    return answer.json()


def check(name: str, rows: list[list[Any]], labels: list[Any], values: Any, oracle: Oracle | None = None) -> None:
    """Compares predictions, and probabilities or values, with torch's."""
    target, oracle = MODELS[name].schema.target, oracle or ORACLES[name]
    expected = [oracle(row) for row in rows]
    scale = target.std if isinstance(target, NumericTarget) else 1.0
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4 * scale)
    if isinstance(target, ClassTarget):
        assert labels == [target.labels[int(np.argmax(row))] for row in expected]


def check_outputs(name: str, rows: list[list[Any]], outputs: Any, oracle: Oracle | None = None) -> None:
    if isinstance(outputs, list):
        check(name, rows, [], [[value] for value in outputs], oracle)
    else:
        assert list(outputs) == ["predictions", "probabilities"]
        check(name, rows, outputs["predictions"], outputs["probabilities"], oracle)


def columns(name: str, rows: list[list[Any]]) -> dict[str, list[Any]]:
    return {column: [row[at] for row in rows] for at, column in enumerate(MODELS[name].schema.names)}


def objects(name: str, rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(MODELS[name].schema.names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 7, MOST_ROWS])
def test_every_form_of_predict_gets_torchs_answers(server: Server, name: str, count: int) -> None:
    rows, path = rows_of(name, count), f"/v1/models/{name}:predict"
    for instances in (rows, objects(name, rows)):
        predictions = post(server, path, {"instances": instances})["predictions"]
        if isinstance(MODELS[name].schema.target, ClassTarget):
            labels = [row["predictions"] for row in predictions]
            check(name, rows, labels, [row["probabilities"] for row in predictions])
        else:
            check_outputs(name, rows, predictions)
    for inputs in (rows, {"input": rows}, columns(name, rows)):
        check_outputs(
            name, rows, post(server, path, {"inputs": inputs, "signature_name": "serving_default"})["outputs"]
        )


@pytest.mark.parametrize("count", [1, MOST_ROWS])
def test_classify_and_regress_give_the_scores_of_all_classes_and_the_values(server: Server, count: int) -> None:
    rows = rows_of("mixed", count)
    answer = post(server, "/v1/models/mixed:classify", {"examples": objects("mixed", rows)})
    assert all([label for label, _ in row] == ["no", "yes"] for row in answer["results"])
    scores = [[score for _, score in row] for row in answer["results"]]
    check("mixed", rows, [("no", "yes")[int(np.argmax(row))] for row in scores], scores)
    rows = [[80, 2 + at % 7 / 2] for at in range(count)]
    examples = [{"rooms": [rooms]} for _, rooms in rows]
    answer = post(server, "/v1/models/price:regress", {"context": {"area": 80}, "examples": examples})
    check("price", rows, [], [[value] for value in answer["results"]])


@pytest.mark.parametrize(
    ("path", "oracle"),
    [
        ("/v1/models/colours:predict", None),
        ("/v1/models/colours/versions/0:predict", None),
        ("/v1/models/colours/versions/2:predict", None),
        ("/v1/models/colours/labels/latest:predict", None),
        ("/axon/v1/models/colours/versions/2:predict", None),
        ("/v1/models/colours%3Apredict?unknown=1", None),
        ("/v1/models/colours/versions/1:predict", FIRST),
        ("/v1/models/colours/labels/old:predict", FIRST),
        ("/v1/models/colours%401/versions/0:predict", FIRST),
    ],
)
def test_versions_and_labels_choose_the_model_and_0_is_the_default(
    server: Server, path: str, oracle: Oracle | None
) -> None:
    rows = rows_of("colours", 3)
    for _ in range(4):  # the lane for plain requests answers the last ones
        check_outputs("colours", rows, post(server, path, {"inputs": rows})["outputs"], oracle)
        check_outputs("colours", rows[:1], post(server, path, {"inputs": rows[:1]})["outputs"], oracle)


def test_many_clients_of_all_forms_at_once_get_their_own_answers(server: Server) -> None:
    rows = rows_of("colours", 40)

    def ask_all(row: list[float]) -> None:
        with httpx.Client(headers={"X-API-Key": SECRET}, timeout=60) as client:
            url = f"{server.url}/v1/models/colours"
            for _ in range(5):
                by_output = client.post(f"{url}:predict", content=json.dumps({"inputs": [row]})).json()["outputs"]
                [by_row] = client.post(f"{url}:predict", content=json.dumps({"instances": [row]})).json()["predictions"]
                examples = {"examples": objects("colours", [row])}
                [scores] = client.post(f"{url}:classify", content=json.dumps(examples)).json()["results"]
                check_outputs("colours", [row], by_output)
                assert by_row == {key: value for key, [value] in by_output.items()}
                assert [score for _, score in scores] == by_row["probabilities"]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask_all, rows))


ROW = {"instances": [[0, 0, 0, 0]]}
EXAMPLE = {"examples": [{"area": 80, "rooms": 3}]}


@pytest.mark.parametrize(
    ("path", "document", "headers", "status", "said"),
    [
        ("colours:predict", ROW, {"X-API-Key": "unknown"}, 401, "The API key is not known."),
        ("colours:predict", ROW, {"X-API-Key": READ_SECRET}, 403, "lacks the scope predict"),
        ("nobody:predict", ROW, {}, 404, "There is no model 'nobody'."),
        ("colours/versions/7:predict", ROW, {}, 404, "no version 7"),
        ("colours/labels/1:predict", ROW, {}, 404, "no alias '1'"),
        ("colours/labels/none:predict", ROW, {}, 404, "no alias 'none'"),
        ("colours/versions/one:predict", ROW, {}, 400, 'whole number, not "one"'),
        ("broken:predict", ROW, {}, 503, "cannot be loaded"),
        ("colours:predict", {"instances": [[0, 0, 0, 0], [0, 0, 0, "1"]]}, {}, 400, "Row 1, column 'x3': \"1\" is not"),
        ("colours:predict", {"instances": [[0, 0, True, 0]]}, {}, 400, "Row 0, column 'x2': true is not a number"),
        ("colours:predict", {"instances": [[0, 0, 0]]}, {}, 400, "Row 0: 3 values where the model takes 4"),
        ("colours:predict", {"inputs": [[0, 0, 0, 0]] * 2000 + [[0]]}, {}, 400, "Row 2000"),
        ("colours:predict", {"instances": [[0, 0, 0, 3.5e38]]}, {}, 400, "Row 0, column 'x3': 3.5e+38 is too large"),
        ("colours:predict", [], {}, 400, "has to be a JSON object"),
        ("colours:predict", {"instances": [[0, 0, 0, 0]] * (MOST_ROWS + 1)}, {}, 413, "more than 3,000 rows"),
        ("colours:predict", {"instances": ["x" * 400_000]}, {}, 413, "400,"),
        ("colours:predict", ROW, {"Content-Type": "text/csv"}, 415, "has to be JSON"),
        ("colours:predict", ROW, {"Content-Type": "image/png"}, 415, "image/png"),
        ("colours:predict", ROW, {"Content-Encoding": "br"}, 415, "br"),
        ("colours:predict", ROW, {"X-Request-Timeout-Seconds": "0.000001"}, 504, "deadline"),
        ("colours:predict", ROW, {"X-Request-Timeout-Seconds": "soon"}, 400, "soon"),
        ("colours:regress", {"examples": objects("colours", [[0, 0, 0, 0]])}, {}, 400, "is a classifier"),
        ("price:classify", EXAMPLE, {}, 400, "'price' is a regressor: ask for :regress or :predict"),
        ("price:classify", {"examples": EXAMPLE["examples"] * 2000}, {}, 400, "is a regressor"),
        ("price:regress", {"examples": [{"area": 80}]}, {}, 400, "Row 0, column 'rooms': this column is missing"),
    ],
)
def test_errors_are_those_of_the_protocol(
    server: Server, path: str, document: Any, headers: dict[str, str], status: int, said: str
) -> None:
    for _ in range(2):
        answer = ask(server, "POST", f"/v1/models/{path}", json.dumps(document), **headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
        assert list(answer.json()) == ["error"]
        assert said in answer.json()["error"]
        assert answer.headers["X-Request-ID"]


def test_rows_that_find_no_place_in_the_queue_may_come_again(server: Server) -> None:
    body = json.dumps({"instances": [[0, 0, 0, 0]] * 2000})
    with stopped_worker(server), ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(ask, server, "POST", "/v1/models/colours:predict", body, **{"X-Request-Timeout-Seconds": "2"})
            for _ in range(4)
        ]
        answers = [one.result() for one in waiting]
    assert {answer.status_code for answer in answers} == {429, 504}
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/json"
        assert list(answer.json()) == ["error"]
        assert ("Retry-After" in answer.headers) is (answer.status_code == 429)


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("colours", [1, 2]),
        ("colours/versions/0", [2]),
        ("colours/versions/1", [1]),
        ("colours/labels/old", [1]),
        ("mixed", [1]),
    ],
)
def test_status_names_the_versions(server: Server, path: str, versions: list[int]) -> None:
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    answer = ask(server, "GET", f"/v1/models/{path}")
    assert answer.status_code == 200
    assert answer.json() == {
        "name": path.partition("/")[0],
        "ready": True,
        "model_version_status": [{"version": str(version)} | available for version in versions],
    }
    assert ask(server, "GET", f"/axon/v1/models/{path}").json() == answer.json()


@pytest.mark.parametrize("path", ["broken", "broken/versions/1", "broken/labels/latest"])
def test_status_says_why_a_version_cannot_be_served(server: Server, path: str) -> None:
    answer = ask(server, "GET", f"/v1/models/{path}").json()
    assert answer["ready"] is False
    [version] = answer["model_version_status"]
    assert (version["version"], version["state"], version["status"]["error_code"]) == ("1", "END", "UNAVAILABLE")
    assert version["status"]["error_message"]


@pytest.mark.parametrize("end", ["", "/versions/0", "/versions/2", "/labels/latest"])
def test_metadata_describes_inputs_and_outputs_in_both_spellings(server: Server, end: str) -> None:
    answer = ask(server, "GET", f"/v1/models/colours{end}/metadata").json()
    assert answer["model_spec"] == {"name": "colours", "signature_name": "", "version": "2"}
    assert answer["modelSpec"] == {"name": "colours", "signatureName": "", "version": "2"}
    for definition, shape in (("signature_def", "tensor_shape"), ("signatureDef", "tensorShape")):
        signature = answer["metadata"]["signature_def"][definition]["serving_default"]
        shapes = {
            name: (tensor["dtype"], [int(one["size"]) for one in tensor[shape]["dim"]])
            for name, tensor in (signature["inputs"] | signature["outputs"]).items()
        }
        assert shapes == {
            "input": ("DT_FLOAT", [-1, 4]),
            "predictions": ("DT_STRING", [-1]),
            "probabilities": ("DT_FLOAT", [-1, 3]),
        }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nobody", 404),
        ("GET", "nobody/metadata", 404),
        ("GET", "colours/versions/3", 404),
        ("GET", "colours/versions/x/metadata", 400),
        ("GET", "broken/metadata", 503),
        ("GET", "colours:predict", 405),
        ("GET", "colours/versions/1:classify", 405),
        ("DELETE", "colours", 405),
        ("GET", "", 404),
        ("GET", "a/b/c/d", 404),
        ("POST", "colours:predict/more", 404),
        ("POST", "colours:predict%0A", 404),
    ],
)
def test_other_paths_and_methods_have_the_protocols_errors(server: Server, method: str, path: str, status: int) -> None:
    answer = ask(server, method, f"/v1/models/{path}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]
    assert ("Allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("path", ["colours", "colours/metadata", "colours/versions/1"])
def test_status_and_metadata_need_a_key(server: Server, path: str) -> None:
    answer = ask(server, "GET", f"/v1/models/{path}", **{"X-API-Key": "unknown"})
    assert (answer.status_code, answer.json()) == (401, {"error": "The API key is not known."})


def test_requests_are_counted_and_carry_their_id(server: Server) -> None:
    def counted() -> float:
        lines = ask(server, "GET", "/metrics").text.splitlines()
        ours = [line for line in lines if line.startswith("axon_requests_total{") and 'model="price"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in ours if 'status="200"' in line)

    before = counted()
    answer = ask(server, "POST", "/v1/models/price:regress", json.dumps(EXAMPLE), **{"X-Request-ID": "mine"})
    assert answer.headers["X-Request-ID"] == "mine"
    assert counted() == before + 1
