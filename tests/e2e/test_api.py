"""The REST API of a real server: refusals, the description of a model, and new versions under load."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving import (
    CHECKPOINTS,
    CLASSES,
    Oracle,
    Server,
    http_client,
    http_get,
    http_post,
    make_checkpoint,
    numeric,
    running,
    wait_until,
)

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, Schema
from models.network.config import MLPConfig
from models.network.perceptron import Perceptron
from models.store import Store

ROW = [0.1, 0.2, 0.3, 0.4]
OR_ROWS = [[0, 0], [0, 1], [1, 0], [1, 1]]


def post(server: Server, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http_post(f"{server.url}/predict", content=content, headers=headers)


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"].startswith("urn:axon:problem:")
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 422, "JSON"),
        (b"{", 422, "JSON"),
        (b"\xff\xfe", 422, "JSON"),
        (b'{"model":"colours","instances":[[1e400,1,1,1]]}', 422, "JSON"),
        (b'{"model":"colours","instances":[["\\ud800",1,1,1]]}', 422, ""),
        (b"[" * 50_000, 422, "dictionary"),
        (b"[]", 422, "dictionary"),
        (b"null", 422, ""),
        ({"model": "colours"}, 422, "instances"),
        ({"model": "colours", "instances": []}, 422, "instances"),
        ({"model": "colours", "instances": None}, 422, "instances"),
        ({"model": "colours", "instances": "x"}, 422, "instances"),
        ({"model": 3, "instances": [ROW]}, 422, "model"),
        ({"model": "colours", "instances": [ROW], "rows": 1}, 422, "rows"),
        ({"model": "colours", "instances": [ROW, "x"]}, 422, "Row 1"),
        ({"model": "colours", "instances": [ROW, []]}, 422, "Row 1"),
        ({"model": "colours", "instances": [[1, 2, 3, [4]]]}, 422, "x3"),
        ({"model": "colours", "instances": [[1, 2, 3, True]]}, 422, "x3"),
        ({"model": "mixed", "instances": [{"age": 1, "city": {"a": 1}}]}, 422, "city"),
        ({"model": "nobody", "instances": [ROW]}, 404, "nobody"),
        ({"model": "../../etc", "instances": [ROW]}, 404, "name"),
        ({"model": "colours@99", "instances": [ROW]}, 404, "version"),
        ({"model": "colours@nightly", "instances": [ROW]}, 404, "alias"),
        ({"instances": [ROW]}, 404, "colours"),
        ({"model": "colours", "instances": [ROW] * 501}, 413, "500"),
        (b" " * 200_001, 413, "200,000"),
    ],
)
def test_what_is_wrong_is_said(server: Server, body: Any, status: int, words: str) -> None:
    answer = post(server, body)
    assert answer.status_code == status, answer.text
    assert words in problem(answer)["detail"]


def test_a_body_without_a_length_is_limited_too(server: Server) -> None:
    answer = http_post(f"{server.url}/predict", content=(b" " * 10_000 for _ in range(30)))
    assert answer.status_code == 413


def test_other_paths_and_methods_are_problems_too(server: Server) -> None:
    for answer, status in [
        (http_get(f"{server.url}/predict"), 405),
        (http_post(f"{server.url}/predict%0A", json={"model": "colours", "instances": [[0, 0, 0, 0]]}), 404),
        (http_get(f"{server.url}/nowhere"), 404),
        (http_get(f"{server.url}/models/nobody"), 404),
        (http_get(f"{server.url}/models/..%2f..%2fetc"), 404),
        (http_get(f"{server.url}/models/colours/summary?format=poem"), 422),
    ]:
        assert answer.status_code == status
        problem(answer)


@pytest.mark.parametrize("timeout", ["soon", "-1", "0", "nan", "inf", ""])
def test_a_deadline_that_is_none_is_refused(server: Server, timeout: str) -> None:
    assert (
        post(server, {"model": "colours", "instances": [ROW]}, **{"X-Request-Timeout-Seconds": timeout}).status_code
        == 422
    )


def test_request_ids_come_back_and_bad_ones_are_replaced(server: Server) -> None:
    body = {"model": "colours", "instances": [ROW]}
    assert post(server, body, **{"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = [post(server, body).headers["x-request-id"] for _ in range(3)]
    assert len(set(made)) == 3
    assert post(server, body, **{"X-Request-ID": "x" * 200}).headers["x-request-id"] != "x" * 200


def test_lists_objects_references_and_company_give_the_same_bits(server: Server) -> None:
    expected = post(server, {"model": "colours", "instances": [ROW]}).json()["probabilities"][0]
    named = {f"x{i}": value for i, value in reversed(list(enumerate(ROW)))}
    for model in ("colours", "colours@1", "colours@latest"):
        for row in (ROW, named):
            assert post(server, {"model": model, "instances": [row]}).json()["probabilities"] == [expected]
    rng = np.random.default_rng(0)
    for rows in (2, 15, 16, 17, 100, 500):
        crowd = rng.normal(size=(rows, 4)).round(3).tolist()
        crowd[rows // 2] = ROW
        found = post(server, {"model": "colours", "instances": crowd}).json()["probabilities"][rows // 2]
        assert found == expected, f"among {rows} rows"


def test_a_model_says_what_it_is(server: Server) -> None:
    listed = http_get(f"{server.url}/models").json()
    assert [(m["name"], m["version"], m["versions"], m["task"]) for m in listed["models"]] == [
        ("colours", 1, [1], "classification"),
        ("mixed", 1, [1], "classification"),
        ("price", 1, [1], "regression"),
    ]
    assert listed["problems"] == {}
    assert listed["default"] is None, "requests that name no model are refused"
    detail = http_get(f"{server.url}/models/colours").json()
    assert detail["classes"] == list(CLASSES.labels)
    assert post(server, detail["example"]).status_code == 200
    url = f"{server.url}/models/colours/summary"
    summary = http_get(url).json()
    tensors = CHECKPOINTS["colours"].tensors
    learned = sum(tensor.size for name, tensor in tensors.items() if "running" not in name)
    assert summary["total_params"] == sum(layer["params"] for layer in summary["layers"]) == learned
    assert summary["layers"][0]["input_shape"] == [-1, 4]
    assert "Total params" in http_get(url, headers={"Accept": "text/plain"}).text
    assert http_get(url, params={"format": "mermaid"}).text.startswith("flowchart")
    assert http_get(url, headers={"Accept": "application/json, text/plain"}).json()["model"] == "colours"


TEXTBOOK = {(3, 4, 2): 26, (3, 4, 4, 2): 46, (784, 512, 256, 10): 535_818}  # number of parameters, by layer sizes


@pytest.fixture(scope="module")
def textbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the networks of `TEXTBOOK`, and a perceptron that has learned OR."""
    folder = tmp_path_factory.mktemp("textbook")
    store = Store(folder / "store")
    for sizes in TEXTBOOK:
        schema = Schema(
            columns=tuple(numeric(f"x{i}") for i in range(sizes[0])),
            target=ClassTarget(name="y", labels=tuple(str(i) for i in range(sizes[-1]))),
        )
        store.publish("-".join(map(str, sizes)), make_checkpoint(schema, *sizes[1:-1]))
    perceptron = Perceptron(2)
    assert perceptron.fit(np.array(OR_ROWS, dtype=np.float64), np.array([0, 1, 1, 1])).converged
    schema = Schema(columns=(numeric("x1", 0, 1), numeric("x2", 0, 1)), target=ClassTarget(name="y", labels=(0, 1)))
    store.publish("or", Checkpoint(config=perceptron.config, schema=schema, tensors=perceptron.to_tensors()))
    with running(store.root, folder) as server:
        yield server


