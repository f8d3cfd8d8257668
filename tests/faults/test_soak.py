"""A soak: ten minutes of mixed traffic, good and bad, while versions come and go and workers die.

Memory, descriptors and log stay flat, and the metrics add up.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
import pytest
from crowd import Crowd, counted
from raw_http import post
from serving import CHECKPOINTS, Server, http_client, http_get, make_checkpoint, metric_sum, running, wait_until

from models.store import Store

pytestmark = pytest.mark.faults

SOAK_SECONDS = float(os.environ.get("AXON_SOAK_SECONDS", "600"))
SAMPLE_SECONDS = 2.0
PUBLISH_SECONDS, KILL_SECONDS = 15.0, 40.0
WARM_UP_SHARE = 0.3
# Flat means growth below this, from the first third after the warm-up to the last third. Allocators vary, and each new
# version adds its series to the metrics.
MEMORY_SHARE, MEMORY_BYTES = 0.05, 8 << 20
DESCRIPTORS = 8
LOG_BYTES_PER_EVENT = 4_000  # a death or a new version: a few lines in each process
KEPT_VERSIONS = 3
P99_SECONDS = 2.0
ROW = [0.4, -1.1, 2.0, 0.3]

# Invalid bodies: the model that each counts under, and its status.
BAD: list[tuple[bytes, str, int]] = [
    (b'{"model": "colours", "instances": [[1, 2, 3]]}', "colours", 422),
    (b'{"model": "colours", "instances": [[1, 2, 3, 4], [1, "2", 3, 4]]}', "colours", 422),
    (b'{"model": "price", "instances": [[null, 3]]}', "price", 422),
    (b'{"model": "price", "instances": [[1e39, 3]]}', "price", 422),
    (b'{"model": "mixed", "instances": [[30, "Atlantis"]]}', "mixed", 422),
    (b'{"model": "nobody", "instances": [[1]]}', "", 404),
    (b'{"model": "price", "instances": [[NaN, 1]]}', "", 422),
    (b'{"model": "price", "instances": [[1, 2]', "", 422),
    (b'{"model": "price@77", "instances": [[1, 2]]}', "", 404),
]


@dataclass(frozen=True)
class Sample:
    """The resources of one role's processes at one moment: memory (PSS) in bytes, and open descriptors."""

    memory: int
    descriptors: int


def sample(server: Server) -> dict[str, Sample]:
    """Returns samples of the API processes, the workers and the rest."""
    apis, workers = set(server.api_pids()), set(server.worker_pids())
    held: dict[str, list[int]] = {"api": [0, 0], "worker": [0, 0], "rest": [0, 0]}
    for pid in server.processes():
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        except OSError:  # it has ended meanwhile
            continue
        found = re.search(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)
        sums = held["api" if pid in apis else "worker" if pid in workers else "rest"]
        sums[0] += int(found[1]) * 1024 if found else 0
        sums[1] += descriptors
    return {role: Sample(*sums) for role, sums in held.items()}


