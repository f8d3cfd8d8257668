"""Prometheus metrics, which stay correct across several processes and restarts.

Each process keeps its values in memory-mapped files. Axon names the files by the role of a process (`api-0`,
`worker-1`) and not by the process id. So a restarted worker continues the counts of its killed predecessor, and the
number of files is bounded. A metric with a model version as a label is kept in a `SeriesFile`, and its series end with
the version; `prometheus_client` keeps the few metrics of a whole process.

A request costs only a few list increments: an API process counts in plain integers, and writes them to the files every
`FLUSH_SECONDS` while it is busy. Labels are models and versions of the store, never a client's text; they are empty
for a request that reaches no model.
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
from prometheus_client.openmetrics import exposition as open_metrics
from prometheus_client.registry import Collector

from service.busy_time import BusyTime
from service.exemplars import Exemplars
from service.explanation_metrics import EXPLANATION_FAMILIES, ExplanationMetrics
from service.exposition import FamilyText, only_named
from service.series_file import Family, Labels, SeriesFile, SeriesReader
from service.shadow_metrics import SHADOW_FAMILIES, ShadowMetrics

FLUSH_SECONDS = 0.05
CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
OPEN_METRICS_TYPE = open_metrics.CONTENT_TYPE_LATEST
OPEN_METRICS_END = b"# EOF\n"

# From 50 µs: a whole request to an MLP takes less than 5 ms, where prometheus_client's own buckets begin.
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
FAMILIES = (*_API_FAMILIES, INFERENCE_SECONDS, BATCH_ROWS, *SHADOW_FAMILIES, *EXPLANATION_FAMILIES)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RESERVED_BYTES = 1 << 16  # reserved for each file of prometheus_client, which holds few series
_KINDS = ("histogram", "counter", "gauge_livesum", "gauge_mostrecent")
RESERVED_BYTES = len(_KINDS) * _RESERVED_BYTES + (1 << 20)  # reserved for all metric files of one process
_role = "main"


def set_role(role: str) -> None:
    """Sets the name of this process in the metric files.

    Args:
        role: name that no other running process has, and that stays the same after a restart, such as `worker-1`.
    """
    global _role
    _role = role


def _use_files(folder: Path) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # MmapedValue and MultiProcessCollector read it there
    values.ValueClass = values.MultiProcessValue(lambda: _role)  # type: ignore[no-untyped-call]


def _reserve(folder: Path) -> None:
    """Allocates the disk space of this process's files now.

    The files are mapped into memory, and the kernel ends a process (SIGBUS) that writes a page for which a full disk
    has no space.
    """
    for kind in _KINDS:
        descriptor = os.open(folder / f"{kind}_{_role}.db", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, _RESERVED_BYTES)
        finally:
            os.close(descriptor)


class _Memory:
    """The gauge for the resident memory of this process."""

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
    """The observations of one histogram since the last flush.

    Args:
        bounds: upper bounds of the buckets, ascending, without infinity.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def flush(self, file: SeriesFile, labels: Labels) -> None:
        if any(self.counts):
            file.add(labels, (*self.counts, self.total))
            self.counts = [0] * len(self.counts)
            self.total = 0.0