def test_the_summary_counts_the_textbook_networks(textbook: Server) -> None:
    for sizes, total in TEXTBOOK.items():
        assert MLPConfig(layer_sizes=sizes).parameter_count == total
        name = "-".join(map(str, sizes))
        assert http_get(f"{textbook.url}/models/{name}/summary").json()["total_params"] == total
    layers = http_get(f"{textbook.url}/models/784-512-256-10/summary").json()["layers"]
    assert [layer["params"] for layer in layers if layer["params"]] == [401_920, 131_328, 2_570]


def test_a_perceptron_is_served_like_any_other(textbook: Server) -> None:
    answer = post(textbook, {"model": "or", "instances": OR_ROWS}).json()
    assert answer["predictions"] == [0, 1, 1, 1]
    assert answer["probabilities"] == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert http_get(f"{textbook.url}/models/or/summary").json()["total_params"] == 3


def test_a_new_version_goes_live_under_load_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    schema = CHECKPOINTS["colours"].schema
    versions = {number: make_checkpoint(schema, 8, seed=number) for number in (1, 2)}
    expected = {number: Oracle(checkpoint)(ROW) for number, checkpoint in versions.items()}
    store.publish("colours", versions[1])
    done = threading.Event()

    with running(store.root, tmp_path, workers=2) as server:
        assert post(server, {"instances": [ROW]}).json()["model"] == "colours", "the only model is the default"

        def client() -> set[int]:
            seen = set()
            with http_client(base_url=server.url, timeout=30) as http:
                while not done.wait(0.005):
                    answer = http.post("/predict", json={"model": "colours", "instances": [ROW]})
                    assert answer.status_code == 200, answer.text
                    version = answer.json()["version"]
                    assert answer.json()["probabilities"][0] == pytest.approx(expected[version], abs=2e-5)
                    seen.add(version)
            return seen

        def served() -> int:
            return int(http_get(f"{server.url}/models").json()["models"][0]["version"])

        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(client) for _ in range(8)]
            try:
                store.publish("colours", versions[2])
                wait_until(lambda: served() == 2, server.log)
                broken = store.publish("colours", versions[1]).path
                payload = bytearray(broken.read_bytes())
                payload[-1] ^= 1
                broken.write_bytes(payload)
                wait_until(lambda: "colours@3" in http_get(f"{server.url}/models").json()["problems"], server.log)
                store.set_alias("colours", "default", 1)
                wait_until(lambda: served() == 1, server.log)
            finally:
                done.set()
            seen = set().union(*(future.result() for future in clients))
        assert {1, 2} <= seen
        assert post(server, {"model": "colours@2", "instances": [ROW]}).json()["version"] == 2
        assert post(server, {"model": "colours@3", "instances": [ROW]}).status_code == 503


def test_a_stopped_worker_costs_504_at_the_deadline_and_a_full_queue_429(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, max_queue_rows=100, max_request_rows=100) as server:
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        try:
            body = {"model": "colours", "instances": [ROW] * 60}
            with ThreadPoolExecutor(4) as pool:
                held = [pool.submit(post, server, body, **{"X-Request-Timeout-Seconds": "1.5"}) for _ in range(4)]
                answers = [future.result() for future in held]
        finally:
            os.kill(worker, signal.SIGCONT)
        statuses = sorted(answer.status_code for answer in answers)
        assert set(statuses) == {429, 504}
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
        assert all(answer.elapsed.total_seconds() < 4 for answer in answers)
        wait_until(lambda: post(server, body).status_code == 200, server.log)
