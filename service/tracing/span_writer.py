"""Writes records as spans of OTLP, with OpenTelemetry's own messages.

The SDK's spans cost three times as much CPU time (`python -m benchmarks.spans`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from service.span_facts import AttributeValue
from service.trace_context import SAMPLED
from service.tracing.records import Record, SpanRecord

_SERVICE = "axon"
_SERVICE_NAME = "service.name"
_UNKNOWN_SERVICE = "unknown_service"  # the SDK's name for a service without one
_LOCAL = SAMPLED | SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class SpanWriter:
    """A writer of spans, for one thread.

    Args:
        process: name of the API process, such as `api-0`.
        most_links: number of links of one span.
    """

    def __init__(self, process: str, most_links: int) -> None:
        self._most_links = most_links
        self._ids = RandomIdGenerator()
        self._empty = ExportTraceServiceRequest()
        resource = self._empty.resource_spans.add()
        resource.resource.attributes.extend(_attributes(_resource(process)))
        scope = resource.scope_spans.add().scope
        scope.name, scope.version = _SERVICE, version(_SERVICE)

    def begin(self) -> ExportTraceServiceRequest:
        """Returns a request to a collector, without spans."""
        request = ExportTraceServiceRequest()
        request.CopyFrom(self._empty)
        return request

    def add(self, request: ExportTraceServiceRequest, records: Iterable[Record]) -> int:
        """Adds the spans of records to a request, and returns the number of spans."""
        # Taken each time, because a clock that is set runs apart from the monotonic clock.
        offset = time.time_ns() - time.monotonic_ns()
        spans = [self._span(span, offset) for record in records for span in record.spans()]
        request.resource_spans[0].scope_spans[0].spans.extend(spans)
        return len(spans)

    def _span(self, record: SpanRecord, offset: int) -> Span:
        """Returns one span.

        Args:
            record: facts of the span.
            offset: wall-clock time less monotonic time, in nanoseconds.
        """
        span_id = record.span_id or f"{self._ids.generate_span_id():016x}"
        span = Span(
            name=record.name,
            trace_id=bytes.fromhex(record.trace_id),
            span_id=bytes.fromhex(span_id),
            kind=Span.SPAN_KIND_SERVER if record.is_server else Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=int(record.began * 1e9) + offset,
            end_time_unix_nano=int(record.ended * 1e9) + offset,
            flags=_REMOTE if record.is_remote else _LOCAL,
            attributes=_attributes(record.attributes),
        )
        if record.parent_id is not None:
            span.parent_span_id = bytes.fromhex(record.parent_id)
        if record.tracestate is not None:
            span.trace_state = record.tracestate.decode("latin-1").replace("\n", ",")
        for trace_id, linked_id in record.links[: self._most_links]:
            span.links.add(trace_id=bytes.fromhex(trace_id), span_id=bytes.fromhex(linked_id), flags=_LOCAL)
        span.dropped_links_count = max(0, len(record.links) - self._most_links)
        for at, name in record.events:
            span.events.add(time_unix_nano=int(at * 1e9) + offset, name=name)
        if record.error is not None:
            span.attributes.append(KeyValue(key="error.type", value=AnyValue(string_value=record.error)))
            span.status.code = Status.STATUS_CODE_ERROR
        return span


def _attributes(values: Mapping[str, AttributeValue]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: AttributeValue) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


def _resource(process: str) -> dict[str, AttributeValue]:
    """Returns the resource of OpenTelemetry's variables; a service without a name is called `axon`."""
    resource: dict[str, AttributeValue] = {
        key: value if isinstance(value, bool | int) else str(value)
        for key, value in Resource.create().attributes.items()
    }
    resource["axon.process"] = process
    if str(resource.get(_SERVICE_NAME, _UNKNOWN_SERVICE)).startswith(_UNKNOWN_SERVICE):
        resource |= {_SERVICE_NAME: _SERVICE, "service.version": version(_SERVICE)}
    return resource
