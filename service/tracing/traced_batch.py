"""A batch with sampled requests, which notes what happens for a span with links to the spans of the requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from models.keys import parse_key
from service.batching.batch import Batch, BatchHolder
from service.batching.ticket import Span, Ticket
from service.request_trace import BatchShare, RequestTrace
from service.span_facts import AttributeValue
from service.stream.frames import AnswerFrame, Kind
from service.tracing.records import BatchRecord, Ids

Sampled = tuple[Ticket, RequestTrace, int]  # a sampled request, its trace, and its number of rows in the batch


class TracedBatch(Batch):
    """A batch with sampled requests.

    Args:
        holder: maker of the batch.
        key: key of the model version.
        spans: spans of the batch, at least one.
        behind: batch of the same version that the worker answers first, or None.
        ids: identifiers of the batch's trace and span.
        sampled: sampled requests.
        note: function that takes the record of the batch.
    """

    __slots__ = ("_ids", "_note", "_sampled")

    def __init__(
        self,
        holder: BatchHolder,
        key: str,
        spans: list[Span],
        behind: Batch | None,
        *,
        ids: Ids,
        sampled: Sequence[Sampled],
        note: Callable[[BatchRecord], None],
    ) -> None:
        super().__init__(holder, key, spans, behind)
        self._ids = ids
        self._note = note
        self._sampled = [(trace, rows) for _, trace, rows in sampled]
        for ticket, trace, _ in sampled:
            trace.sent(ticket.arrived, self._sent)

    def answered(self, answer: AnswerFrame) -> None:
        """Records the forward pass for each sampled request, before the answers end the requests."""
        began = answer.finished - answer.seconds
        for trace, rows in self._sampled:
            trace.shares.append(BatchShare(*self._ids, began, answer.finished, rows))
        self._end(None)
        super().answered(answer)

    def refused(self) -> None:
        """Records that the worker could not load the model version."""
        self._lose("worker refused the batch")
        super().refused()

    def lost(self) -> None:
        """Records that the worker died."""
        self._lose("worker lost")
        super().lost()

    def _lose(self, reason: str) -> None:
        now = time.monotonic()
        for trace, _ in self._sampled:
            trace.lost(now, reason)
        self._end(reason)

    def _end(self, error: str | None) -> None:
        """Hands over the record of the batch."""
        name, version, _ = parse_key(self.key)
        attributes: dict[str, AttributeValue] = {
            "axon.model": name,
            "axon.version": version,
            "axon.rows": self.rows,
            "axon.batch.requests": sum(ticket.requests for ticket, _, _ in self.spans),
            "axon.batch.retry": self._kind is Kind.RETRY,
        }
        links = [(trace.trace_id, trace.span_id) for trace, _ in self._sampled]
        self._note(BatchRecord(self._ids, self._sent, time.monotonic(), attributes, links, error))
