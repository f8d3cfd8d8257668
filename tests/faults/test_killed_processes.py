"""`kill -9` of each server process under load: a worker's death costs time but no answer; no server stays half dead.

Of several API processes, `test_killed_api_processes.py` kills one again and again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import Crowd, counted, totals_agree
from footprint import wait_for_footprint
from probe import readiness
from process_tree import ProcessTree, is_gone, kill, wait_for_roles
from serving import Server, metric_sum, running, wait_until
from warm_server import warm_up

from models.store import Store

pytestmark = pytest.mark.faults

HEAL_SECONDS = 5.0  # or the start time of the whole server, if that is longer on this machine

Record = Callable[[object], None]


def kill_mid_batch(crowd: Crowd, worker: int) -> None:
    """Kills a worker that certainly has batches: while stopped, the worker receives some and answers none."""
    os.kill(worker, signal.SIGSTOP)
    crowd.run_for(0.02)
    kill(worker)


@pytest.mark.parametrize(("workers", "kills", "every"), [(2, 30, 2.0), (1, 5, 6.0)])
def test_workers_killed_mid_batch_cost_time_and_no_answer(
    store: Store, tmp_path: Path, record: Record, workers: int, kills: int, every: float
) -> None:
    with running(store.root, tmp_path, workers=workers) as server:
        before, tree, since = warm_up(server), ProcessTree.of(server), counted(server)
        with Crowd(server, deadline_seconds=10) as crowd:
            crowd.warm()
            began = time.monotonic()
            for n in range(kills):
                victim = sorted(wait_for_roles(server, tree).workers)[n % workers]
                kill_mid_batch(crowd, victim)
                crowd.run_for(began + (n + 1) * every - time.monotonic())
                assert is_gone(victim)
            crowd.warm()
            report = crowd.stop()
        record(report)
        report.check()
        if workers > 1:
            assert report.percentile(99) < 1
        else:  # a short restart is all that is added
            assert report.percentile(100) < report.outage + 0.5
            assert report.outage < 2
        totals_agree(server, report, since=since)
        assert metric_sum(server, "axon_batches_resent_total") >= kills
        wait_for_roles(server, tree)
        wait_for_footprint(server, before)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_host_is_replaced_and_every_request_is_answered(
    store: Store, tmp_path: Path, record: Record, workers: int
) -> None:
    began = time.monotonic()
    with running(store.root, tmp_path, workers=workers) as server:
        limit = max(HEAL_SECONDS, time.monotonic() - began)
        tree = ProcessTree.of(server)
        for host in tree.hosts:  # the first time, LitServe opens a connection and a handle, which stay open
            kill(host)
            wait_until(lambda gone=host: is_gone(gone), server.log)  # type: ignore[misc]
            wait_for_roles(server, tree)
        before, tree, since = warm_up(server), ProcessTree.of(server), counted(server)
        # Not at full load: a new host imports torch, which takes longer the fewer cores are free.
        with Crowd(server, deadline_seconds=20, pause_seconds=0.05) as crowd:
            crowd.warm()
            [victim, *_] = sorted(tree.hosts)
            kill(victim)
            assert healed_or_ended(server, tree, crowd, victim, limit), "it should heal"
            report = crowd.stop()
        record(report)
        report.check()
        totals_agree(server, report, since=since)
        wait_for_footprint(server, before)


@pytest.mark.parametrize("victim", ["api", "one api of two", "fork server", "main"])
def test_what_else_is_killed_heals_or_ends_the_server_with_a_code_and_no_orphan(
    store: Store, tmp_path: Path, record: Record, victim: str
) -> None:
    server = Server(store.root, tmp_path, api_processes=2 if victim == "one api of two" else 1)
    try:
        began = time.monotonic()
        server.start()
        limit = max(HEAL_SECONDS, time.monotonic() - began)
        tree = ProcessTree.of(server)
        pid = {"main": tree.main, "fork server": tree.fork_server}.get(victim, min(tree.apis))
        with Crowd(server, deadline_seconds=10) as crowd:
            crowd.warm()
            kill(pid)
            healed = healed_or_ended(server, tree, crowd, pid, limit)
            report = crowd.stop()
        record(f"{'healed' if healed else 'ended'}; {report}")
        assert not report.wrong, report.wrong
        assert healed == (victim != "main")
        if victim == "fork server":
            report.check()
            kill(min(tree.apis))
            server.ended(1)
            assert "the fork server is gone, so that an API process cannot be replaced" in server.log()
        elif healed:
            wait_for_roles(server, tree)
            server.stop()
    finally:
        server.kill()


def healed_or_ended(server: Server, before: ProcessTree, crowd: Crowd, victim: int, limit: float) -> bool:
    """Returns True if the server answers again with all processes, False after an end with an error code.

    Fails if neither happens in time, or if processes are left after the end.
    """
    assert server.process is not None
    deadline = time.monotonic() + limit
    answers = crowd.report.answers
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            assert server.process.returncode != 0
            if not server.processes():
                return False
        elif is_gone(victim) and ProcessTree.of(server).has_roles_of(before) and readiness(server) == 200:
            if crowd.report.answers > answers + len(before.apis):
                return True
        else:
            answers = crowd.report.answers
        crowd.run_for(0.02)
    raise AssertionError(f"half alive after {limit:.1f} s: {server.processes()}\n{server.log()}")
