"""The export of spans: a bounded queue of records, and a thread that sends spans to a collector.

Neither a request nor the event loop waits for either. A collector that is down, slow or refuses spans costs spans,
which are counted. While the thread computes, each system call of the event loop may cost the loop the interpreter's
lock for `sys.getswitchinterval()`. So the thread works in short pieces, and pauses after each for twice its CPU time:
the loop is late by a piece at most, and the thread takes a third of the time of one CPU. If more requests are sampled
than the thread can keep up with, the rest is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from service.logs import LimitedLog, get_logger
from service.tracing.environment import TraceSettings
from service.tracing.records import Record

_PAUSES_A_CPU_SECOND = 2.0
_RECORDS_AT_ONCE = 8  # records whose spans are written without a pause, in half a millisecond
_SILENT_SECONDS = 60.0  # between two lines of the log about failed exports
_CANCEL_SECONDS = 0.2  # time that the thread gets after its export was cancelled

log = get_logger(__name__)
limited_log = LimitedLog(log)


class Writer(Protocol):
    """The writer of spans."""

    def begin(self) -> ExportTraceServiceRequest:
        """Returns a request to a collector, without spans."""

    def add(self, request: ExportTraceServiceRequest, records: list[Record]) -> int:
        """Adds the spans of records to a request, and returns the number of spans."""


class Sender(Protocol):
    """The way to the collector."""

    def send(self, data: bytes) -> bool:
        """Sends a request; returns False if the collector has not taken the request."""

    def shutdown(self) -> None:
        """Ends the pause between two attempts of another thread."""


class SpanCounts(Protocol):
    """The counts of spans."""

    def exported(self, spans: int) -> None:
        """Counts spans that a collector has taken."""

    def dropped(self, spans: int, reason: str) -> None:
        """Counts spans that no collector will get."""


class SpanExport:
    """The export of one API process. `add` is called by the event loop; the thread takes no lock that `add` needs.

    Args:
        writer: writer of the spans.
        sender: way to the collector.
        counts: counts of spans.
        settings: size of the queue, and time between two exports.
    """

    def __init__(self, writer: Writer, sender: Sender, counts: SpanCounts, settings: TraceSettings) -> None:
        self._writer = writer
        self._sender = sender
        self._counts = counts
        self._settings = settings
        self._waiting: deque[Record] = deque()
        self._added = self._overflow = self._reported = 0  # numbers of spans, which only the event loop changes
        self._taken = 0  # number of spans, which only the thread changes
        self._silent_until = 0.0
        self._wake = threading.Event()
        self._stopping = self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Starts the thread, after the fork."""
        self._thread.start()

    def add(self, record: Record) -> None:
        """Queues a record; drops the record if the queue is full."""
        spans = record.span_count
        waiting = self._added - self._taken + spans
        if waiting > self._settings.queue_size:
            self._overflow += spans
            return
        self._added += spans
        self._waiting.append(record)
        if waiting >= self._settings.batch_size and not self._wake.is_set():
            self._wake.set()

    def report_overflow(self) -> None:
        """Counts and logs the spans that the queue had no room for; called by the event loop from time to time."""
        dropped = self._overflow - self._reported
        if dropped:
            self._reported += dropped
            self._counts.dropped(dropped, "queue-full")
            limited_log.warning("spans were dropped: the collector is slow, or too many requests are sampled")

    def close(self, seconds: float) -> None:
        """Sends what waits, for a limited time; called from a thread other than the event loop's.

        Args:
            seconds: longest time, in seconds.
        """
        self._stopping = True
        self._wake.set()
        self._thread.join(seconds)
        self._cancelled = self._thread.is_alive()
        self._sender.shutdown()  # ends a pause between two attempts
        if self._cancelled:
            self._thread.join(_CANCEL_SECONDS)
            log.warning("spans were not sent before the stop", spans=self._added - self._taken)

    def _run(self) -> None:
        """Exports until the end of the process."""
        while not self._stopping:
            self._wake.wait(self._settings.delay_seconds)
            self._wake.clear()
            while self._waiting and not self._cancelled:
                self._export_batch()

    def _export_batch(self) -> None:
        """Sends one batch of spans."""
        started = time.thread_time()
        noted = 0
        try:
            request = self._writer.begin()
            while self._waiting and noted < self._settings.batch_size:
                records = [self._waiting.popleft() for _ in range(min(len(self._waiting), _RECORDS_AT_ONCE))]
                noted += sum(record.span_count for record in records)
                self._writer.add(request, records)
                started = self._pause(started)
            is_taken = self._sender.send(request.SerializeToString())
        except Exception:
            is_taken = False
            if time.monotonic() >= self._silent_until:  # `LimitedLog` is for one thread
                self._silent_until = time.monotonic() + _SILENT_SECONDS
                log.warning("spans could not be exported", exc_info=True)
        self._taken += noted
        if is_taken:
            self._counts.exported(noted)
        else:
            self._counts.dropped(noted, "refused")
        self._pause(started)

    def _pause(self, since: float) -> float:
        """Waits in proportion to the CPU time of this thread since a moment, and returns the present CPU time."""
        if not self._stopping:
            time.sleep(_PAUSES_A_CPU_SECOND * (time.thread_time() - since))
        return time.thread_time()
