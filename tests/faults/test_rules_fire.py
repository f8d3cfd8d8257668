"""The rules in a real Prometheus fire for a server that is overloaded, killed, at fault, or asked for shifted rows.

No rule fires in an hour of ordinary load. All times of the rules are a sixtieth of what they are
(`shortened_rules.py`), and so are the settings that belong to them: an hour takes a minute.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import pytest
from crowd import Crowd
from faulty_server import FaultyServer
from open_loop import CheckedQuery, OpenLoop, closed_loop
from poison import RAISES
from process_tree import is_gone
from prometheus_server import Prometheus, needs_prometheus, scraping
from serving import CHECKPOINTS, Server, http_post, make_checkpoint, numeric, running, wait_until
from shortened_rules import FACTOR
from steady_traffic import Request, Traffic, numbers_request, publish_numbers

from models.columns.schema import ClassTarget, Schema
from models.store import Store

pytestmark = [pytest.mark.faults, needs_prometheus]

HOUR_SECONDS = 3_600 / FACTOR
FLOOD_SECONDS = 40.0
OVERLOAD = 10
DRIFT = {"drift_window_seconds": 900 / FACTOR, "drift_rows_per_second": 200 * FACTOR}
ROW = [0.4, -1.1, 2.0, 0.3]
COLUMNS = 16

# A row costs a worker about 0.1 ms, and the API process almost nothing.
WIDE = make_checkpoint(
    Schema(
        columns=tuple(numeric(f"x{i}") for i in range(COLUMNS)),
        target=ClassTarget(name="digit", labels=tuple("0123456789")),
    ),
    2048,
    2048,
)


def fires(prometheus: Prometheus, *alerts: str) -> dict[str, dict[str, str]]:
    """Waits until alerts have fired; returns the labels of all that have."""
    wait_until(lambda: prometheus.have_fired().keys() >= set(alerts), lambda: str(prometheus.have_fired()))
    return prometheus.have_fired()


def ends(prometheus: Prometheus, *alerts: str) -> None:
    """Waits until alerts no longer fire."""
    wait_until(lambda: prometheus.firing().isdisjoint(alerts), lambda: str(prometheus.firing()))


def target(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


def test_no_rule_fires_in_an_hour_of_ordinary_load(store: Store, tmp_path: Path) -> None:
    """Loads a server with answers, client errors, a new version, and a worker that dies once."""
    publish_numbers(store)
    wrong = (
        ("/predict", {"model": "colours", "instances": [[1, 2, 3, "4"]]}),
        ("/predict", {"model": "nobody", "instances": [[1]]}),
    )

    def requests(turn: int) -> Request:
        return wrong[turn // 10 % 2] if turn % 10 == 0 else numbers_request(turn, 100)

    with running(store.root, tmp_path, workers=2, **DRIFT) as server:
        with (
            scraping(target(server), tmp_path / "prometheus") as prometheus,
            Crowd(server, clients=8, pause_seconds=0.05) as crowd,
            Traffic(server, requests, pause_seconds=0.05) as traffic,
        ):
            began = time.monotonic()
            crowd.run_for(HOUR_SECONDS / 4)
            store.publish("colours", CHECKPOINTS["colours"])  # the same network, so that the crowd's oracle holds
            crowd.run_for(HOUR_SECONDS / 4)
            os.kill(server.worker_pids()[0], signal.SIGKILL)
            crowd.run_for(began + HOUR_SECONDS - time.monotonic())
            assert prometheus.have_fired() == {}
            assert prometheus.rule_errors() == []
            [scrapes] = prometheus.query(f"sum_over_time(up[{HOUR_SECONDS:.0f}s])")
            assert float(scrapes["value"][1]) > 2 * HOUR_SECONDS
            assert prometheus.query("axon_drift_window_rows > 0")
            assert prometheus.query("sum(axon_worker_starts_total) == 3")
        crowd.stop().check()
    assert traffic.statuses[200] > 100
    assert traffic.statuses.keys() == {200, 404, 422}


def test_an_overloaded_server_refuses_and_its_requests_wait(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("wide", WIDE)
    rows = np.random.default_rng(0).normal(size=(64, COLUMNS)).round(2).tolist()
    query = CheckedQuery(orjson.dumps({"model": "wide", "instances": rows}), len(rows), lambda _: None)
    with (
        running(store.root, tmp_path) as server,
        scraping(target(server), tmp_path / "prometheus", interval="500ms") as prometheus,
    ):
        capacity = closed_loop(server, [query], clients=16, seconds=4, deadline_seconds=30).goodput
        flood = OpenLoop(server, [query], rate=OVERLOAD * capacity, seconds=FLOOD_SECONDS, deadline_seconds=3)
        flood.start()
        try:
            found = fires(prometheus, "AxonRefuses", "AxonQueueWaits", "AxonLatencyBudgetBurnsFast")
        finally:
            outcome = flood.wait()
        assert outcome.statuses[429] > 0
        assert found["AxonQueueWaits"]["model"] == "wide"
        assert not {"AxonErrorBudgetBurnsFast", "AxonNoWorker", "AxonStoreProblems"} & found.keys()
        ends(prometheus, "AxonRefuses", "AxonQueueWaits")


def test_a_killed_worker_a_stopped_host_and_a_killed_server_are_told_apart(store: Store, tmp_path: Path) -> None:
    with (
        running(store.root, tmp_path, hang_seconds=1) as server,
        scraping(target(server), tmp_path / "prometheus") as prometheus,
    ):
        kill_workers(server, prometheus, times=3)
        fires(prometheus, "AxonWorkerRestarts")
        # A restart takes as long as ever, while the minute of AxonNoWorker is a second here.
        assert prometheus.have_fired().keys() <= {"AxonWorkerRestarts", "AxonNoWorker"}

        stopped = [*server.host_pids(), *server.worker_pids()]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        fires(prometheus, "AxonNoWorker", "AxonWorkerDown")
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        ends(prometheus, "AxonNoWorker", "AxonWorkerDown")
        assert "AxonDown" not in prometheus.have_fired()

        assert server.process is not None
        server.process.kill()
        fires(prometheus, "AxonDown")


def kill_workers(server: Server, prometheus: Prometheus, times: int) -> None:
    """Kills the worker, and waits until Prometheus has seen the start of its successor, again and again."""
    for kills in range(1, times + 1):
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGKILL)
        wait_until(partial(is_replaced, server, worker), server.log)
        wait_until(partial(has_data, prometheus, f"axon_worker_starts_total == {kills + 1}"))
    assert http_post(f"{server.url}/predict", json={"model": "colours", "instances": [ROW]}).status_code == 200


def has_data(prometheus: Prometheus, expression: str) -> bool:
    return bool(prometheus.query(expression))


def is_replaced(server: Server, worker: int) -> bool:
    return is_gone(worker) and len(server.worker_pids()) == 1 and server.ready()


def test_a_model_at_fault_burns_the_budget_and_is_named(store: Store, tmp_path: Path) -> None:
    requests = (
        ("/predict", {"model": "price", "instances": [[RAISES, 3]]}),
        ("/predict", {"model": "colours", "instances": [ROW]}),
    )
    with (
        running(store.root, tmp_path, FaultyServer) as server,
        scraping(target(server), tmp_path / "prometheus") as prometheus,
        Traffic(server, lambda turn: requests[turn % 2]) as traffic,
    ):
        found = fires(prometheus, "AxonErrorBudgetBurnsFast", "AxonModelFails")
        assert found["AxonModelFails"]["model"] == "price"
        assert not {"AxonRefuses", "AxonDown", "AxonWorkerRestarts"} & found.keys()
    assert traffic.statuses.keys() == {200, 500}


def test_a_shift_fires_and_ends_with_the_shift(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    publish_numbers(store)
    with (
        running(store.root, tmp_path, **DRIFT) as server,
        scraping(target(server), tmp_path / "prometheus") as prometheus,
    ):
        with Traffic(server, lambda turn: numbers_request(turn, 200, shift=1.0)):
            found = fires(prometheus, "AxonDrift")
        assert found.keys() == {"AxonDrift"}
        assert (found["AxonDrift"]["model"], found["AxonDrift"]["version"]) == ("numbers", "1")
        with Traffic(server, lambda turn: numbers_request(turn, 200)):
            ends(prometheus, "AxonDrift")


def test_a_damaged_version_a_small_memory_and_a_full_server_are_noticed(store: Store, tmp_path: Path) -> None:
    broken = store.publish("price", CHECKPOINTS["price"]).path
    payload = bytearray(broken.read_bytes())
    payload[-1] ^= 1
    broken.write_bytes(payload)
    rows = {"colours": ROW, "mixed": [30, "Rome"], "price@1": [80, 3]}
    requests = [("/predict", {"model": model, "instances": [row]}) for model, row in rows.items()]
    with (
        running(store.root, tmp_path, max_connections=4, model_cache=1) as server,
        scraping(target(server), tmp_path / "prometheus") as prometheus,
        Traffic(server, lambda turn: requests[turn % 3]) as traffic,
        ExitStack() as beyond,
    ):
        wait_until(lambda: traffic.statuses[200] > 0)  # its connection is one of the four
        for _ in range(5):
            beyond.enter_context(Traffic(server, lambda turn: requests[0], pause_seconds=0.2))
        found = fires(prometheus, "AxonStoreProblems", "AxonModelsComeAndGo", "AxonConnectionsRefused")
        assert not {"AxonDown", "AxonNoWorker", "AxonDrift"} & found.keys()


def test_a_server_that_restarts_again_and_again_is_noticed(store: Store, tmp_path: Path) -> None:
    # A start takes as long as ever, so the quarter of an hour is a minute here, and not 15 s.
    with (
        running(store.root, tmp_path) as server,
        scraping(target(server), tmp_path / "prometheus", factor=15) as prometheus,
    ):
        for _ in range(2):
            server.kill()
            wait_until(partial(has_data, prometheus, "up == 0"))
            server.runtime_dir.mkdir()
            server.start()
            wait_until(partial(has_data, prometheus, "up == 1"))
        fires(prometheus, "AxonRestarts")
        ends(prometheus, "AxonDown")
