"""The trace context of a request: the header `traceparent` of the recommendation W3C Trace Context."""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT_HEADER = b"traceparent"
TRACESTATE_HEADER = b"tracestate"
SAMPLED = 0x01

_VERSION_00 = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
# A later version may add fields behind a dash, and ff is no version.
_LATER = re.compile(rb"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.DOTALL)


class TraceContext(NamedTuple):
    """The place of a request in a trace.

    Attributes:
        trace_id: identifier of the trace, as 32 hexadecimal digits.
        span_id: identifier of the client's span, as 16 hexadecimal digits.
        flags: flags of the trace; `SAMPLED` is one of them.
    """

    trace_id: str
    span_id: str
    flags: int

    @property
    def is_sampled(self) -> bool:
        """True if the client writes its spans of the trace."""
        return bool(self.flags & SAMPLED)


def read_trace_context(traceparent: bytes) -> TraceContext | None:
    """Returns the trace context of a header value; None if the value is not valid, as the recommendation wants.

    Args:
        traceparent: value of the header; a repeated header has line feeds between its values, and is not valid.
    """
    found = _VERSION_00.fullmatch(traceparent) or _LATER.fullmatch(traceparent)
    if found is None or b"\n" in traceparent:
        return None
    trace_id, span_id, flags = (group.decode() for group in found.groups())
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16))


def trace_fields(traceparent: bytes | None) -> dict[str, str]:
    """Returns the fields of a log line that name the client's span; none without a valid `traceparent`."""
    context = None if traceparent is None else read_trace_context(traceparent)
    return {} if context is None else {"trace_id": context.trace_id, "span_id": context.span_id}
