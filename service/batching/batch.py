"""A batch: rows of several requests for one model version, under way to a worker."""

from __future__ import annotations

import time
from itertools import accumulate
from typing import Protocol

import numpy as np

from service.batching.encoded_rows import EncodedRows, encoded_row
from service.batching.extreme_rows import error_of, not_finite_rows
from service.batching.ticket import Answer, Span
from service.errors import ModelFault
from service.stream import frames
from service.stream.frames import AnswerFrame, Kind

_LEAST_SECONDS = 1e-6  # of a batch: no clock tells less apart


class BatchHolder(Protocol):
    """Whoever made a batch, and hears how it ends."""

    def batch_done(self, key: str, rows: int, seconds: float) -> None:
        """A worker answered the rows of a model version in so many seconds."""

    def batch_lost(self, batch: Batch) -> None:
        """Its worker died."""

    def put_back(self, batch: Batch) -> None:
        """Its worker cannot load the model version."""


class Batch:
    """Spans of one model version under way to a worker."""

    __slots__ = ("_behind", "_finished", "_holder", "_kind", "_sent", "key", "rows", "spans", "suspect")

    def __init__(self, holder: BatchHolder, key: str, spans: list[Span], behind: Batch | None = None) -> None:
        self._holder = holder
        self._behind = behind  # the batch that the worker has to answer first
        self._finished = 0.0  # by the worker's clock, as `_sent` is by ours: both are the machine's monotonic clock
        self._sent = time.monotonic()
        self._kind = Kind.RETRY if spans[0][0].losses else Kind.PREDICT
        self.key = key
        self.spans = spans
        self.rows = 0
        # Whether the worker may have died of it. The first time it may have been any batch that the worker had.
        self.suspect = self._kind is Kind.PREDICT

    def encode(self, id_: int) -> bytes:
        """The batch as a PREDICT frame; as a RETRY, where a worker died with its rows before."""
        segments, data = [], []
        deadline = 0.0
        for ticket, start, stop in self.spans:
            segments.append(stop - start)
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
        """The worker has it in hand from now on."""
        self.suspect = True

    def answered(self, answer: AnswerFrame) -> None:
        """Gives each request its own rows."""
        # By when the worker had the answer, and not by when this process came to read it: an API process that is
        # itself congested would take the model for slow, and refuse what the worker is idle for.
        self._finished = answer.finished
        began = self._sent if self._behind is None else max(self._sent, self._behind._finished)
        self._behind = None
        self._holder.batch_done(self.key, self.rows, max(_LEAST_SECONDS, self._finished - began))
        whole, at = Answer(answer.matrix), 0
        if answer.faults:
            self._tell_faults(answer)
        for ticket, start, stop in self.spans:
            if stop - start == ticket.rows:
                ticket.finish(whole, at)
            elif not ticket.done:
                ticket.add_piece(start, answer.matrix[at : at + stop - start])
            at += stop - start

    def refused(self) -> None:
        """The worker cannot load the model version."""
        self._holder.put_back(self)

    def lost(self) -> None:
        """Its worker died."""
        self._holder.batch_lost(self)

    def _tell_faults(self, answer: AnswerFrame) -> None:
        now = time.monotonic()  # the worker's clock too, which may have seen first that a deadline has passed
        starts = list(accumulate((stop - start for _, start, stop in self.spans), initial=0))
        for segment, text in answer.faults.items():
            ticket, start, _ = self.spans[segment]
            if ticket.deadline <= now:
                ticket.expire()
                continue
            bad = not_finite_rows(answer.matrix[starts[segment] : starts[segment + 1]], start)
            if not bad:
                ticket.fail(ModelFault(text))
            else:
                features = np.stack([encoded_row(ticket.data, ticket.rows, row) for row in bad])
                served = ticket.served
                assert served is not None  # noqa: S101 -- the ticket was submitted for it
                ticket.fail(error_of(served.schema, features, bad))
