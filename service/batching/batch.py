"""A batch: rows of several requests for one model version, sent to one worker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.batching.encoded_rows import EncodedRows, encoded_row
from service.batching.extreme_rows import error_of, not_finite_rows
from service.batching.ticket import Answer, Span, Ticket
from service.errors import ModelFault
from service.stream import frames
from service.stream.frames import AnswerFrame, Kind

_LEAST_SECONDS = 1e-6  # shortest time of a batch, the resolution of clocks


class BatchHolder(Protocol):
    """The maker of a batch, which is notified of the end."""

    def batch_done(self, key: str, rows: int, seconds: float) -> None:
        """Records a batch of `rows` rows of a model version that a worker answered in `seconds` seconds."""

    def batch_lost(self, batch: Batch) -> None:
        """Takes back a batch whose worker died."""

    def put_back(self, batch: Batch) -> None:
        """Takes back a batch whose worker cannot load the model version."""


class AnswerSample(Protocol):
    """A taker of some rows and answers.

    Attributes:
        due: time on the monotonic clock before which nothing is taken, in seconds.
    """

    due: float

    def take(self, spans: list[Span], answers: NDArray[np.float32], now: float) -> None:
        """Takes some rows of a batch with their answers, `(rows, outputs)`. May not raise."""


class AnswerLog(Protocol):
    """A log of answered rows."""

    def take(self, ticket: Ticket, start: int, stop: int, answers: NDArray[np.float32]) -> None:
        """Takes some rows of a ticket that is about to get its answers. May not raise."""


class Batch:
    """A batch of spans of one model version.

    Args:
        holder: maker of the batch.
        key: key of the model version.
        spans: spans of the batch, at least one.
        behind: batch of the same version that the worker answers first, or None.

    Attributes:
        key: key of the model version.
        sample: taker of some of the rows once they are answered; None at first, and for none.
        log: log of predictions, which takes rows as they are answered; None at first, and for none.
        spans: spans of the batch.
        rows: number of rows; 0 before `encode`.
        suspect: True if the rows would be a possible cause if the worker died now.
    """

    __slots__ = (
        "_behind",
        "_finished",
        "_holder",
        "_kind",
        "_sent",
        "key",
        "log",
        "rows",
        "sample",
        "spans",
        "suspect",
    )

    def __init__(
        self,
        holder: BatchHolder,
        key: str,
        spans: list[Span],
        behind: Batch | None = None,
    ) -> None:
        self._holder = holder
        self.sample: AnswerSample | None = None
        self.log: AnswerLog | None = None
        self._behind = behind
        self._finished = 0.0  # read by the worker, `_sent` by this process: both read the machine's monotonic clock
        self._sent = time.monotonic()
        self._kind = Kind.RETRY if spans[0][0].losses else Kind.PREDICT
        self.key = key
        self.spans = spans
        self.rows = 0
        # The first time, any batch that the worker had may have killed it. A RETRY is suspect once it has started.
        self.suspect = self._kind is Kind.PREDICT

    @property
    def is_retry(self) -> bool:
        """True if a worker died with some of the rows before."""
        return self._kind is Kind.RETRY

    def encode(self, id_: int) -> bytes:
        """Returns the batch as a PREDICT frame, or as a RETRY frame if a worker died with some of the rows before."""
        segments: list[int] = []
        data = []
        deadline = 0.0
        for ticket, start, stop in self.spans:
            segments += ticket.segments(start, stop)
            rows = ticket.data
            if isinstance(rows, EncodedRows):
                data += rows.cut(start, stop)
            elif stop - start == ticket.rows:
                data.append(rows)
            else:
                row_bytes = ticket.row_bytes
                data.append(memoryview(rows)[start * row_bytes : stop * row_bytes])
            if ticket.deadline > deadline:
                deadline = ticket.deadline
        self.rows = sum(segments)
        return frames.encode_predict(id_, self.key, segments, data, deadline, kind=self._kind)

    def started(self) -> None:
        """Records the start of the batch in the worker."""
        self.suspect = True

    def answered(self, answer: AnswerFrame) -> None:
        """Hands each request the answers to its rows."""
        # The time at which the worker had the answer, not the time at which this process read it. Otherwise a
        # congested API process would take the model for slow, and refuse requests while the worker is idle.
        self._finished = answer.finished
        began = self._sent if self._behind is None else max(self._sent, self._behind._finished)
        self._behind = None
        self._holder.batch_done(self.key, self.rows, max(_LEAST_SECONDS, self._finished - began))
        whole, at = Answer(answer.matrix), 0
        if answer.faults:
            self._report_faults(answer)
        elif self.sample is not None and self._finished >= self.sample.due:
            self.sample.take(self.spans, answer.matrix, self._finished)  # before the tickets end, and lose their rows
        copied = []
        log = self.log
        for ticket, start, stop in self.spans:
            shadow = ticket.served.shadow  # type: ignore[union-attr]  # tickets were submitted for a version
            if (
                shadow is not None
                and not (ticket.done or ticket.is_made_up)
                # Of a group, the requests whose rows have faults have left; their rows are still in its data.
                and (not answer.faults or len(ticket.segments(start, stop)) == 1)
            ):
                copied.append((shadow, ticket, ticket.data, ticket.cells(start, stop), start, stop, at))
            if log is not None and ticket.is_logged and not ticket.done:
                log.take(ticket, start, stop, answer.matrix[at : at + stop - start])
            if stop - start == ticket.rows:
                ticket.finish(whole, at)
            elif not ticket.done:
                ticket.add_piece(start, answer.matrix[at : at + stop - start])
            at += stop - start
        for shadow, ticket, data, cells, start, stop, at in copied:  # behind the answers
            shadow.offer(ticket, data, cells, start, stop, answer.matrix[at : at + stop - start])

    def refused(self) -> None:
        """Puts the batch back, since the worker cannot load the model version."""
        self._holder.put_back(self)

    def lost(self) -> None:
        """Reports the batch as lost, since the worker died."""
        self._holder.batch_lost(self)

    def _report_faults(self, answer: AnswerFrame) -> None:
        """Ends the requests of the faulty segments with errors."""
        now = time.monotonic()  # also the worker's clock: the worker may notice first that a deadline has passed
        segments = [
            (holder, at, rows)
            for holder, start, stop in self.spans
            for at, rows in _with_starts(holder.segments(start, stop), start)
        ]
        starts = list(accumulate((rows for _, _, rows in segments), initial=0))
        for segment, text in answer.faults.items():
            holder, start, _ = segments[segment]
            if holder.done or holder.deadline <= now:
                holder.expire()  # nothing happens if another segment has ended the request
                continue
            ticket, start = holder.request_at(start)
            if ticket is None:
                continue
            bad = not_finite_rows(answer.matrix[starts[segment] : starts[segment + 1]], start)
            if not bad:
                ticket.fail(ModelFault(text))
            else:
                features = np.stack([encoded_row(ticket.data, ticket.rows, row) for row in bad])
                served = ticket.served
                assert served is not None  # noqa: S101 -- the ticket was submitted for it
                ticket.fail(error_of(served.schema, features, bad))


def _with_starts(segments: Sequence[int], start: int) -> Iterator[tuple[int, int]]:
    """Yields the first row and the number of rows of each segment; the first segment begins at row `start`."""
    return zip(accumulate(segments, initial=start), segments, strict=False)
