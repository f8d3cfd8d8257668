"""Models that change under load: shares of a split, sticky values, a hundred changes, and shadows that fail."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crowd import Crowd
from serving import CHECKPOINTS, ROOT, Oracle, Server, http_get, http_post, make_checkpoint, running, wait_until

from models.store import Store

pytestmark = pytest.mark.faults

CLIENTS = 64
REQUESTS = 100  # of each client
CHANGES = 100
ROW = [0.4, -1.1, 2.0, 0.3]
HANG_SECONDS = 1.0

Record = Callable[[object], None]


class ShadowServer(Server):
    """A server whose version 2 of `price` fails."""

    command = (str(ROOT / "tests/faults/shadow_service.py"),)

    def __init__(self, store: Path, folder: Path, *, fault: str, **settings: object) -> None:
        super().__init__(store, folder, **settings)
        self.environment["TESTED_SHADOW"] = fault


class Clients:
    """Clients of one alias in threads, one connection each; the body of every answer is compared with known ones.

    Args:
        server: server to ask.
        expected: correct answers.
        sticky: True if each client but the first half sends a value of its own.
    """

    def __init__(self, server: Server, expected: set[bytes], *, sticky: bool = False) -> None:
        self._server = server
        self._expected = expected
        self._stop = threading.Event()
        self.versions: Counter[int] = Counter()
        self.by_value: dict[str, set[int]] = {}
        self.failures: list[str] = []
        values = [f"user-{n}" if sticky and n >= CLIENTS // 2 else None for n in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._ask, args=(value,)) for value in values]

    def run(self, requests: int | None = None) -> None:
        """Starts the clients; with a number of requests, waits for their end."""
        self._requests = requests
        for thread in self._threads:
            thread.start()
        if requests is not None:
            self.end()

    def end(self) -> None:
        """Waits for the end of all clients, and stops clients without a number of requests."""
        if self._requests is None:
            self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, value: str | None) -> None:
        connection = HTTPConnection("127.0.0.1", self._server.port, timeout=60)
        body = json.dumps({"model": "colours@p", "instances": [ROW]})
        headers = {} if value is None else {"X-Axon-Sticky": value}
        asked = 0
        while not self._stop.is_set() and asked != self._requests:
            asked += 1
            try:
                connection.request("POST", "/predict", body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except OSError as error:
                self.failures.append(repr(error))
                return
            if answer.status != 200 or content not in self._expected:
                self.failures.append(f"{answer.status} {content[:200]!r}")
                continue
            version = json.loads(content)["version"]
            if value is None:
                self.versions[version] += 1
            else:
                self.by_value.setdefault(value, set()).add(version)
        connection.close()


@pytest.fixture
def colours(tmp_path: Path) -> Store:
    """A store with four versions of `colours`."""
    store = Store(tmp_path / "colours")
    for seed in range(4):
        store.publish("colours", make_checkpoint(CHECKPOINTS["colours"].schema, 16, seed=seed))
    return store


def known_answers(server: Server, store: Store) -> set[bytes]:
    """Returns the bytes of each version's answer, checked by torch."""
    answers = set()
    for version in store.entry("colours").versions:
        answer = http_post(f"{server.url}/predict", json={"model": f"colours@{version}", "instances": [ROW]})
        oracle = Oracle(store.load(f"colours@{version}").checkpoint)
        np.testing.assert_allclose(answer.json()["probabilities"][0], oracle(ROW), rtol=1e-4, atol=1e-6)
        answers.add(answer.content)
    return answers


@pytest.mark.parametrize("processes", [1, 2])
def test_shares_lie_within_their_confidence_interval_and_values_stick(
    colours: Store, tmp_path: Path, record: Record, processes: int
) -> None:
    colours.split("colours", "p", {1: 90, 2: 10})
    by_value: list[dict[str, set[int]]] = []
    for _ in range(2):  # the second time after a restart
        with running(colours.root, tmp_path, api_processes=processes) as server:
            clients = Clients(server, known_answers(server, colours), sticky=True)
            clients.run(REQUESTS)
        assert not clients.failures, clients.failures[:3]
        total = clients.versions.total()
        assert total == CLIENTS // 2 * REQUESTS
        record(f"{processes} processes: {dict(clients.versions)} of {total}")
        interval = 2.58 * (total * 0.9 * 0.1) ** 0.5  # 99 %
        assert abs(clients.versions[2] - 0.1 * total) <= interval
        assert all(len(versions) == 1 for versions in clients.by_value.values()), clients.by_value
        by_value.append(clients.by_value)
    assert by_value[0] == by_value[1]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_hundred_changes_of_an_alias_fail_no_request(
    colours: Store, tmp_path: Path, record: Record, processes: int
) -> None:
    colours.set_alias("colours", "p", 1)
    changes: list[Callable[[], Any]] = [
        lambda: colours.set_alias("colours", "p", 2),
        lambda: colours.split("colours", "p", {1: 50, 3: 50}),
        lambda: colours.split("colours", "p", {1: 20, 2: 30, 4: 50}),
        lambda: colours.set_shadow("colours", "p", 3),
        lambda: colours.set_alias("colours", "p", 4),
        lambda: colours.roll_back("colours", "p"),
        lambda: colours.remove_shadow("colours", "p"),
        lambda: colours.set_alias("colours", "p", 1),
    ]
    with running(colours.root, tmp_path, api_processes=processes, reload_seconds=0.02) as server:
        clients = Clients(server, known_answers(server, colours))
        clients.run()
        for number in range(CHANGES):
            changes[number % len(changes)]()
            refreshed = http_post(f"{server.url}/models/refresh").json()
            assert refreshed["problems"] == {}
        clients.end()
        assert "Traceback" not in server.log(), server.log()
    record(f"{processes} processes: {clients.versions.total()} answers {dict(sorted(clients.versions.items()))}")
    assert not clients.failures, clients.failures[:3]
    assert set(clients.versions) == {1, 2, 3, 4}


@pytest.mark.parametrize("fault", ["raises", "slow", "memory", "not finite", "dies", "hangs"])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_shadow_that_fails_leaves_every_answer_untouched(
    store: Store, tmp_path: Path, record: Record, fault: str, processes: int
) -> None:
    store.publish("price", CHECKPOINTS["price"])
    store.set_alias("price", "default", 1)
    store.set_shadow("price", "default", 2)
    settings: dict[str, Any] = {"fault": fault, "hang_seconds": HANG_SECONDS, "api_processes": processes}
    kind: Any = ShadowServer

    def shadow() -> dict[str, Any]:
        found: dict[str, Any] = http_get(f"{server.url}/models/price").json()["shadows"]["default"]
        return found

    states = {"slow": {"slow"}, "dies": {"stopped"}, "hangs": {"stopped"}}.get(fault, {"failing"})
    with running(store.root, tmp_path, kind, **settings) as server:
        with Crowd(server, deadline_seconds=20) as crowd:
            crowd.warm()
            wait_until(lambda: shadow()["state"] in states, lambda: f"{shadow()} {server.log()[-2000:]}")
            crowd.warm(20 * CLIENTS)
            report = crowd.stop()
        record(f"{fault}: {shadow()}; {report}")
        report.check()
        wait_until(lambda: sum(shadow()["rows"].values()) > 0)
        if fault != "slow":
            assert shadow()["rows"]["agree"] == shadow()["rows"]["differ"] == 0
            assert shadow()["rows"]["failed"] >= 1
            lines = [line for line in server.log().splitlines() if '"shadow failed"' in line]
            assert 1 <= len(lines) <= processes
        if fault in ("dies", "hangs"):
            assert server.log().count('"worker down"') <= 2 * processes
