"""One request's rows in the batcher, and the answer that they wait for."""

from __future__ import annotations

import time
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.batching.catalog import ServedVersion
from service.batching.encoded_rows import EncodedRows
from service.errors import DeadlineExceeded
from service.stream.frames import Buffer


class Answer:
    """Answers to the rows of a batch, or of a request that was cut into several.

    Args:
        matrices: `(rows, width)` float32 each, one after the other.

    Attributes:
        numbers: number of values of all rows.
        rows: number of rows.
        memo: what a front door made of the whole answer for its first request, and keeps for the others of the batch.
    """

    __slots__ = ("_matrices", "memo", "numbers", "rows")

    def __init__(self, *matrices: NDArray[np.float32]) -> None:
        self._matrices = matrices
        self.rows, self.numbers = len(matrices[0]), matrices[0].size
        for matrix in matrices[1:]:
            self.rows += len(matrix)
            self.numbers += matrix.size
        self.memo: Any = None

    @property
    def matrix(self) -> NDArray[np.float32]:
        """`(rows, width)` all answers."""
        return self._matrices[0] if len(self._matrices) == 1 else np.concatenate(self._matrices)

    @property
    def width(self) -> int:
        """Numbers of one row's answer."""
        return int(self._matrices[0].shape[1])

    def cut(self, start: int, rows: int) -> tuple[NDArray[np.float32], ...]:
        """Gives the answers to `rows` rows from `start` on, without a copy; all of them where there are several."""
        return self._matrices if len(self._matrices) > 1 else (self._matrices[0][start : start + rows],)


class Waiter(Protocol):
    """Whoever wants a request's answer. One of the two methods is called, once; neither may raise."""

    @property
    def disconnected(self) -> bool:
        """Whether the answer is not wanted any more; asked just before rows would be sent."""

    def answered(self, answer: Answer, start: int) -> None:
        """The answer is there; the request's rows begin at row `start` of it."""

    def failed(self, error: Exception) -> None:
        """There will be none: `DeadlineExceeded`, `ModelFault`, `RowError` or `ClientGone`."""


class TicketHolder(Protocol):
    """Whoever holds tickets until they end."""

    def forget(self, ticket: Ticket) -> None:
        """A ticket has ended."""


class Ticket:
    """One request's rows in the batcher."""

    __slots__ = (
        "_holder",
        "answered_rows",
        "arrived",
        "data",
        "deadline",
        "done",
        "losses",
        "pieces",
        "queued",
        "queued_turn",
        "rows",
        "served",
        "waiter",
    )

    def __init__(
        self,
        holder: TicketHolder,
        served: ServedVersion,
        data: Buffer | EncodedRows,
        rows: int,
        deadline: float,
        waiter: Waiter,
    ) -> None:
        self._holder = holder
        self.served = served
        self.data = data
        self.rows = rows
        self.deadline = deadline
        self.waiter = waiter
        self.arrived = time.perf_counter()
        self.done = False
        self.queued = 0  # rows of it that are in the queue now
        self.queued_turn = 0  # of these, those that stand before a small request
        self.losses = 0
        self.answered_rows = 0  # of the spans whose answers are there
        self.pieces: dict[int, NDArray[np.float32]] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.data.row_bytes if isinstance(self.data, EncodedRows) else len(self.data) // self.rows

    def expire(self) -> None:
        """The deadline has passed: whoever waits is told now, and rows not yet sent never will be."""
        self.fail(DeadlineExceeded("the deadline passed before the answer was there."))

    def finish(self, answer: Answer, start: int) -> None:
        """Ends it with its answer, unless it has ended."""
        if not self.done:
            self.done = True
            self._holder.forget(self)
            self.waiter.answered(answer, start)

    def fail(self, error: Exception) -> None:
        """Ends it with an error, unless it has ended."""
        if not self.done:
            self.done = True
            self._holder.forget(self)
            self.waiter.failed(error)

    def add_piece(self, start: int, piece: NDArray[np.float32]) -> None:
        """Takes the answer to a span of rows, and ends when all spans are there."""
        pieces = self.pieces = {} if self.pieces is None else self.pieces
        pieces[start] = piece
        self.answered_rows += len(piece)
        if self.answered_rows == self.rows:
            self.finish(Answer(*(pieces[at] for at in sorted(pieces))), 0)


Span = tuple[Ticket, int, int]  # a ticket's rows from … up to …
