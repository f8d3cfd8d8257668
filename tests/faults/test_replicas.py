"""No request to three replicas behind HAProxy is lost during updates, a kill, a freeze and on a full disk.

Clients retry once if their connection breaks. HAProxy has the configuration of `deploy/haproxy` with the chart's
readiness probe, and a replica stops and starts as Kubernetes would have it: with the chart's drain and grace period,
one after the other, each ready for `minReadySeconds` before the next one stops.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fleet import (
    CONFIGURATION,
    CONTAINER,
    GRACE_SECONDS,
    MIN_READY_SECONDS,
    MODEL,
    Balancer,
    Replica,
    RetryingClients,
    balanced,
    can_mount,
    chart_settings,
    next_version,
)
from serving import CHECKPOINTS, http_post, make_checkpoint, wait_until

from models.store import Store

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="takes haproxy"),
    pytest.mark.skipif(not can_mount(), reason="takes mount namespaces"),
]

REQUESTS = int(os.environ.get("AXON_REPLICA_REQUESTS", "100000"))
NEXT = "0.2.0"
_LONGEST_SECONDS = 1200

Record = Callable[[object], None]


class Fleet:
    """Three replicas over one store, with a balancer and clients.

    Args:
        replicas: servers, in the order of the balancer's configuration.
        balancer: HAProxy in front of them.
        clients: clients of the balancer.
    """

    def __init__(self, replicas: list[Replica], balancer: Balancer, clients: RetryingClients) -> None:
        self.replicas = replicas
        self.balancer = balancer
        self.clients = clients

    def is_up(self, replica: Replica) -> bool:
        """Returns True if HAProxy sends requests to a replica."""
        return f"axon-{self.replicas.index(replica) + 1}" in self.balancer.up()

    def wait_for(self, replica: Replica, *, up: bool) -> None:
        """Waits until HAProxy sends requests to a replica, or none any more."""
        wait_until(lambda: self.is_up(replica) == up, lambda: f"{self.balancer.statistics()}\n{replica.log()}")

    def wait_for_requests(self, number: int) -> None:
        """Waits until so many more requests have ended."""
        wanted, deadline = self.clients.outcome.requests + number, time.monotonic() + _LONGEST_SECONDS
        while self.clients.outcome.requests < wanted:
            assert time.monotonic() < deadline, self.clients.outcome
            time.sleep(0.05)

    def held_by(self, replica: Replica) -> int:
        """Returns the number of requests that wait for a replica's answer."""
        return int(self.balancer.statistics()[f"axon-{self.replicas.index(replica) + 1}"]["scur"])

    def answers_of(self, replica: Replica) -> int:
        """Returns the number of requests that HAProxy has sent to a replica."""
        return int(self.balancer.statistics()[f"axon-{self.replicas.index(replica) + 1}"]["stot"])

    def wait_for_answers(self, replica: Replica) -> None:
        """Waits until a replica has got more requests."""
        before = self.answers_of(replica)
        wait_until(lambda: self.answers_of(replica) > before + 20, replica.log)


@pytest.fixture
def fleet(tmp_path: Path, record: Record) -> Iterator[Fleet]:
    """Three replicas with the chart's settings, and clients that ask without a pause; at the end, none has failed."""
    store = Store(tmp_path / "store")
    store.publish(MODEL, CHECKPOINTS[MODEL])
    settings = {**chart_settings(), "timeout_seconds": 4, "reload_seconds": 2}
    with ExitStack() as stack:
        replicas = []
        for number in range(3):
            folder = tmp_path / f"replica-{number}"
            folder.mkdir()
            replica = Replica(store.root, folder, **settings)
            stack.callback(replica.kill)
            replica.start_from()
            replicas.append(replica)
        balancer = stack.enter_context(balanced(tmp_path, [replica.port for replica in replicas]))
        clients = RetryingClients(balancer.port)
        clients.expect(1, CHECKPOINTS[MODEL])
        with clients:
            yield Fleet(replicas, balancer, clients)
        outcome = clients.outcome
        per_request = balancer.cpu_seconds() / outcome.requests * 1e6
        record(f"{outcome.requests} requests, {outcome}; HAProxy: {balancer.part()}, {per_request:.0f} µs of CPU each")
        assert not outcome.failed, outcome


def test_the_balancer_has_the_probe_of_the_chart() -> None:
    probe = CONTAINER["readinessProbe"]
    assert f"option httpchk GET {probe['httpGet']['path']}\n" in CONFIGURATION
    assert f"timeout check {probe['timeoutSeconds']}s\n" in CONFIGURATION
    assert f"check inter {probe['periodSeconds']}s fall {probe['failureThreshold']} rise 1\n" in CONFIGURATION
    [longest] = re.findall(r"timeout server (\d+)s", CONFIGURATION)
    [given] = re.findall(r"AXON_TIMEOUT_SECONDS=(\d+)", CONFIGURATION)
    assert int(given) < int(longest)


def test_no_request_fails(fleet: Fleet, tmp_path: Path, record: Record) -> None:
    clients, (first, second, third) = fleet.clients, fleet.replicas
    fleet.wait_for_requests(1000)

    tree = next_version(tmp_path / "next", NEXT)
    stops = []
    for replica in fleet.replicas:  # a rolling update of Axon
        before = replica.version()
        stops.append(replica.stop_as_kubernetes())
        replica.start_from(tree)
        fleet.wait_for(replica, up=True)
        time.sleep(MIN_READY_SECONDS)
        assert before != replica.version() == NEXT
    assert max(stops) < GRACE_SECONDS
    record(f"stops took {', '.join(f'{seconds:.1f}' for seconds in stops)} s of a grace of {GRACE_SECONDS} s")

    update = make_checkpoint(CHECKPOINTS[MODEL].schema, 16, 16, normalization="batch", seed=7)
    clients.expect(2, update)
    Store(tmp_path / "store").publish(MODEL, update)  # a new version of the model
    wait_until(lambda: all(answers_with(replica, 2) for replica in fleet.replicas), first.log)
    fleet.wait_for_requests(500)
    assert clients.outcome.answered[2] > 0

    first.signal_all(signal.SIGKILL)  # a node is gone
    assert first.process is not None
    first.process.wait()
    fleet.wait_for(first, up=False)
    first.start_from(tree)
    fleet.wait_for(first, up=True)
    fleet.wait_for_answers(first)

    second.signal_all(signal.SIGSTOP)  # a node is frozen, and later comes back to what it was
    fleet.wait_for(second, up=False)
    # HAProxy gives up what the frozen replica holds, and sends it to the others.
    wait_until(lambda: fleet.held_by(second) == 0, lambda: str(fleet.balancer.statistics()))
    fleet.wait_for_requests(500)
    second.signal_all(signal.SIGCONT)
    fleet.wait_for(second, up=True)
    fleet.wait_for_answers(second)

    third.fill_disk()
    fleet.wait_for_answers(third)
    os.kill(third.worker_pids()[0], signal.SIGKILL)  # and it has to start a worker without any room
    fleet.wait_for_requests(2000)
    record(f"the replica with a full disk gets requests after its worker died: {fleet.is_up(third)}")

    fleet.wait_for_requests(max(0, REQUESTS - clients.outcome.requests))


def answers_with(replica: Replica, version: int) -> bool:
    """Returns True if a replica answers with a version of the model."""
    answer = http_post(f"{replica.url}/predict", json={"model": MODEL, "instances": [[0.1, 0.2, 0.3, 0.4]]})
    return bool(answer.json()["version"] == version)