class WorkerMetrics:
    """The metrics of an inference worker: one observation per batch, collected and written to the files in bulk.

    Args:
        folder: folder of the metric files.
        served: function that returns `name@version` of all served versions, or None while they are not known; series
            of other versions are removed.
    """

    def __init__(self, folder: Path, served: Callable[[], Set[str] | None]) -> None:
        _use_files(folder)
        _reserve(folder)
        registry = CollectorRegistry()
        self._memory = _Memory(registry)
        worker = _role.removeprefix("worker-")
        starts = Counter("axon_worker_starts", "Starts of the process that predicts.", ("worker",), registry=registry)
        self._busy = Counter(
            "axon_worker_busy_seconds",
            "Time in which a worker computed batches, from their arrival to their answers.",
            ("worker",),
            registry=registry,
        ).labels(worker)
        self._busy_seconds = 0.0  # since the last flush
        self._memory.measure()
        starts.labels(worker).inc()
        self._seconds = SeriesFile(folder, _role, INFERENCE_SECONDS)
        self._rows = SeriesFile(folder, _role, BATCH_ROWS)
        self._ask_served = served
        self._served: Set[str] | None = None
        self._gathered: dict[tuple[str, int], tuple[_Gathered, _Gathered]] = {}
        self._flush_at: float | None = None

    def measure_memory(self) -> None:
        """Measures the resident memory, and ends the series of versions that are no longer served."""
        self._memory.measure()
        self._end_series()

    def observe_busy(self, seconds: float) -> None:
        """Counts time in which the worker had a batch in hand; the time spent awake between batches is not counted."""
        self._busy_seconds += seconds
        if self._flush_at is None:
            self._flush_at = time.monotonic() + FLUSH_SECONDS

    def observe_batch(self, model: str, version: int, rows: int, seconds: float) -> None:
        """Counts one forward pass."""
        gathered = self._gathered.get((model, version))
        if gathered is None:
            gathered = self._gathered[(model, version)] = _Gathered(SECONDS_BUCKETS), _Gathered(ROWS_BUCKETS)
        gathered[0].observe(seconds)
        gathered[1].observe(rows)
        if self._flush_at is None:
            self._flush_at = time.monotonic() + FLUSH_SECONDS

    def flush_if_due(self) -> float | None:
        """Writes the observations to the files, if a flush is due.

        Returns:
            The time until the next flush, in seconds; None if no observations are left.
        """
        if self._flush_at is None:
            return None
        left = self._flush_at - time.monotonic()
        if left > 0:
            return left
        self._busy.inc(self._busy_seconds)
        self._busy_seconds = 0.0
        for (model, version), (seconds, rows) in self._gathered.items():
            labels = (model, str(version))
            if self._has_ended(labels):
                self._end_series()  # the version may be so new that its list has not been read
                if self._has_ended(labels):
                    continue
            seconds.flush(self._seconds, labels)
            rows.flush(self._rows, labels)
        self._gathered.clear()
        self._flush_at = None
        return None

    def _end_series(self) -> None:
        """Ends the series of versions that are no longer served, if the served versions have changed."""
        served = self._ask_served()
        if served is not self._served:
            self._served = served
            for file in (self._seconds, self._rows):
                file.end(self._has_ended)

    def _has_ended(self, labels: Labels) -> bool:
        return self._served is not None and "@".join(labels) not in self._served


class ModelMetrics:
    """The metrics of one model version in an API process, collected between flushes.

    Args:
        model: name of the model.
        version: number of the version, as text.
        mark: function that is called when there is something to flush.

    Attributes:
        last_request: time of the last flush with requests, at first of the load, on the monotonic clock, in seconds.
    """

    def __init__(self, model: str, version: str, mark: Callable[[ModelMetrics], None]) -> None:
        self.labels = (model, version)
        self._mark = mark
        self._marked = False
        self.last_request = time.monotonic()
        self.statuses: Tally[int] = Tally()
        self.rows = 0
        self.unknown = 0
        self.latency = _Gathered(SECONDS_BUCKETS)
        self.queue_wait = _Gathered(SECONDS_BUCKETS)

    def observe_request(self, status: int, seconds: float, rows: int = 0, requests: int = 1) -> None:
        """Counts one request, or several that took the same time.

        Args:
            status: HTTP status of the answer.
            seconds: time from the arrival of the request to the answer.
            rows: number of predicted rows.
            requests: number of requests.
        """
        self.statuses[status] += requests
        self.rows += rows
        self.latency.observe(seconds, requests)
        if not self._marked:
            self._marked = True
            self._mark(self)

    def observe_unknown(self, cells: int) -> None:
        """Counts cells with unknown categories; called before `observe_request` of the same request."""
        self.unknown += cells

    def flushed(self) -> None:
        """Resets the counts after a flush."""
        self.statuses.clear()
        self.rows = 0
        self.unknown = 0
        self._marked = False


