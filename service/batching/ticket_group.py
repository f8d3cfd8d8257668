"""A group of tickets: requests with one row each that have arrived together, and are handled as one ticket.

The group has one entry in the queue and one deadline. Each of its rows is a segment of its own in the frame for the
worker, so that a fault hits only the request that caused it. A request leaves the group, and gets a ticket of its own,
once it needs to be handled alone: its row is at fault, or a worker died with the row in hand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.batching.ticket import Answer, Span, Ticket


class TicketGroup(Ticket):
    """Requests with one row each for the same model version, with the same deadline. Each door has a subclass.

    Attributes:
        requests: number of requests, counted by the subclass until the submission.
    """

    __slots__ = ("requests",)

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def answer_requests(self, first: int, stop: int, answer: Answer, start: int) -> None:
        """Takes the answers to the rows from `first` up to `stop`, which begin at row `start` of the answer.

        May not raise. Requests that have left the group are passed over.
        """
        raise NotImplementedError

    def take_out(self, row: int) -> Ticket | None:
        """Returns a ticket for the request of a row, which leaves the group; None after that."""
        raise NotImplementedError

    def answered(self, answer: Answer, start: int) -> None:
        """Hands each request its answer."""
        self.answer_requests(0, self.rows, answer, start)

    def failed(self, error: Exception) -> None:
        """Hands the error to each request that has no answer yet."""
        for row in range(self.rows):
            ticket = self.take_out(row)
            if ticket is not None:
                ticket.fail(error)

    def segments(self, start: int, stop: int) -> tuple[int, ...]:
        """Returns the number of rows of each request from row `start` up to `stop`."""
        return (1,) * (stop - start)

    def request_at(self, row: int) -> tuple[Ticket | None, int]:
        """Returns a ticket for the request of a row, which leaves the group, and the row's position in that ticket."""
        ticket = self.take_out(row)
        if ticket is not None:
            self.hold(ticket, row)
        return ticket, 0

    def add_piece(self, start: int, piece: NDArray[np.float32]) -> None:
        """Hands the requests of a span their answers."""
        self.answer_requests(start, start + len(piece), Answer(piece), 0)
        self._settle(len(piece))

    def retried(self, start: int, stop: int) -> list[Span]:
        """Returns the requests of a span with tickets of their own, since a worker died with their rows in hand."""
        spans: list[Span] = []
        for row in range(start, stop):
            ticket, _ = self.request_at(row)
            if ticket is not None:
                spans.append((ticket, 0, 1))
        self._settle(stop - start)
        return spans

    def hold(self, ticket: Ticket, row: int) -> None:
        """Submits the row of a request that has left the group, for the same deadline, to the same batcher."""
        assert self._holder is not None  # noqa: S101 -- the group was submitted
        assert self.served is not None  # noqa: S101
        data = memoryview(self.data)[row * self.row_bytes : (row + 1) * self.row_bytes]  # type: ignore[arg-type]
        self._holder.hold(ticket, self.served, data, 1, self.deadline)
        ticket.arrived, ticket.was_sent = self.arrived, self.was_sent

    def _settle(self, rows: int) -> None:
        """Counts rows that are answered or have left, and ends the group after the last."""
        self.answered_rows += rows
        if self.answered_rows == self.rows and not self.done:
            self.done = True
            assert self._holder is not None  # noqa: S101
            self._holder.forget(self)
            self.data = b""
