"""A written span is the one that the SDK of OpenTelemetry makes and encodes."""

from __future__ import annotations

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
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

from service.request_trace import BatchShare, RequestTrace
from service.span_facts import AttributeValue, SpanFacts
from service.trace_context import TraceContext
from service.tracing.records import BatchRecord, RequestRecord, SpanRecord
from service.tracing.span_writer import SpanWriter

TRACE, SPAN, PARENT = 0xABC, 0xDEF, 0x123
ATTRIBUTES: dict[str, AttributeValue] = {"text": "ä", "whole": -3, "large": 1 << 40, "yes": True, "no": False}
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"


def sdk_span(record: SpanRecord, tracestate: str | None) -> ReadableSpan:
    """Returns the span that the SDK makes of the same facts."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    context = Context()
    if record.parent_id is not None:
        state = None if tracestate is None else TraceState.from_header([tracestate])
        ids = int(record.trace_id, 16), int(record.parent_id, 16)
        parent = SpanContext(*ids, is_remote=record.is_remote, trace_flags=TraceFlags(1), trace_state=state)
        context = set_span_in_context(NonRecordingSpan(parent), context)
    links = [Link(SpanContext(int(t, 16), int(s, 16), False, TraceFlags(1))) for t, s in record.links]
    kind = SpanKind.SERVER if record.is_server else SpanKind.INTERNAL
    span = provider.get_tracer("axon").start_span(
        record.name, context, kind, dict(record.attributes), links, start_time=0
    )
    for _, name in record.events:
        span.add_event(name, timestamp=0)
    if record.error is not None:
        span.set_attribute("error.type", record.error)
        span.set_status(StatusCode.ERROR)
    span.end(0)
    (made,) = memory.get_finished_spans()
    return made


def records(error: str | None, tracestate: bytes | None) -> tuple[RequestRecord, BatchRecord]:
    trace = RequestTrace(
        f"{TRACE:032x}", f"{SPAN:016x}", TraceContext(f"{TRACE:032x}", f"{PARENT:016x}", 1), tracestate
    )
    trace.sent(1.0, 2.0)
    trace.lost(2.5, "worker lost")
    trace.shares.append(BatchShare(f"{7:032x}", f"{8:016x}", 3.0, 4.0, 1))
    request = RequestRecord(trace, SpanFacts("POST /predict", ATTRIBUTES, error), 0.0, 5.0, 1.0)
    links = [(f"{TRACE:032x}", f"{number:016x}") for number in range(1, 6)]
    return request, BatchRecord((f"{7:032x}", f"{8:016x}"), 2.0, 4.5, ATTRIBUTES, links, error)


@pytest.mark.parametrize("error", [None, "500"])
@pytest.mark.parametrize("tracestate", [None, STATE, STATE.replace(",", "\n")])
def test_a_written_span_is_the_sdks(error: str | None, tracestate: str | None) -> None:
    writer = SpanWriter("api-0", 128)
    for record in records(error, None if tracestate is None else tracestate.encode()):
        written = writer.begin()
        assert writer.add(written, [record]) == record.span_count
        for facts, ours in zip(record.spans(), written.resource_spans[0].scope_spans[0].spans, strict=True):
            state = None if tracestate is None else STATE
            theirs = encode_spans([sdk_span(facts, state)]).resource_spans[0].scope_spans[0].spans[0]
            if facts.parent_id is None:
                theirs.trace_id = ours.trace_id
            theirs.span_id = ours.span_id  # the SDK has invented its own
            for span in (ours, theirs):
                span.flags &= 0x300  # the SDK leaves out the flags of the trace, which are the lowest eight bits
                span.status.SetInParent()  # absent and empty mean the same
                span.start_time_unix_nano = span.end_time_unix_nano = 0
                for event in span.events:
                    event.time_unix_nano = 0
                for link in span.links:
                    link.flags &= 0x300
            assert ours == theirs


def test_links_beyond_the_limit_are_counted() -> None:
    writer = SpanWriter("api-0", 3)
    written = writer.begin()
    writer.add(written, [records(None, None)[1]])
    (span,) = written.resource_spans[0].scope_spans[0].spans
    assert (len(span.links), span.dropped_links_count) == (3, 2)


def test_the_resource_is_that_of_opentelemetrys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=a%20b,service.version=7")
    resource = SpanWriter("api-1", 128).begin().resource_spans[0].resource
    found = {one.key: one.value.string_value for one in resource.attributes}
    assert found.pop("service.instance.id", "")
    expected = {key: str(value) for key, value in Resource.create().attributes.items()}
    expected.pop("service.instance.id", "")
    assert found == expected | {"axon.process": "api-1"}
    assert (found["service.name"], found["service.version"]) == ("shop", "7")
    assert found["deployment.environment"] == "a b"