class ApiMetrics:
    """The metrics of an API process, and the text that Prometheus scrapes, which covers all processes.

    Attributes:
        shadows: metrics of the process's shadows, from `start` on.
        explanations: metrics of explanations, from `start` on.
    """

    shadows: ShadowMetrics
    explanations: ExplanationMetrics

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
        self._busy = Counter(
            "axon_api_busy_seconds",
            "Time in which an API process had work to do; staying awake for a lone client does not count.",
            ("process",),
            registry=registry,
        )
        self._resent = Counter(
            "axon_batches_resent", "Batches sent again because their worker died.", registry=registry
        )
        self._refused = Counter(
            "axon_connections_refused", "Connections refused because there were too many.", registry=registry
        )
        self._starts = Counter("axon_api_process_starts", "Starts of an API process.", ("process",), registry=registry)
        self._memory = _Memory(registry)
        self._texts = [FamilyText(folder, family) for family in FAMILIES]
        # Apart, because both kinds of text may be made at the same time, and each remembers what it has read.
        self._open_metrics_texts = [FamilyText(folder, family) for family in FAMILIES]
        self._versions: set[Labels] = set()
        self._dirty: list[ModelMetrics] = []
        self._timer: asyncio.TimerHandle | None = None
        self.unrouted = self.for_model("", "")

    def start(self, role: str, queue_depth: Callable[[], int], awake_seconds: Callable[[], float] = float) -> None:
        """Opens the files of this process, once after the fork.

        Args:
            role: name of the process, such as `api-0`.
            queue_depth: function that returns the number of waiting rows.
            awake_seconds: function that returns the time for which the process has polled without work, in seconds.
        """
        set_role(role)
        _reserve(self._folder)
        self._files = [SeriesFile(self._folder, role, family) for family in _API_FAMILIES]
        self._requests, self._rows, self._latency, self._queue_wait, self._unknown = self._files
        self.shadows = ShadowMetrics(self._folder, role, lambda labels: labels in self._versions)
        self.explanations = ExplanationMetrics(self._folder, role, lambda labels: labels in self._versions)
        self._queue_depth = queue_depth
        self._awake_seconds = awake_seconds
        self._busy_time = BusyTime()
        self._busy_seconds = self._busy_time.seconds() - awake_seconds()  # at the last flush; the start does not count
        self._busy.labels(role)
        self._queue_rows.set(0)
        self._starts.labels(role).inc()

    def measure_memory(self) -> None:
        """Measures the resident memory."""
        self._memory.measure()

    def set_longest_hold(self, seconds: float) -> None:
        """Sets the longest recent time for which a callback held the event loop."""
        self._longest_hold.labels(_role).set(seconds)

    @property
    def has_gathered(self) -> bool:
        """True if requests were answered since the last flush."""
        return bool(self._dirty)

    def for_model(self, model: str, version: str) -> ModelMetrics:
        """Returns the metrics of a model version."""
        self._versions.add((model, version))
        return ModelMetrics(model, version, self._mark)

    def keep_only(self, versions: set[Labels]) -> None:
        """Removes the series of all versions except the given ones.

        Args:
            versions: models and versions that the store holds or this process serves.
        """
        versions = versions | {self.unrouted.labels}
        if versions != self._versions:
            self._versions = versions
            for file in self._files:
                file.end(lambda labels: labels[:2] not in versions)
            self.shadows.end_series()
            self.explanations.end_series()

    def batch_resent(self) -> None:
        """Counts a batch that is sent again because its worker died."""
        self._resent.inc()

    def connection_refused(self) -> None:
        """Counts a connection that was refused."""
        self._refused.inc()

    def flush(self) -> None:
        """Writes all collected counts to the files."""
        self._timer = None
        dirty, self._dirty = self._dirty, []
        now = time.monotonic()
        for gathered in dirty:
            gathered.last_request = now
            if (labels := gathered.labels) in self._versions:  # the version may have ended during a request
                for status, n in gathered.statuses.items():
                    self._requests.add((*labels, str(status)), (n,))
                if gathered.rows:
                    self._rows.add(labels, (gathered.rows,))
                    # Written even if it is 0, so that the first unknown cell is an increase and not a new series.
                    self._unknown.add(labels, (gathered.unknown,))
                gathered.latency.flush(self._latency, labels)
                gathered.queue_wait.flush(self._queue_wait, labels)
            gathered.flushed()
        self._queue_rows.set(self._queue_depth())
        busy = self._busy_time.seconds() - self._awake_seconds()
        if busy > self._busy_seconds:
            self._busy.labels(_role).inc(busy - self._busy_seconds)
            self._busy_seconds = busy

    def reader(self, family: Family) -> SeriesReader:
        """Returns a reader of one metric in all processes."""
        return SeriesReader(self._folder, family)

    def exposition(
        self, state: Collector, *, is_open_metrics: bool = False, names: Set[str] = frozenset()
    ) -> Iterator[bytes]:
        """Yields the text that Prometheus scrapes, in pieces.

        Args:
            state: collector of the gauges that are measured now; the counts of all processes come from the files.
            is_open_metrics: True for OpenMetrics with exemplars, without its last line; False for the classic text.
            names: names of the metrics to write; empty for all.
        """
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(state)
        if not is_open_metrics:
            yield only_named(prometheus_client.generate_latest(registry), names)
            for family in self._texts:
                if not names or family.family.name in names:
                    yield from family.pieces()
            return
        text_of_gauges = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        yield only_named(text_of_gauges.removesuffix(OPEN_METRICS_END), names)
        for text in self._open_metrics_texts:
            if names and text.family.name not in names:
                continue
            exemplars = Exemplars(self._folder, REQUEST_SECONDS) if text.family is REQUEST_SECONDS else None
            yield from text.pieces(exemplars, is_open_metrics=True)

    def _mark(self, gathered: ModelMetrics) -> None:
        self._dirty.append(gathered)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
