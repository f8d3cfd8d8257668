"""A worker that hangs: a watchdog detects the hang, readiness changes, and a new worker answers in time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crowd import Crowd, counted, totals_agree
from faulty_server import FaultyServer
from footprint import wait_for_footprint
from poison import FIRST_HANG, HANGS, SLOW, SLOW_SECONDS, SPINS
from probe import Probe, readiness
from process_tree import ProcessTree, is_gone, wait_for_roles
from serving import http_post, metric_sum, running, wait_until
from warm_server import warm_up

from models.store import Store

pytestmark = pytest.mark.faults

HANG_SECONDS = 1.0
RESTART_SECONDS = 4.0  # time for a fork and for loading the models

Record = Callable[[object], None]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_worker_is_found_and_replaced_and_every_request_is_answered(
    store: Store, tmp_path: Path, record: Record, workers: int
) -> None:
    with running(store.root, tmp_path, workers=workers, hang_seconds=HANG_SECONDS) as server:
        before, tree, since = warm_up(server), ProcessTree.of(server), counted(server)
        with Crowd(server, deadline_seconds=10) as crowd, Probe(server) as probe:
            crowd.warm()
            [victim, *_] = sorted(tree.workers)
            stopped = time.monotonic()
            os.kill(victim, signal.SIGSTOP)
            wait_until(lambda: is_gone(victim), server.log)
            found = time.monotonic() - stopped
            wait_for_roles(server, tree)
            crowd.warm()
            report = crowd.stop()
        record(f"found after {found:.1f} s; readiness {probe.statuses}; {report}")
        report.check()
        assert HANG_SECONDS <= found < HANG_SECONDS + 2
        if workers == 1:
            # A successor starts in about 50 ms, which a probe may miss; the next test prolongs that moment.
            assert probe.statuses in ([200, 503, 200], [200])
            assert report.outage < HANG_SECONDS + RESTART_SECONDS
        else:
            assert probe.statuses == [200], "the other worker answers"
            assert report.outage < HANG_SECONDS + 2
        totals_agree(server, report, since=since)
        wait_for_footprint(server, before)


def test_the_server_is_not_ready_while_no_worker_answers(store: Store, tmp_path: Path, record: Record) -> None:
    with running(store.root, tmp_path, hang_seconds=HANG_SECONDS) as server:
        tree = ProcessTree.of(server)
        [host], [worker] = tree.hosts, tree.workers
        stopped = time.monotonic()
        os.kill(host, signal.SIGSTOP)  # so that nobody replaces the worker yet
        try:
            os.kill(worker, signal.SIGSTOP)
            wait_until(lambda: readiness(server) == 503, server.log)
            found = time.monotonic() - stopped
            assert readiness(server) == 503
        finally:
            os.kill(host, signal.SIGCONT)
        wait_until(lambda: readiness(server) == 200, server.log)
        record(f"503 after {found:.1f} s")
        assert found < HANG_SECONDS + 1
        assert is_gone(worker)


def test_a_request_with_a_short_deadline_gets_504_at_it_and_not_later(
    store: Store, tmp_path: Path, record: Record
) -> None:
    with running(store.root, tmp_path, hang_seconds=3) as server, Crowd(server, deadline_seconds=0.3) as crowd:
        crowd.warm()
        [victim] = ProcessTree.of(server).workers
        os.kill(victim, signal.SIGSTOP)
        wait_until(lambda: is_gone(victim), server.log)
        wait_until(lambda: readiness(server) == 200, server.log)
        crowd.warm()
        report = crowd.stop()
        record(report)
        report.check(504)
        assert sum(n for (_, status), n in report.statuses.items() if status == "504") >= 64
        totals_agree(server, report)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("cell", [HANGS, SPINS])
def test_a_forward_that_never_returns_takes_nobody_along(
    store: Store, tmp_path: Path, record: Record, cell: float, workers: int
) -> None:
    settings = {"workers": workers, "api_processes": workers, "hang_seconds": HANG_SECONDS}
    with running(store.root, tmp_path, FaultyServer, **settings) as server:
        tree = ProcessTree.of(server)
        with Crowd(server, deadline_seconds=20) as crowd, ThreadPoolExecutor(1) as pool:
            crowd.warm()
            body = {"model": "price", "instances": [[cell, 3]]}
            headers = {"X-Request-Timeout-Seconds": "30"}
            sent = pool.submit(http_post, f"{server.url}/predict", json=body, headers=headers, timeout=60)
            wait_until(sent.done, server.log)
            crowd.warm()
            report = crowd.stop()
        answer = sent.result()
        record(f"{answer.status_code} after {answer.elapsed.total_seconds():.1f} s; {report}")
        report.check()
        assert answer.status_code == 500, answer.text
        assert answer.json()["type"] == "urn:axon:problem:model-fault"
        assert "died" in answer.json()["detail"], "it says what its rows did"
        assert not tree.workers & wait_for_roles(server, tree).workers


def test_a_forward_that_hangs_once_is_done_again(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, FaultyServer, hang_seconds=HANG_SECONDS) as server:
        body = {"model": "price", "instances": [[FIRST_HANG, 3]]}
        answer = http_post(f"{server.url}/predict", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        assert metric_sum(server, "axon_batches_resent_total") == 1


def test_what_hangs_keeps_its_own_deadline(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, FaultyServer, hang_seconds=HANG_SECONDS) as server:
        body = {"model": "price", "instances": [[HANGS, 3]]}
        answer = http_post(f"{server.url}/predict", json=body, headers={"X-Request-Timeout-Seconds": "0.4"})
        assert answer.status_code == 504, answer.text
        assert answer.elapsed.total_seconds() < 0.9
        body["instances"] = [[100, 3]]  # this request waits for the next worker, not for the old worker's batch
        assert http_post(f"{server.url}/predict", json=body, timeout=60).status_code == 200


def test_a_slow_forward_is_no_hang(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, FaultyServer, hang_seconds=3 * SLOW_SECONDS) as server:
        workers = ProcessTree.of(server).workers
        body = {"model": "price", "instances": [[SLOW, 3]]}
        for _ in range(4):
            assert http_post(f"{server.url}/predict", json=body, timeout=60).status_code == 200
        assert ProcessTree.of(server).workers == workers
