"""The metrics, queries and targets of the chart scale out within a minute of load, and do not flap.

A real Prometheus gets the counters of replicas that do not exist: each counts the busy time of its part of a recorded
load, every 15 s. The samples carry their time (`remote_write.py`), so an hour takes seconds. Prometheus answers the
queries of the chart's ScaledObject, and the arithmetic of the autoscaler (`autoscaler.py`) changes the number of
replicas.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from autoscaler import Autoscaler
from charts import written_manifests
from record_load import PROFILE, RECORDED, SAMPLES
from remote_write import HEADERS, Sample, body
from serving import free_port, http_client, wait_until

from service.metrics import SECONDS_BUCKETS

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

STEP = 15.0  # seconds between two scrapes, and between two decisions
START_SECONDS = 15.0  # until a new replica counts
PEAK = 9.0  # API processes that the peak keeps busy
WORKER_SHARE = 0.3  # of the API processes' busy time: docs/performance.md, "Where the time goes"
SCALED: dict[str, Any] = written_manifests()["kustomize/components/keda/scaledobject.yml#0"]["spec"]


@dataclass
class Pod:
    """A replica and its counters.

    Attributes:
        name: name of the replica.
        ready_at: time from which on the replica takes a part of the load.
        busy: busy seconds of the worker and of the API process.
        waits: numbers of requests up to each bound of the queue wait.
    """

    name: str
    ready_at: float
    busy: list[float] = field(default_factory=lambda: [0.0, 0.0])
    waits: list[float] = field(default_factory=lambda: [0.0] * (len(SECONDS_BUCKETS) + 1))


class Plant:
    """The replicas, and the time of the simulation.

    Args:
        now: Unix time at which the simulation begins.
    """

    def __init__(self, now: float) -> None:
        self._made = 0
        self.pods: list[Pod] = []
        self.now = now

    def resize(self, number: int) -> None:
        """Starts or ends replicas; the last one started ends first."""
        while len(self.pods) < number:
            self._made += 1
            self.pods.append(Pod(f"axon-{self._made}", self.now + START_SECONDS))
        del self.pods[number:]

    def step(self, demand: float, requests: float) -> float:
        """Lets 15 s pass; returns the share for which the API processes were busy.

        Args:
            demand: number of API processes that the load keeps busy.
            requests: number of requests in this time.
        """
        self.now += STEP
        ready = [pod for pod in self.pods if pod.ready_at <= self.now - STEP]
        share = min(1.0, demand / len(ready))
        wait = 0.0008 if share < 0.9 else 0.008 if share < 1 else 0.8  # of all requests; a full process lets them wait
        for pod in ready:
            pod.busy[0] += STEP * share * WORKER_SHARE
            pod.busy[1] += STEP * share
            for place, bound in enumerate((*SECONDS_BUCKETS, math.inf)):
                pod.waits[place] += requests / len(ready) * (wait <= bound)
        return demand / len(ready)

    def samples(self) -> Iterator[Sample]:
        """Yields the counters of all replicas, as in a scrape."""
        for pod in self.pods:
            labels = {"job": "axon", "namespace": "axon", "service": "axon", "pod": pod.name}
            yield {**labels, "__name__": "axon_worker_busy_seconds_total", "worker": "0"}, pod.busy[0]
            yield {**labels, "__name__": "axon_api_busy_seconds_total", "process": "api-0"}, pod.busy[1]
            for bound, count in zip((*SECONDS_BUCKETS, "+Inf"), pod.waits, strict=True):
                model = {"model": "m", "version": "1", "le": str(bound)}
                yield {**labels, **model, "__name__": "axon_queue_wait_seconds_bucket"}, count


class Prometheus:
    """A running Prometheus that takes samples with a time of their own.

    Args:
        url: address of its HTTP API.
        client: client to ask with.
    """

    def __init__(self, url: str, client: httpx.Client) -> None:
        self._url = url
        self._client = client

    def take(self, samples: Iterable[Sample], at: float) -> None:
        """Writes samples of a time."""
        answer = self._client.post(f"{self._url}/api/v1/write", content=body(samples, at), headers=HEADERS)
        assert answer.status_code == 204, answer.text

    def query(self, query: str, at: float) -> float | None:
        """Returns the value of a query at a time; None without a result."""
        answer = self._client.get(f"{self._url}/api/v1/query", params={"query": query, "time": at}).json()
        result = answer["data"]["result"]
        return float(result[0]["value"][1]) if result else None


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes nothing."""
    (tmp_path / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    files = (f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data")
    command = ["prometheus", *files, f"--web.listen-address={address}", "--web.enable-remote-write-receiver"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def is_ready() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return client.get(f"http://{address}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    try:
        with http_client(timeout=60) as client:
            wait_until(is_ready, (tmp_path / "log").read_text)
            yield Prometheus(f"http://{address}", client)
    finally:
        process.terminate()
        process.wait()


@cache
def load() -> list[float]:
    """Returns the recorded load of each 15 s, as the number of API processes that are busy with the load.

    Each is the mean of four samples, because the few requests of a quarter of a second vary more than those of 15 s.
    """
    recorded: list[int] = json.loads(RECORDED.read_text(encoding="utf-8"))
    requests = [sum(part) / len(part) for part in (recorded[max(0, at - 3) : at + 1] for at in range(SAMPLES))]
    begin, end = (int(minute * 60 / STEP) for minute in (PROFILE[1][0], PROFILE[2][0]))
    peak = sum(requests[begin:end]) / (end - begin)
    return [PEAK * number / peak for number in requests]


@pytest.mark.slow
def test_an_hour_of_load(prometheus: Prometheus) -> None:
    plant = Plant(float(int(time.time()) - SAMPLES * int(STEP) - 60))
    hpa = SCALED["advanced"]["horizontalPodAutoscalerConfig"]
    autoscaler = Autoscaler(SCALED["minReplicaCount"], SCALED["maxReplicaCount"], hpa["behavior"])
    replicas, history, overloaded = SCALED["minReplicaCount"], [], []
    plant.resize(replicas)
    for pod in plant.pods:
        pod.ready_at = 0.0
    for demand in load():
        overloaded.append(plant.step(demand, requests=1000 * demand) > 1)
        now = plant.now
        prometheus.take(plant.samples(), now)
        metrics = []
        for trigger in SCALED["triggers"]:
            value = prometheus.query(trigger["metadata"]["query"], now)
            if value is not None:  # the first sample alone is no rate
                metrics.append((trigger["metricType"], value, float(trigger["metadata"]["threshold"])))
        replicas = autoscaler.decide(now, replicas, metrics)
        plant.resize(replicas)
        history.append(replicas)
    report(history, overloaded)


def report(history: list[int], overloaded: list[bool]) -> None:
    """Checks the numbers of replicas of an hour."""
    begins = [int(minute * 60 / STEP) for minute, _ in PROFILE]
    target = float(SCALED["triggers"][1]["metadata"]["threshold"])
    before, after = max(history[4 : begins[1]]), history[begins[1] : begins[1] + 4]
    first = next(place for place in range(begins[1], SAMPLES) if history[place] > history[begins[1]])
    sys.stdout.write(
        f"\nreplicas by the minute: {history[::4]}; the first more {(first - begins[1] + 1) * STEP:g} s after the peak "
        f"began; {sum(overloaded) * STEP:g} s with more load than the replicas take\n"
    )
    assert before <= 3, "a tenth of the traffic needs the least number"
    assert after[-1] > before, "a minute after the peak began"
    enough = math.ceil(PEAK / target)
    reached = next(place for place, number in enumerate(history) if number >= enough * 0.9)
    assert (reached - begins[1]) * STEP <= 240, "doubled each minute, and four at least"
    assert sum(overloaded[reached + 2 :]) * STEP <= 60, "the load of a minute is above the targets, not above all"
    assert not flaps(history)
    assert history[-1] < enough / 2


def flaps(history: list[int]) -> list[int]:
    """Returns the steps at which a replica was started again for a load that there had been before its end.

    Args:
        history: number of replicas after each step.
    """
    found = []
    changes = [(place, b - a) for place, (a, b) in enumerate(pairwise(history), 1) if a != b]
    for (ended, first), (started, second) in pairwise(changes):
        before, now = max(load()[max(0, ended - 20) : ended]), max(load()[started - 3 : started + 1])
        if first < 0 < second and now <= 1.1 * before:
            found.append(started)
    return found


def test_the_same_load_flaps_without_the_window() -> None:
    behavior = SCALED["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    target = float(SCALED["triggers"][1]["metadata"]["threshold"])

    def replicas_with(window: int) -> list[int]:
        down = {**behavior["scaleDown"], "stabilizationWindowSeconds": window}
        autoscaler = Autoscaler(2, 20, {**behavior, "scaleDown": down})
        history = [2]
        for step, demand in enumerate(load()):
            history.append(autoscaler.decide(step * STEP, history[-1], [("AverageValue", demand, target)]))
        return history[1:]

    # Without Prometheus's mean over a minute, too, so one flap is left.
    window = behavior["scaleDown"]["stabilizationWindowSeconds"]
    assert len(flaps(replicas_with(window))) <= 1 < 4 <= len(flaps(replicas_with(0)))
