"""The queue of one model version."""

from __future__ import annotations

from collections import deque

from service.batching.ticket import Span, Ticket


class VersionQueue:
    """The queue of spans that wait for one model version.

    Args:
        turn_rows_of_one: maximum number of rows of one request that are answered before other requests get their turn.

    Attributes:
        spans: spans in the order of their turns; those of ended requests may be among them.
        rows: number of waiting rows, without those of ended requests.
        turn_rows: number of waiting rows that are answered before a new small request. A large request is cut, and
            the rest of it is answered after the small request.
        scheduled: True if the batcher is about to take a batch from the queue.
    """

    __slots__ = ("_ended", "_turn_rows_of_one", "rows", "scheduled", "spans", "turn_rows")

    def __init__(self, turn_rows_of_one: int) -> None:
        self._turn_rows_of_one = turn_rows_of_one
        self.spans: deque[Span] = deque()
        self.rows = 0
        self.turn_rows = 0
        self.scheduled = False
        self._ended = 0

    def append(self, span: Span) -> None:
        """Puts a span at the end."""
        self.spans.append(span)
        self._count(span, 1)

    def append_first(self, span: Span) -> None:
        """Puts a span before all others."""
        self.spans.appendleft(span)
        self._count(span, 1)

    def pop_first(self) -> Span:
        """Removes and returns the first span."""
        span = self.spans.popleft()
        if span[0].queued:
            self._count(span, -1)
        else:
            self._ended = max(0, self._ended - 1)  # a ticket may have had two spans here
        return span

    def end(self, ticket: Ticket) -> None:
        """Stops counting the rows of an ended request.

        Spans of ended requests are removed once they are more than half of all spans.
        """
        self.rows -= ticket.queued
        self.turn_rows -= ticket.queued_turn
        ticket.queued = ticket.queued_turn = 0
        self._ended += 1
        if 2 * self._ended > len(self.spans):
            self.spans = deque(span for span in self.spans if span[0].queued)
            self._ended = 0

    def _count(self, span: Span, sign: int) -> None:
        """Adds the rows of a span to the counts if `sign` is 1; subtracts the rows if `sign` is -1."""
        ticket, start, stop = span
        ticket.queued += sign * (stop - start)
        self.rows += sign * (stop - start)
        turn = sign * min(stop - start, self._turn_rows_of_one)
        ticket.queued_turn += turn
        self.turn_rows += turn
