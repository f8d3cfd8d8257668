"""SIGTERM under load: readiness first, then answers to what was accepted, then exit code 0; a second one hurries."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import Crowd
from probe import NO_ANSWER, Probe, readiness
from process_tree import ProcessTree
from serving import Server, http_post, wait_until

from models.store import Store

pytestmark = pytest.mark.faults

DRAIN_SECONDS = 1.0
SHUTDOWN_SECONDS = 5

Record = Callable[[object], None]


@pytest.mark.parametrize("api_processes", [1, 2])
@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param((), id="a process"),
        pytest.param(
            ("unshare", "--pid", "--fork", "--mount-proc"),
            id="PID 1",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root"),
        ),
    ],
)
def test_sigterm_answers_every_accepted_request_and_exits_0(
    store: Store, tmp_path: Path, record: Record, prefix: tuple[str, ...], api_processes: int
) -> None:
    settings = {"drain_seconds": DRAIN_SECONDS, "shutdown_seconds": SHUTDOWN_SECONDS, "api_processes": api_processes}
    server = Server(store.root, tmp_path, workers=2, **settings)
    try:
        server.start(prefix)
        with Crowd(server, leave_when_asked=True) as crowd, Probe(server) as probe:
            crowd.warm()
            asked = time.monotonic()
            os.kill(ProcessTree.of(server).main, signal.SIGTERM)
            wait_until(lambda: readiness(server) != 200, server.log)
            body = {"model": "price", "instances": [[100, 3]]}
            meanwhile = http_post(f"{server.url}/predict", json=body)
            assert (meanwhile.status_code, meanwhile.headers["connection"]) == (200, "close")
            report = crowd.wait()
            server.ended(0)
            took = time.monotonic() - asked
        record(f"stopped within {took:.1f} s; {report}")
        report.check()
        assert probe.statuses == [200, 503, NO_ANSWER], "readiness first, then the door is closed"
        assert probe.first(503) - asked < DRAIN_SECONDS
        assert DRAIN_SECONDS <= took < DRAIN_SECONDS + SHUTDOWN_SECONDS
    finally:
        server.kill()


def test_clients_that_stay_lose_no_request_that_was_accepted(store: Store, tmp_path: Path, record: Record) -> None:
    server = Server(store.root, tmp_path, drain_seconds=DRAIN_SECONDS, shutdown_seconds=SHUTDOWN_SECONDS)
    try:
        server.start()
        with Crowd(server) as crowd:
            crowd.warm()
            server.stop()
            report = crowd.stop()
        record(report)
        report.check(may_refuse=True)
    finally:
        server.kill()


def test_a_second_sigterm_hurries_it(store: Store, tmp_path: Path, record: Record) -> None:
    server = Server(store.root, tmp_path, drain_seconds=60, shutdown_seconds=60)
    try:
        server.start()
        assert server.process is not None
        with Crowd(server) as crowd:
            crowd.warm()
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: readiness(server) == 503, server.log)
            with pytest.raises(subprocess.TimeoutExpired):
                server.process.wait(timeout=1)
            asked = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.ended(0)
            took = time.monotonic() - asked
            report = crowd.stop()
        record(f"within {took:.1f} s; {report}")
        assert took < 5
        assert not report.wrong
    finally:
        server.kill()


def test_sigterm_while_the_only_worker_hangs_ends_in_time(store: Store, tmp_path: Path, record: Record) -> None:
    server = Server(store.root, tmp_path, drain_seconds=0.2, shutdown_seconds=SHUTDOWN_SECONDS, hang_seconds=60)
    try:
        server.start()
        with Crowd(server, deadline_seconds=1, leave_when_asked=True) as crowd:
            crowd.warm()
            [worker] = ProcessTree.of(server).workers
            os.kill(worker, signal.SIGSTOP)
            crowd.run_for(0.1)
            asked = time.monotonic()
            server.stop()
            took = time.monotonic() - asked
            report = crowd.stop()
        record(f"within {took:.1f} s; {report}")
        report.check(504, may_refuse=True)
        assert took < SHUTDOWN_SECONDS + 2
    finally:
        server.kill()
