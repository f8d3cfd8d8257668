"""Prometheus metrics, correct across processes and across their restarts.

Each process keeps its values in memory-mapped files. Axon names the files by a process's role (`api-0`, `worker-1`) and
not by its id: a restarted worker goes on counting where its predecessor was killed, and the number of files is bounded.
What has a model version as a label is kept in a `SeriesFile`, from which it goes with its version; the few figures of a
process as a whole are `prometheus_client`'s.

A request's own cost is kept to a few list increments: an API process gathers in plain integers and writes them
through every `FLUSH_SECONDS` while it is busy. Labels are models and versions of the store, never a client's words;
a request that reaches no model has them empty.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Set
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.exposition import FamilyText
from service.series_file import Family, Labels, SeriesFile

FLUSH_SECONDS = 0.05
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# From 50 µs: an MLP's whole request takes less than the 5 ms at which prometheus_client's own buckets begin.
SECONDS_BUCKETS = (
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
ROWS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

_MODEL = ("model", "version")
REQUESTS = Family("axon_requests_total", "Prediction requests by answer.", (*_MODEL, "status"))
ROWS = Family("axon_rows_total", "Rows predicted.", _MODEL)
REQUEST_SECONDS = Family(
    "axon_request_seconds", "From a request's arrival to its answer.", _MODEL, bounds=SECONDS_BUCKETS
)
QUEUE_WAIT_SECONDS = Family(
    "axon_queue_wait_seconds",
    "From a request's arrival to its rows' leaving for a worker.",
    _MODEL,
    bounds=SECONDS_BUCKETS,
)
INFERENCE_SECONDS = Family("axon_inference_seconds", "Forward pass of one batch.", _MODEL, bounds=SECONDS_BUCKETS)
BATCH_ROWS = Family("axon_batch_rows", "Rows of one batch as merged by a worker.", _MODEL, bounds=ROWS_BUCKETS)
UNKNOWN_CATEGORIES = Family(
    "axon_unknown_categories_total", "Cells predicted whose category training did not see.", _MODEL
)
_API_FAMILIES = (REQUESTS, ROWS, REQUEST_SECONDS, QUEUE_WAIT_SECONDS, UNKNOWN_CATEGORIES)
FAMILIES = (*_API_FAMILIES, INFERENCE_SECONDS, BATCH_ROWS)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RESERVED_BYTES = 1 << 16  # of each of prometheus_client's files, whose series are few
_KINDS = ("histogram", "counter", "gauge_livesum", "gauge_mostrecent")
RESERVED_BYTES = len(_KINDS) * _RESERVED_BYTES + (1 << 20)  # in the metric files of one process
_role = "main"


def set_role(role: str) -> None:
    """Names this process in the metric files: one name a running process, the same name after a restart."""
    global _role
    _role = role


def _use_files(folder: Path) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # where MmapedValue and MultiProcessCollector look for it
    values.ValueClass = values.MultiProcessValue(lambda: _role)  # type: ignore[no-untyped-call]


def _reserve(folder: Path) -> None:
    """Takes the disk's room for this process's files now. They are mapped into memory, where a page that a full disk
    has no room for ends the process (SIGBUS).
    """
    for kind in _KINDS:
        descriptor = os.open(folder / f"{kind}_{_role}.db", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVED_BYTES)
        finally:
            os.close(descriptor)


class _Memory:
    """Resident memory of the process, by its role."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauge = Gauge(
            "axon_process_resident_bytes",
            "Memory that a process has in RAM, what it shares with others included.",
            ("process",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )

    def measure(self) -> None:
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        self._gauge.labels(_role).set(resident_pages * _PAGE_BYTES)


