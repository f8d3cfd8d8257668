"""A ticket: one request on its way through the batcher, with its answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import Rows
from models.columns.unknown_texts import UnknownText
from service.batching.encoded_rows import EncodedRows
from service.batching.served_version import ServedVersion
from service.errors import DeadlineExceeded
from service.stream.frames import Buffer


class Answer:
    """Answers to the rows of a batch, or of a request that was cut into several spans.

    Args:
        matrices: `(rows, width)` float32 answers each, in the order of the rows.

    Attributes:
        numbers: number of values in all rows.
        rows: number of rows.
        memos: notes of each answer writer for all requests of the batch: the whole answer as text, or the requests
            whose answers are written in steps.
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
        """All answers, `(rows, width)`."""
        return self._matrices[0] if len(self._matrices) == 1 else np.concatenate(self._matrices)

    @property
    def width(self) -> int:
        """Number of values in the answer to one row."""
        return int(self._matrices[0].shape[1])

    def cut(self, start: int, rows: int) -> tuple[NDArray[np.float32], ...]:
        """Returns the answers to `rows` rows from `start` on, without a copy; all matrices if there are several."""
        return self._matrices if len(self._matrices) > 1 else (self._matrices[0][start : start + rows],)


def target_values(
    matrix: NDArray[np.float32], origin: float | NDArray[np.float64]
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Returns the values of a regressor, `(rows,)`, or `(rows, targets)` for several targets.

    The float32 answers of a worker leave out the origin of the target. If there is an origin, float32 is not exact
    enough for the values, so they are float64.

    Args:
        matrix: `(rows, targets)` float32 answers.
        origin: number to add, or `(targets,)`; 0 for none.
    """
    if matrix.shape[1] > 1:
        return matrix.astype(np.float64) + origin if isinstance(origin, np.ndarray) else matrix
    values = matrix[:, 0]
    return values.astype(np.float64) + origin if origin else values


class NamedRow(NamedTuple):
    """The request of a row, for the log of predictions.

    Attributes:
        request_id: identifier of the request.
        row: number of the row in the client's call; its position in the request, if the call is one request.
        asked: reference of the model in the request; None for the default model.
        members: number of members of the ensemble that answer; None for all.
    """

    request_id: str
    row: int
    asked: str | None
    members: int | None


class TicketHolder(Protocol):
    """The batcher, which holds each ticket from the submission to the end."""

    def hold(self, ticket: Ticket, served: ServedVersion, data: Buffer, rows: int, deadline: float) -> None:
        """Takes a ticket of a request that is in a batch already, as a part of another ticket."""

    def forget(self, ticket: Ticket) -> None:
        """Records the end of a ticket."""


class Ticket:
    """One request for predictions. Each door has a subclass, whose `answered` or `failed` is called at the end.

    A ticket ends exactly once, by `finish`, `fail` or `expire`; it may end before it was submitted to the batcher.

    Attributes:
        requests: number of requests: 1 except for a group.
        is_made_up: True if the rows are no client's, as those of explanations, so that drift does not count the rows.
        is_logged: True if the rows are a client's, whose answers the log of predictions may take.
        logged_parts: parts of a cut request that the log of predictions has taken; None for none.
        unknown_texts: texts of cells with unknown categories, for the log of predictions.
        served: model version that answers; None before the version is known.
        key: key of the model version, from the submission on.
        data: float32 rows, from the submission to the end.
        row_bytes: number of bytes of one row, from the submission on.
        rows: number of rows; 0 before the submission.
        deadline: end of the request's time on the event loop's clock, in seconds, from the submission on.
        arrived: time of the submission on `time.perf_counter`'s clock, in seconds.
        was_sent: True once some of the rows were in a batch, also if its worker died or refused it.
        done: True once the ticket has ended.
        queued: number of rows that are in the queue now.
        queued_turn: number of queued rows that would be sent before a new small request.
        losses: number of times that a worker died while computing rows of the ticket; the batches that were sent the
            first time count as one.
        answered_rows: number of answered rows, if the request was cut.
        pieces: answers to the spans, by first row of the span, if the request was cut.
    """

    __slots__ = (
        "_holder",
        "answered_rows",
        "arrived",
        "data",
        "deadline",
        "done",
        "key",
        "logged_parts",
        "losses",
        "pieces",
        "queued",
        "queued_turn",
        "row_bytes",
        "rows",
        "served",
        "was_sent",
    )

    requests = 1
    is_made_up = False
    is_logged = False
    unknown_texts: Sequence[UnknownText] = ()
    data: Buffer | EncodedRows
    deadline: float
    arrived: float
    key: str
    row_bytes: int

    def __init__(self) -> None:
        self._holder: TicketHolder | None = None
        self.served: ServedVersion | None = None
        self.rows = self.queued = self.queued_turn = self.losses = self.answered_rows = 0
        self.done = self.was_sent = False
        self.pieces: dict[int, NDArray[np.float32]] | None = None
        self.logged_parts: list[Any] | None = None

    @property
    def disconnected(self) -> bool:
        """True if the client has hung up; read just before rows are sent."""
        return False

    def answered(self, answer: Answer, start: int) -> None:
        """Takes the answer, in which the request's rows begin at row `start`. May not raise."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """Takes the error that replaces the answer. May not raise."""
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
        self.row_bytes = data.row_bytes if isinstance(data, EncodedRows) else len(data) // rows
        self.deadline = deadline
        self.arrived = time.perf_counter()

    def expire(self) -> None:
        """Ends the ticket since its deadline has passed; rows that are still queued will not be sent."""
        self.fail(DeadlineExceeded("the deadline passed before the answer was there."))

    def finish(self, answer: Answer, start: int) -> None:
        """Ends the ticket with its answer; does nothing if the ticket has ended."""
        if not self.done:
            self.done = True
            if self._holder is not None:
                self._holder.forget(self)
                self.data, self.pieces = b"", None  # a large answer is written for a while, and needs no rows
            self.answered(answer, start)

    def fail(self, error: Exception) -> None:
        """Ends the ticket with an error; does nothing if the ticket has ended."""
        if not self.done:
            self.done = True
            if self._holder is not None:
                self._holder.forget(self)
                self.data, self.pieces, self.logged_parts = b"", None, None
            self.failed(error)

    def segments(self, start: int, stop: int) -> tuple[int, ...]:
        """Returns the number of rows of each request from row `start` up to `stop`; a fault ends one request."""
        return (stop - start,)

    def cells(self, start: int, stop: int) -> Sequence[Rows] | None:
        """Returns the rows from `start` up to `stop` before the encoding; None without such rows."""
        return None

    def named_row(self, row: int) -> NamedRow | None:
        """Returns the request of a row, for a ticket that is logged; None if the row has left the ticket."""
        raise NotImplementedError

    def request_at(self, row: int) -> tuple[Ticket | None, int]:
        """Returns the ticket of the request of a row, None after the end, and the position of the row in the ticket."""
        return self, row

    def retried(self, start: int, stop: int) -> list[Span]:
        """Returns the spans in which the rows from `start` up to `stop` are sent again after a worker died."""
        return [(self, start, stop)]

    def add_piece(self, start: int, piece: NDArray[np.float32]) -> None:
        """Takes the answer to a span of rows, and ends the ticket after the last span."""
        pieces = self.pieces = {} if self.pieces is None else self.pieces
        pieces[start] = piece
        self.answered_rows += len(piece)
        if self.answered_rows == self.rows:
            self.finish(Answer(*(pieces[at] for at in sorted(pieces))), 0)


Span = tuple[Ticket, int, int]  # ticket, first row, row after the last
