"""Trace headers of W3C Trace Context: as given, or those of OpenTelemetry's current span."""

from __future__ import annotations

import sys


def trace_headers(traceparent: str | None) -> dict[str, str]:
    """Returns the trace headers of a request; empty without a trace.

    OpenTelemetry is used only if the program has imported it.

    Args:
        traceparent: value of the header `traceparent`; None for the current span.
    """
    if traceparent is not None:
        return {"traceparent": traceparent}
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}
    if state := context.trace_state.to_header():
        headers["tracestate"] = state
    return headers
