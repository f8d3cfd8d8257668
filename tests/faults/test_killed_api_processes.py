"""`kill -9` of one API process of several, again and again under load: only its open requests are lost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import CLIENTS, Crowd, counted
from process_tree import ProcessTree, kill, wait_for_roles
from serving import metric_sum, running, wait_until

from models.store import Store

pytestmark = pytest.mark.faults

KILLS = 8
EVERY_SECONDS = 3.0
_FLUSH_ANSWERS = 20  # of one connection between two writings of the counts, 50 ms, with a pause of 5 ms between two


def connections_of(pid: int) -> int:
    """Returns the number of TCP connections of a stopped process, without what waits in the listener's queue."""
    established = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] != "0A":
            established.add(f"socket:[{fields[9]}]")
    return sum(str(file.readlink()) in established for file in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.parametrize("processes", [2, 4])
def test_a_kill_costs_the_requests_that_the_process_had_open_and_nothing_else(
    store: Store, tmp_path: Path, record: Callable[[object], None], processes: int
) -> None:
    with running(store.root, tmp_path, api_processes=processes) as server:
        tree, before = ProcessTree.of(server), counted(server)
        exposed, counts = 0, before
        with Crowd(server, deadline_seconds=20) as crowd:
            crowd.warm()
            began = time.monotonic()
            for n in range(KILLS):
                victim = sorted(wait_for_roles(server, tree).apis)[n % processes]
                os.kill(victim, signal.SIGSTOP)
                exposed += connections_of(victim)
                kill(victim)
                wait_for_roles(server, tree)
                now = counted(server)
                assert all(now[key] >= count for key, count in counts.items()), "a counter never falls"
                counts = now
                crowd.run_for(began + (n + 1) * EVERY_SECONDS - time.monotonic())
            crowd.warm()
            report = crowd.stop()
        lost = report.lost + report.refused
        record(f"{KILLS} kills, {exposed} connections, {lost} requests lost; {report}")
        assert not report.wrong, report.wrong
        assert not report.late, report.late
        assert {status for _, status in report.statuses} == {"200"}
        assert lost <= exposed
        assert exposed <= KILLS * (CLIENTS / processes + 3 + CLIENTS / 8), "connections are shared fairly"
        wait_until(lambda: metric_sum(server, "axon_queue_rows") == 0, server.log)
        seen: Counter[tuple[str, str]] = before + report.statuses
        total, answers = counted(server).total(), seen.total()
        assert answers - _FLUSH_ANSWERS * exposed <= total <= answers + lost
        assert metric_sum(server, "axon_api_process_starts_total") == processes + KILLS
        assert metric_sum(server, "axon_worker_starts_total") == 1
