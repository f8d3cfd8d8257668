"""What waits for one model version."""

from __future__ import annotations

from collections import deque

from service.batching.ticket import Span, Ticket


class VersionQueue:
    """What waits for one model version. `rows` counts what still wants an answer; ended requests leave it at once.

    `turn_rows` counts of them what is answered before a small request that comes now: large ones are cut, and go on
    behind it.
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
        """Puts rows at the end."""
        self.spans.append(span)
        self._count(span, 1)

    def append_first(self, span: Span) -> None:
        """Puts rows before all others."""
        self.spans.appendleft(span)
        self._count(span, 1)

    def pop_first(self) -> Span:
        """Takes the first rows."""
        span = self.spans.popleft()
        if span[0].queued:
            self._count(span, -1)
        else:
            self._ended = max(0, self._ended - 1)  # a ticket may have had two spans here
        return span

    def end(self, ticket: Ticket) -> None:
        """A request has ended with rows still here. They are swept out once they are half of what is here."""
        self.rows -= ticket.queued
        self.turn_rows -= ticket.queued_turn
        ticket.queued = ticket.queued_turn = 0
        self._ended += 1
        if 2 * self._ended > len(self.spans):
            self.spans = deque(span for span in self.spans if span[0].queued)
            self._ended = 0

    def _count(self, span: Span, sign: int) -> None:
        ticket, start, stop = span
        ticket.queued += sign * (stop - start)
        self.rows += sign * (stop - start)
        turn = sign * min(stop - start, self._turn_rows_of_one)
        ticket.queued_turn += turn
        self.turn_rows += turn
