"""A trace context is read as W3C's recommendation says; the cases are those of its test suite."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.trace_context import TraceContext, read_trace_context, trace_fields

TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
VALID = {
    "version 00": f"00-{TRACE}-{SPAN}-01",
    "not sampled": f"00-{TRACE}-{SPAN}-00",
    "all flags": f"00-{TRACE}-{SPAN}-ff",
    "letters": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "a later version": f"cc-{TRACE}-{SPAN}-01",
    "a later version with more fields": f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
    "the last version": f"fe-{TRACE}-{SPAN}-01",
}
INVALID = {
    "nothing": "",
    "no header": "foo",
    "version ff": f"ff-{TRACE}-{SPAN}-01",
    "version 00 with more fields": f"00-{TRACE}-{SPAN}-01-what-the-future-will-not-be-like",
    "version 00 with a dash at the end": f"00-{TRACE}-{SPAN}-01-",
    "a later version with something else than a dash": f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
    "a version with a dot": f".0-{TRACE}-{SPAN}-01",
    "a version with a dot behind": f"0.-{TRACE}-{SPAN}-01",
    "a version of three digits": f"000-{TRACE}-{SPAN}-01",
    "a version of one digit": f"0-{TRACE}-{SPAN}-01",
    "a version in capitals": f"CC-{TRACE}-{SPAN}-01",
    "a trace of zeros": f"00-{'0' * 32}-{SPAN}-01",
    "a trace with a dot": f"00-.{TRACE[1:]}-{SPAN}-01",
    "a trace in capitals": f"00-{'A' * 32}-{SPAN}-01",
    "a long trace": f"00-{TRACE}3-{SPAN}-01",
    "a short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "a span of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "a span with a dot": f"00-{TRACE}-.{SPAN[1:]}-01",
    "a span in capitals": f"00-{TRACE}-{'B' * 16}-01",
    "a long span": f"00-{TRACE}-{SPAN}7-01",
    "a short span": f"00-{TRACE}-{SPAN[1:]}-01",
    "flags with a dot": f"00-{TRACE}-{SPAN}-.0",
    "flags in capitals": f"00-{TRACE}-{SPAN}-0A",
    "long flags": f"00-{TRACE}-{SPAN}-001",
    "short flags": f"00-{TRACE}-{SPAN}-1",
    "no flags": f"00-{TRACE}-{SPAN}",
    "two headers": f"00-{TRACE}-{SPAN}-01\n00-{TRACE}-{SPAN}-01",
    "two headers of a later version": f"cc-{TRACE}-{SPAN}-01-a\ncc-{TRACE}-{SPAN}-01-a",
    "a line end": f"00-{TRACE}-{SPAN}-01\n",
    "digits that are not ASCII": f"00-{TRACE[:-1]}\xb2-{SPAN}-01",
}


@pytest.mark.parametrize("value", VALID.values(), ids=VALID.keys())
def test_a_valid_traceparent_is_read(value: str) -> None:
    trace_id, span_id, flags = value.split("-")[1:4]
    expected = TraceContext(trace_id, span_id, int(flags, 16))
    assert read_trace_context(value.encode("latin-1")) == expected
    assert expected.is_sampled == (int(flags, 16) % 2 == 1)


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_traceparent_is_ignored(value: str) -> None:
    assert read_trace_context(value.encode("latin-1")) is None
    assert trace_fields(value.encode("latin-1")) == {}


@pytest.mark.parametrize("value", VALID.values(), ids=VALID.keys())
def test_opentelemetry_reads_the_same(value: str) -> None:
    theirs = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": value}))
    context = theirs.get_span_context()
    ours = read_trace_context(value.encode())
    assert ours is not None
    assert (int(ours.trace_id, 16), int(ours.span_id, 16)) == (context.trace_id, context.span_id)
    assert ours.is_sampled == context.trace_flags.sampled


def test_a_log_line_names_the_clients_span() -> None:
    assert trace_fields(f"00-{TRACE}-{SPAN}-00".encode()) == {"trace_id": TRACE, "span_id": SPAN}
    assert trace_fields(None) == {}
