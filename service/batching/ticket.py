"""A ticket: one request on its way through the batcher, and the answer that it gets."""

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
        memos: whole answer in the format of each answer writer, made for its first request of the batch.
    """

    __slots__ = ("_matrices", "memos", "numbers", "rows")

    def __init__(self, *matrices: NDArray[np.float32]) -> None:
        self._matrices = matrices
        self.rows, self.numbers = len(matrices[0]), matrices[0].size
        for matrix in matrices[1:]:
            self.rows += len(matrix)
            self.numbers += matrix.size
        self.memos: dict[object, Any] = {}

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


class TicketHolder(Protocol):
    """The batcher, which holds tickets until they end."""

    def forget(self, ticket: Ticket) -> None:
        """Takes note that a ticket has ended."""


class Ticket:
    """One request for answers to rows. A door subclasses it, and is told of the end by `answered` or `failed`.

    A ticket ends once, by `finish`, `fail` or `expire`, whether or not it has been submitted to the batcher.

    Attributes:
        served: model version that answers; None before it is known.
        key: key of the model version, from the submission on.
        data: float32 rows, from the submission on.
        rows: number of rows; 0 before the submission.
        deadline: end of the request's time on the event loop's clock, in seconds, from the submission on.
        arrived: time of the submission on `time.perf_counter`'s clock, in seconds.
        done: True once the ticket has ended.
        queued: number of rows that are in the queue now.
        queued_turn: number of these that stand before a small request.
        losses: number of workers that died with the ticket's rows in hand.
        answered_rows: number of rows whose answers have come, of a request that was cut.
        pieces: answers to spans of a request that was cut, by first row.
    """

    __slots__ = (
        "_holder",
        "answered_rows",
        "arrived",
        "data",
        "deadline",
        "done",
        "key",
        "losses",
        "pieces",
        "queued",
        "queued_turn",
        "rows",
        "served",
    )

    data: Buffer | EncodedRows
    deadline: float
    arrived: float
    key: str

    def __init__(self) -> None:
        self._holder: TicketHolder | None = None
        self.served: ServedVersion | None = None
        self.rows = 0
        self.done = False
        self.queued = 0
        self.queued_turn = 0
        self.losses = 0
        self.answered_rows = 0
        self.pieces: dict[int, NDArray[np.float32]] | None = None

    @property
    def disconnected(self) -> bool:
        """True if the client has gone; asked just before rows would be sent."""
        return False

    def answered(self, answer: Answer, start: int) -> None:
        """Takes the answer, in which the request's rows begin at row `start`. May not raise."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """Takes the error that stands in place of an answer. May not raise."""
        raise NotImplementedError

    def submit(
        self, holder: TicketHolder, served: ServedVersion, data: Buffer | EncodedRows, rows: int, deadline: float
    ) -> None:
        """Gives the ticket its rows; the batcher calls this.

        Args:
            holder: batcher that holds the ticket from now on.
            served: model version that answers.
            data: float32 rows.
            rows: number of rows.
            deadline: end of the request's time on the event loop's clock, in seconds.
        """
        self._holder = holder
        self.served = served
        self.key = served.key
        self.data = data
        self.rows = rows
        self.deadline = deadline
        self.arrived = time.perf_counter()

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row."""
        return self.data.row_bytes if isinstance(self.data, EncodedRows) else len(self.data) // self.rows

    def expire(self) -> None:
        """Ends the ticket since its deadline has passed; rows that were not sent never will be."""
        self.fail(DeadlineExceeded("the deadline passed before the answer was there."))

    def finish(self, answer: Answer, start: int) -> None:
        """Ends the ticket with its answer, unless it has ended."""
        if not self.done:
            self.done = True
            if self._holder is not None:
                self._holder.forget(self)
            self.answered(answer, start)

    def fail(self, error: Exception) -> None:
        """Ends the ticket with an error, unless it has ended."""
        if not self.done:
            self.done = True
            if self._holder is not None:
                self._holder.forget(self)
            self.failed(error)

    def add_piece(self, start: int, piece: NDArray[np.float32]) -> None:
        """Takes the answer to a span of rows, and ends the ticket with the last one."""
        pieces = self.pieces = {} if self.pieces is None else self.pieces
        pieces[start] = piece
        self.answered_rows += len(piece)
        if self.answered_rows == self.rows:
            self.finish(Answer(*(pieces[at] for at in sorted(pieces))), 0)


Span = tuple[Ticket, int, int]  # a ticket, and its rows from the second to before the third