class _Gathered:
    """Observations of one histogram since the last flush."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def flush(self, file: SeriesFile, labels: Labels) -> None:
        if any(self.counts):
            file.add(labels, (*self.counts, self.total))
            self.counts = [0] * len(self.counts)
            self.total = 0.0


class WorkerMetrics:
    """What an inference worker measures: one observation a batch, gathered and written through in bulk.

    Args:
        folder: folder of the metric files.
        served: tells `name@version` of what is served, None while that is not known; series of other versions end.
    """

    def __init__(self, folder: Path, served: Callable[[], Set[str] | None]) -> None:
        _use_files(folder)
        _reserve(folder)
        registry = CollectorRegistry()
        self._memory = _Memory(registry)
        starts = Counter("axon_worker_starts", "Starts of the process that predicts.", ("worker",), registry=registry)
        self._memory.measure()
        starts.labels(_role.removeprefix("worker-")).inc()
        self._seconds = SeriesFile(folder, _role, INFERENCE_SECONDS)
        self._rows = SeriesFile(folder, _role, BATCH_ROWS)
        self._ask_served = served
        self._served: Set[str] | None = None
        self._gathered: dict[tuple[str, int], tuple[_Gathered, _Gathered]] = {}
        self._flush_at: float | None = None

    def measure_memory(self) -> None:
        """Now and then; series whose versions have ended go too."""
        self._memory.measure()
        self._look_for_ended()

    def observe_batch(self, model: str, version: int, rows: int, seconds: float) -> None:
        """One forward pass."""
        gathered = self._gathered.get((model, version))
        if gathered is None:
            gathered = self._gathered[(model, version)] = _Gathered(SECONDS_BUCKETS), _Gathered(ROWS_BUCKETS)
        gathered[0].observe(seconds)
        gathered[1].observe(rows)
        if self._flush_at is None:
            self._flush_at = time.monotonic() + FLUSH_SECONDS

    def flush_if_due(self) -> float | None:
        """Writes through what was gathered, if it is time; else the seconds until it is. None: nothing is left."""
        if self._flush_at is None:
            return None
        left = self._flush_at - time.monotonic()
        if left > 0:
            return left
        for (model, version), (seconds, rows) in self._gathered.items():
            labels = (model, str(version))
            if self._has_ended(labels):
                self._look_for_ended()  # or it is so new that its list has not been read
                if self._has_ended(labels):
                    continue
            seconds.flush(self._seconds, labels)
            rows.flush(self._rows, labels)
        self._gathered.clear()
        self._flush_at = None
        return None

    def _look_for_ended(self) -> None:
        served = self._ask_served()
        if served is not self._served:
            self._served = served
            for file in (self._seconds, self._rows):
                file.end(self._has_ended)

    def _has_ended(self, labels: Labels) -> bool:
        return self._served is not None and "@".join(labels) not in self._served


class ModelMetrics:
    """One model version's figures in an API process, gathered between flushes.

    `mark` is called when there is something to flush.
    """

    def __init__(self, model: str, version: str, mark: Callable[[ModelMetrics], None]) -> None:
        self.labels = (model, version)
        self._mark = mark
        self._marked = False
        self.statuses: Tally[int] = Tally()
        self.rows = 0
        self.unknown = 0
        self.latency = _Gathered(SECONDS_BUCKETS)
        self.queue_wait = _Gathered(SECONDS_BUCKETS)

    def observe_request(self, status: int, seconds: float, rows: int = 0) -> None:
        """One request, answered with `status` after `seconds`; `rows` of it were predicted."""
        self.statuses[status] += 1
        self.rows += rows
        self.latency.observe(seconds)
        if not self._marked:
            self._marked = True
            self._mark(self)

    def observe_unknown(self, cells: int) -> None:
        """Counts cells of unknown categories, before the request that they are of."""
        self.unknown += cells

    def flushed(self) -> None:
        """Begins anew."""
        self.statuses.clear()
        self.rows = 0
        self.unknown = 0
        self._marked = False


class ApiMetrics:
    """What an API process measures, and the text that Prometheus scrapes, which covers all processes."""

    def __init__(self, folder: Path) -> None:
        _use_files(folder)
        self._folder = folder
        registry = CollectorRegistry()
        self._queue_rows = Gauge(
            "axon_queue_rows", "Rows that wait in API processes.", multiprocess_mode="livesum", registry=registry
        )
        self._longest_hold = Gauge(
            "axon_event_loop_longest_hold_seconds",
            "Longest time in the last minute or two for which an API process looked at no connection.",
            ("process",),
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._resent = Counter(
            "axon_batches_resent", "Batches sent again because their worker died.", registry=registry
        )
        self._refused = Counter(
            "axon_connections_refused", "Connections refused because there were too many.", registry=registry
        )
        self._memory = _Memory(registry)
        self._texts = [FamilyText(folder, family) for family in FAMILIES]
        self._versions: set[Labels] = set()
        self._dirty: list[ModelMetrics] = []
        self._timer: asyncio.TimerHandle | None = None
        self.unrouted = self.for_model("", "")

    def start(self, role: str, queue_depth: Callable[[], int]) -> None:
        """Called once in the API process, after the fork, with what tells how many rows wait."""
        set_role(role)
        _reserve(self._folder)
        self._files = [SeriesFile(self._folder, role, family) for family in _API_FAMILIES]
        self._requests, self._rows, self._latency, self._queue_wait, self._unknown = self._files
        self._queue_depth = queue_depth
        self._queue_rows.set(0)

    def measure_memory(self) -> None:
        """Now and then."""
        self._memory.measure()

    def set_longest_hold(self, seconds: float) -> None:
        """Tells how long the event loop was held of late, at most."""
        self._longest_hold.labels(_role).set(seconds)

    @property
    def has_gathered(self) -> bool:
        """Whether requests were answered since the last flush."""
        return bool(self._dirty)

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """A model version's figures."""
        self._versions.add((model, version))
        return ModelMetrics(model, version, self._mark)

    def keep_only(self, versions: set[Labels]) -> None:
        """Ends the series of all other versions.

        Args:
            versions: models and versions that the store holds or this process serves.
        """
        versions = versions | {self.unrouted.labels}
        if versions != self._versions:
            self._versions = versions
            for file in self._files:
                file.end(lambda labels: labels[:2] not in versions)

    def batch_resent(self) -> None:
        """A worker died with a batch in hand, which was put back."""
        self._resent.inc()

    def connection_refused(self) -> None:
        """A connection was one too many."""
        self._refused.inc()

    def flush(self) -> None:
        """Writes everything gathered through to the files."""
        self._timer = None
        dirty, self._dirty = self._dirty, []
        for gathered in dirty:
            if (labels := gathered.labels) in self._versions:  # not one that has ended with a request under way
                for status, n in gathered.statuses.items():
                    self._requests.add((*labels, str(status)), (n,))
                if gathered.rows:
                    self._rows.add(labels, (gathered.rows,))
                    # Also where it is 0, so that the first unknown cell is an increase and not a new series.
                    self._unknown.add(labels, (gathered.unknown,))
                gathered.latency.flush(self._latency, labels)
                gathered.queue_wait.flush(self._queue_wait, labels)
            gathered.flushed()
        self._queue_rows.set(self._queue_depth())

    def exposition(self, state: Collector) -> Iterator[bytes]:
        """The text format, in pieces: what all processes have counted, and `state`'s figures of this moment."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(state)
        yield prometheus_client.generate_latest(registry)
        for family in self._texts:
            yield from family.pieces()

    def _mark(self, gathered: ModelMetrics) -> None:
        self._dirty.append(gathered)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
