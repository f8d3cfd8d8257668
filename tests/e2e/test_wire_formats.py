"""A new wire format is one file: the same rows get the same answers, under the same rules as JSON."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from models.columns.schema import ClassTarget, Schema
from models.store import Store
from service.access import new_key
from tests.serving import ROOT, Server, make_checkpoint, numeric, running

ROWS = [[round(random.Random(row).gauss(0, 1), 5), row / 10] for row in range(40)]
SCHEMA = Schema(columns=(numeric("a"), numeric("b")), target=ClassTarget(name="y", labels=("no", "yes")))
SECRET, KEY = new_key("alice", "predict,read")
MOST_ROWS = 1000


class PlainTextServer(Server):
    """`python tests/e2e/plain_text_service.py` over a store, on a free port."""

    command = (str(ROOT / "tests/e2e/plain_text_service.py"),)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("plain")
    store = Store(folder / "store")
    store.publish("pair", make_checkpoint(SCHEMA, 8, seed=1))
    store.publish("pair", make_checkpoint(SCHEMA, 8, seed=2))
    with running(
        store.root, folder, PlainTextServer, api_keys=KEY, max_request_rows=MOST_ROWS, root_path="/axon"
    ) as server:
        yield server


def text_of(rows: list[list[float]]) -> str:
    return "".join(f"{' '.join(map(str, row))}\n" for row in rows)


def post(server: Server, path: str, body: str, **headers: str) -> httpx.Response:
    given = {"X-API-Key": SECRET, "Content-Type": "text/plain"} | headers
    return httpx.post(f"{server.url}{path}", content=body.encode(), headers=given, timeout=30)


def lines_of_json(server: Server, model: str, rows: list[list[float]]) -> list[str]:
    answer = httpx.post(
        f"{server.url}/predict", json={"model": model, "instances": rows}, headers={"X-API-Key": SECRET}, timeout=30
    ).json()
    pairs = zip(answer["predictions"], answer["probabilities"], strict=True)
    return [f"{label} {' '.join(str(np.float32(value)) for value in values)}" for label, values in pairs]


@pytest.mark.parametrize("model", ["pair", "pair@1"])
@pytest.mark.parametrize("rows", [ROWS[:1], ROWS, ROWS * 20])
def test_the_answers_are_those_of_json(server: Server, model: str, rows: list[list[float]]) -> None:
    answer = post(server, f"/plain/{model}/rows", text_of(rows))
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.text.splitlines() == lines_of_json(server, model, rows)


def test_formats_that_share_a_batch_do_not_share_what_was_written(server: Server) -> None:
    def ask(row: int) -> tuple[str, str]:
        plain = post(server, "/plain/pair/rows", text_of([ROWS[row]])).text.splitlines()
        return plain[0], lines_of_json(server, "pair", [ROWS[row]])[0]

    with ThreadPoolExecutor(16) as pool:
        for plain, as_json in pool.map(ask, list(range(len(ROWS))) * 5):
            assert plain == as_json


@pytest.mark.parametrize("path", ["/plain/pair%401/rows", "/axon/plain/pair@1/rows", "/plain/pair@1/rows?x=1"])
def test_parameters_are_read_from_the_path_however_it_is_written(server: Server, path: str) -> None:
    assert post(server, path, text_of(ROWS)).text.splitlines() == lines_of_json(server, "pair@1", ROWS)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/plain/pair/rows", "1 2\n", {"X-API-Key": "unknown"}, 401, "unauthenticated: The API key is not known."),
        ("/plain/nothing/rows", "1 2\n", {}, 404, "model-not-found: There is no model 'nothing'"),
        ("/plain/pair/rows", "1 x\n", {}, 422, "invalid-request: could not convert string to float: 'x'"),
        ("/plain/pair/rows", "1 2 3\n", {}, 422, "invalid-rows: "),
        ("/plain/pair/rows", "1 2\n" * (MOST_ROWS + 1), {}, 413, "too-large: more than 1,000 rows"),
        ("/plain/pair/rows", "1 2\n", {"X-Request-Timeout-Seconds": "-1"}, 422, "invalid-request: X-Request-Timeout"),
        ("/plain/pair/rows", "1 2\n", {"X-Request-Timeout-Seconds": "0.000001"}, 504, "deadline-exceeded: "),
    ],
)
def test_the_same_rules_hold_in_the_formats_own_words(
    server: Server, path: str, body: str, headers: dict[str, str], status: int, said: str
) -> None:
    answer = post(server, path, body, **headers)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/plain")
    assert answer.text.startswith(said)
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/plain//rows", "/plain/a/b/rows", "/plain/pair", "/plain/pair/rows/"])
def test_other_paths_are_no_routes(server: Server, path: str) -> None:
    assert post(server, path, "1 2\n").status_code == 404


def test_requests_are_counted_as_those_of_json_are(server: Server) -> None:
    def counted() -> float:
        metrics = httpx.get(f"{server.url}/metrics", headers={"X-API-Key": SECRET}, timeout=30).text
        lines = [line for line in metrics.splitlines() if line.startswith("axon_requests_total{")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'version="2"' in line and 'status="200"' in line)

    before = counted()
    assert post(server, "/plain/pair/rows", text_of(ROWS)).status_code == 200
    assert counted() == before + 1


def test_an_error_that_a_format_cannot_write_is_a_problem_and_harms_no_other(server: Server) -> None:
    answer = post(server, "/plain/pair/rows", "1 unwritable\n")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "urn:axon:problem:internal"
    assert post(server, "/plain/pair/rows", text_of(ROWS)).status_code == 200
