"""A measurement: one server under one workload in one round, after a check of its answers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.load import Load, LoadResult, drive
from benchmarks.memory import Memory
from benchmarks.model import make_model, make_rows
from benchmarks.peer import Peer
from benchmarks.process import MeasuredServer
from benchmarks.table_model import TABLE, expected_answers, make_table
from benchmarks.wire import Rows

ANSWER_TOLERANCE = 1e-5
SETTLE_SECONDS = 1.0  # between the end of the load and the measurement of the idle server


@dataclass(frozen=True)
class Workload:
    """The load of a measurement: the model, the number of rows per request, and the number of connections."""

    model: str
    rows: int
    connections: int


WORKLOADS = {
    "tab-64": Workload("tab", 1, 64),
    "tab-8": Workload("tab", 1, 8),
    "tab-1": Workload("tab", 1, 1),
    "mnist-64": Workload("mnist", 1, 64),
    "mnist-8": Workload("mnist", 1, 8),
    "mnist-1": Workload("mnist", 1, 1),
    "bulk-8": Workload("tab", 1000, 8),
    "bulk-1": Workload("tab", 1000, 1),
    "table-8": Workload(TABLE, 1000, 8),
    "table-1": Workload(TABLE, 20_000, 1),
    "wide-64": Workload("wide", 1, 64),
    "wide-1": Workload("wide", 1, 1),
    "wide-bulk-8": Workload("wide", 64, 8),
}


@dataclass(frozen=True)
class Measurement:
    """One server under one workload in one round; CPU seconds are those of the whole process tree."""

    server: str
    workload: str
    round: int
    load: LoadResult
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Number of requests answered per second."""
        return (self.load.answers - self.load.failed) / self.load.seconds

    @property
    def cpu_per_1000(self) -> float:
        """CPU seconds per 1,000 requests."""
        return 1000 * self.cpu_seconds / max(self.load.answers, 1)

    @property
    def tail(self) -> float:
        """Ratio of p99 to p50."""
        return self.load.p99 / self.load.p50


@dataclass(frozen=True)
class Footprint:
    """The start time, idle CPU use and memory of one server with one model in one round.

    Attributes:
        start_seconds: time from the start of the process to the first 2xx.
        idle_cores: CPU seconds per second of the whole process tree, after the load.
        memory: memory of the processes after the load, by role.
    """

    server: str
    model: str
    round: int
    start_seconds: float
    idle_cores: float
    memory: dict[str, Memory]

    @property
    def pss(self) -> float:
        """Proportional set size of all processes, in MB; a shared page counts once."""
        return sum(memory.pss for memory in self.memory.values())

    @property
    def anonymous(self) -> float:
        """Part of the PSS that belongs to no file, in MB."""
        return sum(memory.anonymous for memory in self.memory.values())


@dataclass(frozen=True)
class Effort:
    """The length of a measurement and its load driver."""

    driver: str
    seconds: float
    warm_up_seconds: float
    idle_seconds: float


@dataclass
class Results:
    """All measurements of one run."""

    measurements: list[Measurement] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)

    def ratio(
        self, workload: str, server: str, base: str, of: Callable[[Measurement], float] = lambda m: m.per_second
    ) -> float | None:
        """Returns the median over the rounds of the ratio of `server` to `base`; None if no round has both."""
        by_round: dict[int, dict[str, float]] = {}
        for m in self.measurements:
            if m.workload == workload:
                by_round.setdefault(m.round, {})[m.server] = of(m)
        return _median_ratio(by_round, server, base)

    def median(self, workload: str, server: str, of: Callable[[Measurement], float]) -> float | None:
        """Returns the median of a figure over the rounds."""
        found = [of(m) for m in self.measurements if m.workload == workload and m.server == server]
        return statistics.median(found) if found else None

    def footprint(self, server: str, model: str, of: Callable[[Footprint], float]) -> float | None:
        """Returns the median of a footprint's figure over the rounds."""
        found = [of(f) for f in self.footprints if f.server == server and f.model == model]
        return statistics.median(found) if found else None

    def footprint_ratio(self, server: str, base: str, model: str, of: Callable[[Footprint], float]) -> float | None:
        """Returns the median over the rounds of the ratio of two servers' footprints; None if no round has both."""
        by_round: dict[int, dict[str, float]] = {}
        for f in self.footprints:
            if f.model == model:
                by_round.setdefault(f.round, {})[f.server] = of(f)
        return _median_ratio(by_round, server, base)


