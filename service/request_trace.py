"""The trace of one request: its identifiers, and what happened to the request, until spans are made of both."""

from __future__ import annotations

from typing import NamedTuple

from service.trace_context import SAMPLED, TraceContext

TRACERESPONSE_HEADER = b"traceresponse"


class BatchShare(NamedTuple):
    """The part of a batch that belongs to one request.

    Attributes:
        trace_id: identifier of the batch's trace, as 32 hexadecimal digits.
        span_id: identifier of the batch's span, as 16 hexadecimal digits.
        began: begin of the forward pass on the monotonic clock, in seconds.
        finished: end of the forward pass on the monotonic clock, in seconds.
        rows: number of rows of the request in the batch.
    """

    trace_id: str
    span_id: str
    began: float
    finished: float
    rows: int


class RequestTrace:
    """The trace of a request. All times are on the monotonic clock, in seconds.

    Args:
        trace_id: identifier of the trace, as 32 hexadecimal digits; empty for a request that is not sampled.
        span_id: identifier of the request's span, as 16 hexadecimal digits.
        parent: trace context of the client; None if the trace begins here.
        tracestate: value of the client's header `tracestate`, or None.

    Attributes:
        trace_id: identifier of the trace, as 32 hexadecimal digits; empty for a request that is not sampled.
        span_id: identifier of the request's span, as 16 hexadecimal digits.
        parent: trace context of the client; None if the trace begins here.
        tracestate: value of the client's header `tracestate`, or None.
        is_sampled: True if spans are made of the trace.
        arrived: time of the submission to the batcher; None before.
        waits: begin and end of each time in the queue.
        shares: parts of the batches that a worker has answered.
        events: time and name of each fault.
    """

    __slots__ = (
        "_lost_at",
        "arrived",
        "events",
        "is_sampled",
        "parent",
        "shares",
        "span_id",
        "trace_id",
        "tracestate",
        "waits",
    )

    def __init__(self, trace_id: str, span_id: str, parent: TraceContext | None, tracestate: bytes | None) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent = parent
        self.tracestate = tracestate
        self.is_sampled = bool(trace_id)
        self.arrived: float | None = None
        self.waits: list[tuple[float, float]] = []
        self.shares: list[BatchShare] = []
        self.events: list[tuple[float, str]] = []
        self._lost_at: float | None = None

    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the header of the answer that names the trace and the request's span; none if not sampled."""
        if not self.is_sampled:
            return ()
        return ((TRACERESPONSE_HEADER, f"00-{self.trace_id}-{self.span_id}-{SAMPLED:02x}".encode()),)

    def fields(self) -> dict[str, str]:
        """Returns the fields of a log line that name the request's span."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}

    def sent(self, arrived: float, at: float) -> None:
        """Records that rows have left the queue for a worker.

        Args:
            arrived: time of the submission to the batcher.
            at: time of the sending.
        """
        if self.arrived is None:
            self.arrived = arrived
            self.waits.append((arrived, at))
        elif self._lost_at is not None:
            self.waits.append((self._lost_at, at))
            self._lost_at = None

    def lost(self, at: float, reason: str) -> None:
        """Records that rows went back to the queue."""
        self.events.append((at, reason))
        self._lost_at = at


NOT_SAMPLED = RequestTrace("", "", None, None)
