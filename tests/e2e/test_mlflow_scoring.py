"""MLflow's scoring protocol on the running server: torch's answers, and the errors of MLflow's server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from protocol_servers import (
    FIRST,
    MODELS,
    MOST_ROWS,
    ORACLES,
    READ_SECRET,
    ask,
    protocol_server,
    rows_of,
    stopped_worker,
)
from serving import Oracle, Server

from models.columns.schema import ClassTarget, NumericTarget

JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with protocol_server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


def check(name: str, rows: list[list[Any]], answer: Any, oracle: Oracle | None = None) -> None:
    """Compares an answer with torch's."""
    target, oracle = MODELS[name].schema.target, oracle or ORACLES[name]
    expected = [oracle(row) for row in rows]
    if isinstance(target, NumericTarget):
        assert list(answer) == ["predictions"]
        found = [[value] for value in answer["predictions"]]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * target.std)
        return
    assert isinstance(target, ClassTarget)
    assert list(answer) == ["predictions", "probabilities"]
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-5, atol=1e-5)
    assert answer["predictions"] == [target.labels[int(np.argmax(row))] for row in expected]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 7, MOST_ROWS])
def test_every_form_gets_torchs_answers(server: Server, name: str, count: int) -> None:
    rows, names = rows_of(name, count), list(MODELS[name].schema.names)
    columns = {column: [row[at] for row in rows] for at, column in enumerate(names)}
    others = {"columns": ["more", *reversed(names)], "data": [[None, *reversed(row)] for row in rows]}
    for document in (
        {"dataframe_split": {"columns": names, "data": rows, "index": list(range(count))}},
        {"dataframe_split": others, "params": {}},
        {"dataframe_records": [{"more": [], **dict(zip(names, row, strict=True))} for row in rows], "params": None},
        {"instances": rows},
        {"instances": columns},
        {"inputs": rows},
        {"inputs": columns},
    ):
        answer = ask(server, "POST", f"/invocations?model={name}", json.dumps(document), **JSON)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
        check(name, rows, answer.json())
    table = "\n".join([",".join(["more", *names]), *(",".join(map(str, ["?", *row])) for row in rows)])
    answer = ask(server, "POST", f"/invocations?model={name}", table, **CSV)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json"), answer.text
    check(name, rows, answer.json())


@pytest.mark.parametrize(
    ("query", "name", "oracle"),
    [("", "mixed", None), ("?model=colours", "colours", None), ("?model=colours@old", "colours", FIRST)],
)
def test_the_query_names_the_model_or_the_default_model_answers(
    server: Server, query: str, name: str, oracle: Oracle | None
) -> None:
    for count in (1, MOST_ROWS):
        rows = rows_of(name, count)
        for path in ("/invocations", "/axon/invocations"):
            answer = ask(server, "POST", f"{path}{query}", json.dumps({"inputs": rows}))
            check(name, rows, answer.json(), oracle)


FRAME = {"dataframe_split": {"columns": ["age", "city"], "data": [[40, "Rome"]]}}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code", "said"),
    [
        ("", FRAME, {"X-API-Key": "unknown"}, 401, "UNAUTHENTICATED", "The API key is not known."),
        ("", FRAME, {"X-API-Key": READ_SECRET}, 403, "PERMISSION_DENIED", "predict"),
        ("?model=nobody", FRAME, {}, 404, "RESOURCE_DOES_NOT_EXIST", "There is no model 'nobody'."),
        ("?model=broken", FRAME, {}, 503, "TEMPORARILY_UNAVAILABLE", "cannot be loaded"),
        ("?modle=colours", FRAME, {}, 400, "BAD_REQUEST", "modle"),
        ("?model=price&model=mixed", FRAME, {}, 400, "BAD_REQUEST", "model"),
        ("", {"inputs": [[40, "Rome"], ["40", "Rome"]]}, {}, 400, "BAD_REQUEST", "Row 1, column 'age': \"40\" is not"),
        ("", {"inputs": [[True, "Rome"]]}, {}, 400, "BAD_REQUEST", "Row 0, column 'age': true is not a number"),
        ("", {"dataframe_split": {"columns": ["age"], "data": [[40]]}}, {}, 400, "BAD_REQUEST", "column 'city': this"),
        ("", {"inputs": [[40, "Rome"]], "params": {"x": 1}}, {}, 400, "BAD_REQUEST", "params has to be empty"),
        ("", "age,city\n40\n", CSV, 400, "BAD_REQUEST", "Row 0"),
        ("", "age\n40\n", CSV, 400, "BAD_REQUEST", "lacks 'city'"),
        ("", {"inputs": [[40, "Rome"]] * (MOST_ROWS + 1)}, {}, 413, "BAD_REQUEST", "more than 3,000 rows"),
        ("", "x" * 400_001, {}, 413, "BAD_REQUEST", "400,"),
        ("", FRAME, {"Content-Type": "image/png"}, 415, "BAD_REQUEST", "image/png"),
        ("", FRAME, {"X-Request-Timeout-Seconds": "0.000001"}, 504, "DEADLINE_EXCEEDED", "deadline"),
        ("", "{", {}, 400, "BAD_REQUEST", "is not JSON"),
    ],
)
def test_errors_are_those_of_the_protocol(
    server: Server, path: str, body: Any, headers: dict[str, str], status: int, code: str, said: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    for _ in range(2):
        answer = ask(server, "POST", f"/invocations{path}", content, **headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json"), answer.text
        assert list(answer.json()) == ["error_code", "message"]
        assert answer.json()["error_code"] == code
        assert said in answer.json()["message"]


def test_rows_that_find_no_place_in_the_queue_may_come_again(server: Server) -> None:
    body = json.dumps({"inputs": [[40, "Rome"]] * 2000})
    with stopped_worker(server), ThreadPoolExecutor(4) as pool:
        waiting = [
            pool.submit(ask, server, "POST", "/invocations", body, **{"X-Request-Timeout-Seconds": "2"})
            for _ in range(4)
        ]
        answers = [one.result() for one in waiting]
    codes = {answer.status_code: answer.json()["error_code"] for answer in answers}
    assert codes == {429: "REQUEST_LIMIT_EXCEEDED", 504: "DEADLINE_EXCEEDED"}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)


@pytest.mark.parametrize("path", ["/ping", "/health", "/axon/ping"])
def test_probes_need_no_key(server: Server, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = ask(server, method, path, **{"X-API-Key": "unknown"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_the_version_is_axons_and_needs_a_key(server: Server) -> None:
    assert ask(server, "GET", "/version").text == version("axon")
    answer = ask(server, "GET", "/version", **{"X-API-Key": "unknown"})
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(("method", "path"), [("GET", "/invocations"), ("POST", "/ping"), ("DELETE", "/version")])
def test_other_methods_have_the_protocols_error(server: Server, method: str, path: str) -> None:
    answer = ask(server, method, path)
    assert (answer.status_code, answer.json()["error_code"]) == (405, "ENDPOINT_NOT_FOUND")
    assert answer.headers["Allow"]


def test_the_health_probes_of_axon_are_as_before(server: Server) -> None:
    assert ask(server, "GET", "/health/live").json() == {"status": "live", "reason": None}
    answer = ask(server, "GET", "/health/nothing")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