def _median_ratio(by_round: Mapping[int, Mapping[str, float]], server: str, base: str) -> float | None:
    ratios = [found[server] / found[base] for found in by_round.values() if server in found and found.get(base)]
    return statistics.median(ratios) if ratios else None


def measure(peer: Peer, workloads: Sequence[str], round_: int, effort: Effort, folder: Path, results: Results) -> None:
    """Adds one server's measurements of one round, with a new process for each model.

    Raises:
        RuntimeError: the server did not start, an answer differs from torch's, or the load driver failed.
    """
    for model in dict.fromkeys(WORKLOADS[name].model for name in workloads):
        if model == TABLE and not peer.tables:
            continue
        with MeasuredServer(peer, model) as server:
            start_seconds = server.wait_until_it_answers(peer.wire.encode(make_request_rows(model, 1)))
            if peer.answers:
                check_answers(server, model)
            for name in (name for name in workloads if WORKLOADS[name].model == model):
                workload = WORKLOADS[name]
                rows = make_request_rows(model, workload.rows)
                if peer.answers:
                    _check(server, rows, _expected(model, rows))
                load = server_load(server, rows, workload)
                if effort.warm_up_seconds:
                    drive(effort.driver, load, effort.warm_up_seconds, folder)
                before = server.cpu_seconds()
                result = drive(effort.driver, load, effort.seconds, folder)
                cpu = server.cpu_seconds() - before
                results.measurements.append(Measurement(peer.name, name, round_, result, cpu))
            idle_cores = _idle_cores(server, effort.idle_seconds)
            memory = server.memory()
            results.footprints.append(Footprint(peer.name, model, round_, start_seconds, idle_cores, memory))


def server_load(server: MeasuredServer, rows: Any, workload: Workload) -> Load:
    """Returns the load of a workload for a server, after one request.

    Args:
        server: running server.
        rows: rows of the request.
        workload: model, number of rows and number of connections.
    """
    wire = server.peer.wire
    message = wire.encode(rows)
    size = len(server.ask(message).body)
    return Load(
        server.url,
        message,
        workload.rows,
        workload.connections,
        grpc=wire.grpc,
        tensor=wire.tensor,
        data=rows,
        answer_bytes=size,
    )


def check_answers(server: MeasuredServer, model: str, connections: int = 64, requests: int = 192) -> None:
    """Sends distinct rows, one to three per request, all at once, and compares the answers with torch's.

    Raises:
        RuntimeError: an answer differs from torch's.
    """
    rows = make_request_rows(model, 3 * requests)
    expected = _expected(model, rows)

    def check(i: int) -> None:
        some = slice(3 * i, 3 * i + 1 + i % 3)
        _check(server, rows[some], expected[some])

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(check, range(requests)))


def make_request_rows(model: str, rows: int) -> Any:
    """Makes rows for a request, as lists or as objects."""
    return make_table(rows) if model == TABLE else make_rows(model, rows)


def _expected(model: str, rows: Any) -> torch.Tensor:
    if model == TABLE:
        return torch.from_numpy(expected_answers(rows))
    with torch.inference_mode():
        probabilities: torch.Tensor = make_model(model)(torch.tensor(rows)).softmax(-1)
        return probabilities  # (rows, classes)


def _check(server: MeasuredServer, rows: Rows, expected: torch.Tensor) -> None:
    peer = server.peer
    found = torch.tensor(peer.wire.decode(server.ask(peer.wire.encode(rows))))
    if found.shape != expected.shape:
        raise RuntimeError(f"{peer.name}: {tuple(found.shape)} probabilities for {tuple(expected.shape)}")
    worst = float((found - expected).abs().max())
    if worst > ANSWER_TOLERANCE:
        raise RuntimeError(f"{peer.name}: an answer is off by {worst:g}")


def _idle_cores(server: MeasuredServer, seconds: float) -> float:
    time.sleep(min(SETTLE_SECONDS, seconds))
    started, before = time.monotonic(), server.cpu_seconds()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - started)
