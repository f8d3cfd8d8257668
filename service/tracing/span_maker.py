"""Makes OpenTelemetry's spans of records, with the identifiers and the times that were noted."""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from service.trace_context import SAMPLED
from service.tracing.records import Ids, Record, SpanRecord

_SERVICE = "axon"
_SERVICE_NAME = "service.name"
_UNKNOWN_SERVICE = "unknown_service"  # the SDK's name for a service without one
_FLAGS = TraceFlags(SAMPLED)


class _NotedIds(RandomIdGenerator):
    """A source of noted identifiers for the next span, and of new ones in place of missing ones.

    Attributes:
        trace_id: identifier of the trace; 0 for a new one.
        span_id: identifier of the span; 0 for a new one.
    """

    trace_id = 0
    span_id = 0

    def generate_trace_id(self) -> int:
        """Returns the identifier of a trace that begins with the next span."""
        return self.trace_id or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Returns the identifier of the next span."""
        return self.span_id or super().generate_span_id()


class _Ended(SpanProcessor):
    """A collector of ended spans.

    Attributes:
        spans: spans that have ended since the last look.
    """

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Does nothing at the start of a span."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keeps an ended span."""
        self.spans.append(span)


class SpanMaker:
    """A maker of spans, for one thread.

    The SDK knows the resource and the limits of spans, from OpenTelemetry's variables. The sampling was decided before.

    Args:
        process: name of the API process, such as `api-0`.
    """

    def __init__(self, process: str) -> None:
        self._ids = _NotedIds()
        self._ended = _Ended()
        provider = TracerProvider(ALWAYS_ON, _resource(process), shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer(_SERVICE, version(_SERVICE))

    def make(self, records: Iterable[Record]) -> list[ReadableSpan]:
        """Returns the spans of requests and batches."""
        # Taken each time, because a clock that is set runs apart from the monotonic clock.
        offset = time.time_ns() - time.monotonic_ns()
        for record in records:
            for span in record.spans():
                self._make(span, offset)
        spans, self._ended.spans = self._ended.spans, []
        return spans

    def _make(self, record: SpanRecord, offset: int) -> None:
        """Makes one span.

        Args:
            record: facts of the span.
            offset: wall-clock time less monotonic time, in nanoseconds.
        """
        self._ids.trace_id = int(record.trace_id, 16)
        self._ids.span_id = 0 if record.span_id is None else int(record.span_id, 16)
        context = Context()
        if record.parent_id is not None:
            ids = record.trace_id, record.parent_id
            parent = _context(ids, is_remote=record.is_remote, tracestate=record.tracestate)
            context = set_span_in_context(NonRecordingSpan(parent), context)
        span = self._tracer.start_span(
            record.name,
            context,
            SpanKind.SERVER if record.is_server else SpanKind.INTERNAL,
            dict(record.attributes),
            [Link(_context(ids)) for ids in record.links],
            start_time=int(record.began * 1e9) + offset,
        )
        for at, name in record.events:
            span.add_event(name, timestamp=int(at * 1e9) + offset)
        if record.error is not None:
            span.set_attribute("error.type", record.error)
            span.set_status(StatusCode.ERROR)
        span.end(int(record.ended * 1e9) + offset)


def _context(ids: Ids, *, is_remote: bool = False, tracestate: bytes | None = None) -> SpanContext:
    trace_id, span_id = ids
    state = None if tracestate is None else TraceState.from_header(tracestate.decode("latin-1").split("\n"))
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, _FLAGS, state)


def _resource(process: str) -> Resource:
    """Returns the resource of OpenTelemetry's variables; a service without a name is called `axon`."""
    resource = Resource.create()
    more = {"axon.process": process}
    if str(resource.attributes.get(_SERVICE_NAME, _UNKNOWN_SERVICE)).startswith(_UNKNOWN_SERVICE):
        more |= {_SERVICE_NAME: _SERVICE, "service.version": version(_SERVICE)}
    return resource.merge(Resource(more))
