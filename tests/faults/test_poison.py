"""Rows on which a model fails: only requests with such rows get an error, which names the reason."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from crowd import Crowd, Report, counted, totals_agree
from faulty_server import FaultyServer
from footprint import wait_for_footprint
from poison import DEVICE_FAULT, FIRST_DEVICE_FAULT, OUT_OF_MEMORY, RAISES, ROOM
from process_tree import ProcessTree, wait_for_roles
from serving import CHECKPOINTS, Oracle, Server, http_client, http_post, metric_sum, numeric, running
from warm_server import warm_up

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, Schema
from models.network.config import MLPConfig
from models.store import Store

pytestmark = pytest.mark.faults

Record = Callable[[object], None]


def price(cell: float, rows: int = 1) -> dict[str, Any]:
    """Makes a request for `price` with the given first cell in the last row."""
    return {"model": "price", "instances": [[100, 3]] * (rows - 1) + [[cell, 3]]}


def assert_model_fault(answer: httpx.Response, *words: str) -> None:
    """Fails unless the answer is a model error with the given words."""
    assert answer.status_code == 500, answer.text
    document = answer.json()
    assert document["type"] == "urn:axon:problem:model-fault"
    for word in words:
        assert word in document["detail"]


def repeat(server: Server, body: dict[str, Any], times: int) -> list[httpx.Response]:
    """Sends the same request repeatedly on one connection."""
    with http_client(base_url=server.url, timeout=60) as client:
        return [client.post("/predict", json=body) for _ in range(times)]


@contextmanager
def crowded(
    server: Server, body: dict[str, Any], times: int, clients: int = 4
) -> Iterator[tuple[Crowd, list[Future[list[httpx.Response]]]]]:
    """Runs a crowd, and beside the crowd clients that repeat one request."""
    with Crowd(server, deadline_seconds=20) as crowd, ThreadPoolExecutor(clients) as pool:
        crowd.warm()
        yield crowd, [pool.submit(repeat, server, body, times) for _ in range(clients)]


def overflowing() -> Checkpoint:
    """Makes a model whose answer is NaN for `x` from about 1: inf − inf between two hidden units."""
    schema = Schema(
        columns=(numeric("x", 0, 1), numeric("y", 0, 1)), target=ClassTarget(name="kind", labels=("low", "high"))
    )
    tensors = {
        "layers.0.weight": np.array([[3e30, 1], [3e30, -1]], dtype=np.float32),
        "layers.0.bias": np.zeros(2, dtype=np.float32),
        "layers.1.weight": np.array([[1e10, -1e10], [-1e10, 1e10]], dtype=np.float32),
        "layers.1.bias": np.array([0.5, -0.5], dtype=np.float32),
    }
    return Checkpoint(config=MLPConfig(layer_sizes=(2, 2, 2), output="softmax"), schema=schema, tensors=tensors)


def test_an_answer_that_is_not_a_number_is_an_error_of_its_own_request_alone(
    store: Store, tmp_path: Path, record: Record
) -> None:
    fragile = overflowing()
    store.publish("fragile", fragile)
    oracle = Oracle(fragile)
    assert np.isnan(oracle([1, 0])).any()

    def client(seed: int) -> int:
        rng = random.Random(seed)
        poisoned = 0
        with http_client(base_url=server.url, timeout=60) as http:
            for _ in range(40):
                rows = [[0, rng.gauss(0, 1e-11)] for _ in range(rng.choice([1, 2, 5]))]
                at = rng.randrange(len(rows)) if rng.random() < 0.3 else None
                if at is not None:
                    rows[at][0] = rng.choice([1, 50])
                answer = http.post("/predict", json={"model": "fragile", "instances": rows})
                if at is not None:
                    if rows[at][0] == 1:  # rows like those of training
                        assert_model_fault(answer, f"row {at} is not finite")
                    else:
                        assert answer.status_code == 422, answer.text
                        assert [(f["row"], f["column"]) for f in answer.json()["errors"]] == [(at, "x")]
                    poisoned += 1
                else:
                    assert answer.status_code == 200, answer.text
                    expected = np.array([oracle(row) for row in rows])
                    assert np.abs(np.array(answer.json()["probabilities"]) - expected).max() < 1e-4
        return poisoned

    with running(store.root, tmp_path) as server:
        with Crowd(server, deadline_seconds=20) as crowd, ThreadPoolExecutor(8) as pool:
            crowd.warm()
            assert sum(pool.map(client, range(8))) > 0
            report = crowd.stop()
        record(report)
        report.check()


def test_a_model_that_raises_fails_the_request_at_fault_and_no_other(
    store: Store, tmp_path: Path, record: Record
) -> None:
    with running(store.root, tmp_path, FaultyServer, workers=2) as server:
        tree = ProcessTree.of(server)
        with crowded(server, price(RAISES, rows=3), times=30) as (crowd, poisoned):
            answers = [answer for future in poisoned for answer in future.result()]
            report = crowd.stop()
        record(report)
        report.check()
        for answer in answers:
            assert_model_fault(answer, "ZeroDivisionError")
        assert ProcessTree.of(server) == tree, "no worker dies of it"
        totals_agree(server, with_answers(report, price=len(answers)))


def test_out_of_memory_halves_the_batch_until_it_fits(store: Store, tmp_path: Path, record: Record) -> None:
    oracle = Oracle(CHECKPOINTS["price"])
    expected = oracle([OUT_OF_MEMORY, 3])[0]
    with running(store.root, tmp_path, FaultyServer) as server:
        tree = ProcessTree.of(server)
        with crowded(server, price(OUT_OF_MEMORY, rows=ROOM), times=30) as (crowd, hungry):
            answers = [answer for future in hungry for answer in future.result()]
            report = crowd.stop()
        record(report)
        report.check()
        for answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"][-1] == pytest.approx(expected, rel=1e-4)
        assert "halving the batch" in server.log()
        large = http_post(f"{server.url}/predict", json=price(OUT_OF_MEMORY, rows=4 * ROOM), timeout=60)
        assert large.status_code == 200, f"a request of its own is cut up as well: {large.text}"
        assert len(large.json()["predictions"]) == 4 * ROOM
        assert large.json()["predictions"][-1] == pytest.approx(expected, rel=1e-4)
        assert ProcessTree.of(server) == tree, "no worker dies of it"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_device_that_fails_once_costs_a_worker_and_no_answer(
    store: Store, tmp_path: Path, record: Record, workers: int
) -> None:
    with running(store.root, tmp_path, FaultyServer, workers=workers) as server:
        before, tree, since = warm_up(server), ProcessTree.of(server), counted(server)
        with crowded(server, price(FIRST_DEVICE_FAULT), times=1) as (crowd, poisoned):
            answers = [answer for future in poisoned for answer in future.result()]
            crowd.warm()
            report = crowd.stop()
        record(report)
        report.check()
        assert [answer.status_code for answer in answers] == [200] * len(answers)
        assert len(wait_for_roles(server, tree).workers - tree.workers) == 1
        totals_agree(server, with_answers(report, "200", price=len(answers)), since=since)
        wait_for_footprint(server, before)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_breaks_the_device_each_time_gets_an_error_and_the_others_their_answers(
    store: Store, tmp_path: Path, record: Record, workers: int
) -> None:
    with running(store.root, tmp_path, FaultyServer, workers=workers) as server:
        tree = ProcessTree.of(server)
        with crowded(server, price(DEVICE_FAULT), times=1, clients=1) as (crowd, poisoned):
            [answer] = poisoned[0].result()
            crowd.warm()
            report = crowd.stop()
        record(report)
        report.check()
        assert_model_fault(answer)
        wait_for_roles(server, tree)
        assert metric_sum(server, "axon_batches_resent_total") > 0
        totals_agree(server, with_answers(report, price=1))


def with_answers(report: Report, status: str = "500", **more: int) -> Report:
    """Adds answers that other clients got to a crowd's report."""
    for model, n in more.items():
        report.statuses[model, status] += n
    return report
