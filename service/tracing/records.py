"""The records of requests and batches, which become spans. Nothing here needs OpenTelemetry.

An API process only notes what happened. The thread of the export makes the spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.request_trace import RequestTrace
from service.span_facts import AttributeValue, SpanFacts

Ids = tuple[str, str]  # identifiers of a trace and a span, in hexadecimal digits


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """One span.

    Attributes:
        name: name of the span.
        trace_id: identifier of the trace, as 32 hexadecimal digits.
        span_id: identifier of the span, as 16 hexadecimal digits; None for a new one.
        parent_id: identifier of the parent span; None for the first span of a trace.
        began: begin of the span on the monotonic clock, in seconds.
        ended: end of the span on the monotonic clock, in seconds.
        attributes: attributes by name.
        events: time and name of each event.
        links: spans of other traces that belong to this one.
        tracestate: value of the client's header `tracestate`, or None.
        is_remote: True if the parent is the client's span.
        is_server: True for the span of a request.
        error: kind of the fault; None without one.
    """

    name: str
    trace_id: str
    span_id: str | None
    parent_id: str | None
    began: float
    ended: float
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    events: Sequence[tuple[float, str]] = ()
    links: Sequence[Ids] = ()
    tracestate: bytes | None = None
    is_remote: bool = False
    is_server: bool = False
    error: str | None = None


class RequestRecord(NamedTuple):
    """A request that has ended.

    Attributes:
        trace: trace of the request, which nobody changes any more.
        facts: name and attributes of the request's span.
        began: arrival of the request on the monotonic clock, in seconds.
        ended: end of the request on the monotonic clock, in seconds.
        submitted: time of the submission to the batcher; None for a request that ended before.
    """

    trace: RequestTrace
    facts: SpanFacts
    began: float
    ended: float
    submitted: float | None

    @property
    def span_count(self) -> int:
        """Number of spans."""
        trace = self.trace
        waits = len(trace.waits) or int(self.submitted is not None)
        return 2 + waits + len(trace.shares)

    def spans(self) -> Iterator[SpanRecord]:
        """Yields the request's span, and its parts: admission, queue and compute."""
        trace, facts, parent = self.trace, self.facts, self.trace.parent
        state = trace.tracestate
        yield SpanRecord(
            facts.name,
            trace.trace_id,
            trace.span_id,
            None if parent is None else parent.span_id,
            self.began,
            self.ended,
            facts.attributes,
            trace.events,
            tracestate=state,
            is_remote=True,
            is_server=True,
            error=facts.error,
        )
        ids = trace.trace_id, None, trace.span_id
        submitted = self.submitted
        yield SpanRecord("admission", *ids, self.began, submitted or self.ended, tracestate=state)
        waits = trace.waits
        if submitted is not None and not waits:  # the request ended in the queue
            waits = [(submitted, self.ended)]
        for began, ended in waits:
            yield SpanRecord("queue", *ids, began, ended, tracestate=state)
        for share in trace.shares:
            yield SpanRecord(
                "compute",
                *ids,
                share.began,
                share.finished,
                {"axon.rows": share.rows},
                links=((share.trace_id, share.span_id),),
                tracestate=state,
            )


class BatchRecord(NamedTuple):
    """A batch that was answered or lost.

    Attributes:
        ids: identifiers of the batch's trace and span.
        began: time of the sending on the monotonic clock, in seconds.
        ended: time of the answer on the monotonic clock, in seconds.
        attributes: attributes by name.
        links: spans of the sampled requests of the batch.
        error: kind of the fault; None without one.
    """

    ids: Ids
    began: float
    ended: float
    attributes: Mapping[str, AttributeValue]
    links: Sequence[Ids]
    error: str | None

    @property
    def span_count(self) -> int:
        """Number of spans."""
        return 1

    def spans(self) -> Iterator[SpanRecord]:
        """Yields the batch's span, which is a trace of its own: a batch belongs to many traces."""
        yield SpanRecord(
            "batch", *self.ids, None, self.began, self.ended, self.attributes, links=self.links, error=self.error
        )


Record = RequestRecord | BatchRecord
