"""The tracer of an API process: decides which requests are sampled, and notes what happens in these."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from service.admission import Prediction
from service.batching.batch import Batch, BatchHolder
from service.batching.ticket import Span
from service.exemplars import ExemplarFile
from service.logs import LimitedLog, get_logger
from service.metrics import REQUEST_SECONDS
from service.request_trace import NOT_SAMPLED, RequestTrace
from service.span_facts import AttributeValue
from service.trace_context import read_trace_context
from service.tracing.counts import TraceMetrics
from service.tracing.environment import read_trace_settings
from service.tracing.export import SpanExport
from service.tracing.records import Ids, Record, RequestRecord
from service.tracing.span_sender import SpanSender
from service.tracing.span_writer import SpanWriter
from service.tracing.traced_admission import TracedAdmission
from service.tracing.traced_batch import Sampled, TracedBatch

_REPORT_SECONDS = 1.0  # time between two writings of exemplars and of the counts of lost spans

failures = LimitedLog(get_logger(__name__))


class Tracer:
    """The tracer of one API process, made after the fork.

    Args:
        process: name of the API process, such as `api-0`.
        folder: folder of the metric files.
    """

    def __init__(self, process: str, folder: Path) -> None:
        self._settings = read_trace_settings(os.environ)
        self._sampler = self._settings.sampler
        self._process = process
        self._ids = RandomIdGenerator()
        self._export: SpanExport | None = None
        self._exemplars = ExemplarFile(folder, process, REQUEST_SECONDS)

    def start(self) -> None:
        """Starts the export on the running event loop, after the metrics of the process have started."""
        if self._settings.is_exported:
            writer = SpanWriter(self._process, self._settings.most_links)
            self._export = SpanExport(writer, SpanSender(), TraceMetrics(), self._settings)
            self._export.start()
        self._reporting = asyncio.create_task(self._report(), name="traces")

    async def close(self, seconds: float) -> None:
        """Sends what waits, for a limited time.

        Args:
            seconds: longest time, in seconds.
        """
        self._reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reporting
        if self._export is not None:
            await asyncio.to_thread(self._export.close, seconds)

    def make_admission(self, *parts: Any) -> TracedAdmission:
        """Makes the admission of the process.

        Args:
            parts: arguments of `Admission`.
        """
        return TracedAdmission(self, *parts)

    def begin(self, traceparent: bytes | None, tracestate: bytes | None) -> RequestTrace:
        """Begins the trace of a request, or continues the client's.

        Args:
            traceparent: value of the header `traceparent`, or None.
            tracestate: value of the header `tracestate`, or None.
        """
        parent = None if traceparent is None else read_trace_context(traceparent)
        if parent is not None:
            if not self._sampler.takes_child(parent):
                return NOT_SAMPLED
            return RequestTrace(parent.trace_id, self._new_span_id(), parent, tracestate)
        trace_id = self._ids.generate_trace_id()
        if not self._sampler.takes(trace_id):
            return NOT_SAMPLED
        return RequestTrace(f"{trace_id:032x}", self._new_span_id(), None, None)

    def make_batch(self, holder: BatchHolder, key: str, spans: list[Span], behind: Batch | None = None) -> Batch:
        """Makes a batch, which notes what happens if some of its requests are sampled.

        Args:
            holder: maker of the batch.
            key: key of the model version.
            spans: spans of the batch, at least one.
            behind: batch of the same version that the worker answers first, or None.
        """
        sampled: list[Sampled] = []
        for ticket, start, stop in spans:
            if isinstance(ticket, Prediction):  # the lane takes sampled requests out of their group
                trace = self.trace_of(ticket)
                if trace.is_sampled:
                    sampled.append((ticket, trace, stop - start))
        if not sampled:
            return Batch(holder, key, spans, behind)
        ids: Ids = f"{self._ids.generate_trace_id():032x}", self._new_span_id()
        return TracedBatch(holder, key, spans, behind, ids=ids, sampled=sampled, note=self._note)

    def end(self, prediction: Prediction, status: int, seconds: float, rows: int) -> None:
        """Notes the end of a request.

        Args:
            prediction: request for predictions.
            status: HTTP status of the answer.
            seconds: time from the request's start to its end, in seconds.
            rows: number of answered rows.
        """
        trace = self.trace_of(prediction)
        if not trace.is_sampled:
            return
        served = prediction.served
        facts = prediction.span_facts(status)
        attributes: dict[str, AttributeValue] = {
            **facts.attributes,
            "axon.request_id": prediction.request_id,
            "axon.rows": rows,
        }
        if served is not None:
            attributes |= {"axon.model": served.name, "axon.version": served.version}
        labels = ("", "") if served is None else served.metrics.labels
        self._exemplars.observe(labels, seconds, trace.trace_id, trace.span_id, time.time())
        began = prediction.started  # `time.perf_counter` reads the same clock as `time.monotonic` on Linux
        submitted = getattr(prediction, "arrived", None)
        self._note(RequestRecord(trace, facts._replace(attributes=attributes), began, began + seconds, submitted))

    def trace_of(self, prediction: Prediction) -> RequestTrace:
        """Returns the trace of a request; the first call for a request begins the trace."""
        trace = prediction.trace
        if trace is None:
            trace = prediction.trace = self.begin(prediction.traceparent, prediction.tracestate)
        return trace

    def _new_span_id(self) -> str:
        return f"{self._ids.generate_span_id():016x}"

    def _note(self, record: Record) -> None:
        if self._export is not None:
            self._export.add(record)

    async def _report(self) -> None:
        """Writes exemplars and counts lost spans again and again, until cancelled."""
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            try:
                if self._export is not None:
                    self._export.report_overflow()
                await self._exemplars.write()
            except Exception:
                failures.error("exemplars were not written", exc_info=True)