class Troublemakers:
    """Clients that send invalid requests, and clients that leave in the middle of a request."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send_wrong), threading.Thread(target=self._leave)]
        self.seen: Counter[tuple[str, str]] = Counter()
        self.faults: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send_wrong(self) -> None:
        rng = random.Random(0)
        with http_client(base_url=self._server.url, timeout=60) as client:
            while not self._stop.wait(0.01) and len(self.faults) < 20:
                body, model, status = rng.choice(BAD)
                try:
                    answer = client.post("/predict", content=body)
                except httpx.TransportError as error:
                    self.faults.append(repr(error))
                    continue
                self.seen[model, str(answer.status_code)] += 1
                if answer.status_code != status:
                    self.faults.append(f"{body!r}: {answer.status_code} {answer.text}")

    def _leave(self) -> None:
        # Never a whole request: a few microseconds decide if a whole request of a client that has left is counted.
        whole = post(json.dumps({"model": "price", "instances": [[1, 2]]}).encode())
        while not self._stop.wait(0.05):
            with socket.create_connection(("127.0.0.1", self._server.port), timeout=30) as stream:
                stream.sendall(whole[: random.randrange(len(whole) - 1)])


class Every:
    """An action that is repeated at intervals."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self._seconds = seconds
        self._action = action
        self._due = time.monotonic() + seconds
        self.times = 0

    def tick(self) -> None:
        """Runs the action if its time has come."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._seconds
            self._action()
            self.times += 1


def test_a_soak_leaves_everything_flat(store: Store, tmp_path: Path) -> None:
    samples: list[dict[str, Sample]] = []
    asked: Counter[tuple[str, str]] = Counter()
    rng = random.Random(1)

    def publish() -> None:
        """Publishes a version of a model, waits until the server answers with that version, and deletes the oldest."""
        seed = rng.randrange(1 << 30)
        version = store.publish("moving", make_checkpoint(CHECKPOINTS["colours"].schema, 16, seed=seed)).version
        wait_until(lambda: _version_of(server) == version, server.log)
        answer = http.post("/predict", json={"model": "moving", "instances": [ROW]})
        assert answer.status_code == 200, answer.text
        asked["moving", "200"] = min(asked["moving", "200"] + 1, KEPT_VERSIONS)  # counts end with their version
        for old in store.entry("moving").versions[:-KEPT_VERSIONS]:
            store.delete("moving", old)

    def kill() -> None:
        os.kill(rng.choice(server.worker_pids()), signal.SIGKILL)

    with running(store.root, tmp_path, workers=2) as server, http_client(base_url=server.url, timeout=60) as http:
        events = [
            Every(PUBLISH_SECONDS, publish),
            Every(KILL_SECONDS, kill),
            Every(SAMPLE_SECONDS, lambda: samples.append(sample(server))),
        ]
        end = time.monotonic() + SOAK_SECONDS
        with Troublemakers(server) as trouble, Crowd(server, pause_seconds=0.05) as crowd:
            while time.monotonic() < end and not trouble.faults:
                for event in events:
                    event.tick()
                crowd.run_for(0.1)
            report = crowd.stop()
        print(f"{report}; {trouble.seen.total()} bad requests")  # noqa: T201
        assert not trouble.faults, trouble.faults
        report.check()
        assert report.percentile(99) < P99_SECONDS, str(report)
        seen = report.statuses + trouble.seen + asked
        wait_until(lambda: seen_of(server) == seen, lambda: f"{seen_of(server)} is not {seen}")
        wait_until(lambda: metric_sum(server, "axon_worker_up") == 2, server.log)
        assert metric_sum(server, "axon_queue_rows") == 0
        log = server.log()
    assert "Traceback" not in log
    assert len(log) < 20_000 + LOG_BYTES_PER_EVENT * (events[0].times + events[1].times), log[-5_000:]
    check_flat(samples)


def seen_of(server: Server) -> Counter[tuple[str, str]]:
    """Returns the service's counts without partial requests of clients that left: 400, or 499 after a reset."""
    left = {("", "400"), ("", "499")}
    return Counter({key: n for key, n in counted(server).items() if key not in left})


def _version_of(server: Server) -> int | None:
    models = http_get(f"{server.url}/models").json()["models"]
    return next((model["version"] for model in models if model["name"] == "moving"), None)


def check_flat(samples: list[dict[str, Sample]]) -> None:
    """Fails if, after the warm-up, the last third uses more than the first, for any role."""
    after = samples[int(len(samples) * WARM_UP_SHARE) :]
    third = len(after) // 3
    assert third >= 5, f"a soak of {len(samples)} samples says nothing"
    for role in samples[0]:
        early, late = after[:third], after[-third:]
        memory = [float(np.median([one[role].memory for one in part])) for part in (early, late)]
        descriptors = [float(np.median([one[role].descriptors for one in part])) for part in (early, late)]
        print(  # noqa: T201
            f"{role}: {memory[0] / 2**20:.1f} → {memory[1] / 2**20:.1f} MiB, "
            f"{descriptors[0]:.0f} → {descriptors[1]:.0f} descriptors"
        )
        assert memory[1] <= memory[0] * (1 + MEMORY_SHARE) + MEMORY_BYTES, f"{role} grew: {memory}"
        assert descriptors[1] <= descriptors[0] + DESCRIPTORS, f"{role} opens more and more: {descriptors}"
