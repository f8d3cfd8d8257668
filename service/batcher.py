"""Batches without a timer: rows of one model version that gather while its last batch is out are its next batch.

A lone request waits for nobody; under load batches grow by themselves. Everything is bounded: rows that wait (beyond,
`QueueFull`), rows in a batch, and the time that a request may take (`DeadlineExceeded`). A request larger than a
batch is cut into spans, and takes at most half of a batch in which others want a place. A batch whose worker died is
sent again; requests that were in such a batch twice travel alone, so that a request that kills workers kills no other.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import frames
from service.catalog import ServedVersion
from service.deadlines import DeadlineWheel
from service.errors import ClientGone, DeadlineExceeded, ModelFault, QueueFull
from service.frames import AnswerFrame
from service.link import WorkerPool

_ALONE_AFTER_LOSSES = 2
_GIVE_UP_AFTER_LOSSES = 5


class Answer:
    """Answers to the rows of a batch, `(rows, width)` float32.

    `memo` is for a front door: what its first request made of the whole matrix serves the others of the batch.
    """

    __slots__ = ("matrix", "memo")

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        self.matrix = matrix
        self.memo: Any = None


class Ticket:
    """One request's rows in the batcher. Await `answered`: the answer, and the row of it where this request begins."""

    __slots__ = ("answered", "arrived", "data", "deadline", "gone", "losses", "pieces", "queued", "rows", "served")

    def __init__(
        self,
        served: ServedVersion,
        data: frames.Buffer,
        rows: int,
        deadline: float,
        gone: Callable[[], bool],
        answered: asyncio.Future[tuple[Answer, int]],
    ) -> None:
        self.served = served
        self.data = data
        self.rows = rows
        self.deadline = deadline
        self.gone = gone
        self.answered = answered
        self.arrived = time.perf_counter()
        self.queued = 0  # rows of it that are in the queue now
        self.losses = 0
        self.pieces: dict[int, NDArray[np.float32]] = {}

    def expire(self) -> None:
        """The deadline has passed: whoever waits is told now, and rows not yet sent never will be."""
        self.fail(DeadlineExceeded("the deadline passed before the answer was there."))

    def fail(self, error: Exception) -> None:
        """Ends it with an error, unless it has ended."""
        if not self.answered.done():
            self.answered.set_exception(error)

    def add_piece(self, start: int, piece: NDArray[np.float32]) -> None:
        """Takes the answer to a span of rows, and ends when all spans are there."""
        self.pieces[start] = piece
        if sum(map(len, self.pieces.values())) == self.rows and not self.answered.done():
            self.answered.set_result((Answer(np.concatenate([self.pieces[at] for at in sorted(self.pieces)])), 0))


Span = tuple[Ticket, int, int]  # a ticket's rows from … up to …


class Batch:
    """Spans of one model version under way to a worker."""

    __slots__ = ("_batcher", "key", "spans")

    def __init__(self, batcher: Batcher, key: str, spans: list[Span]) -> None:
        self._batcher = batcher
        self.key = key
        self.spans = spans

    def encode(self, id_: int) -> bytes:
        """The batch as a PREDICT frame."""
        segments, data = [], []
        for ticket, start, stop in self.spans:
            segments.append(stop - start)
            if stop - start == ticket.rows:
                data.append(ticket.data)
            else:
                row_bytes = len(ticket.data) // ticket.rows
                data.append(memoryview(ticket.data)[start * row_bytes : stop * row_bytes])
        return frames.encode_predict(id_, self.key, segments, data)

    def answered(self, answer: AnswerFrame) -> None:
        """Gives each request its own rows."""
        whole, at = Answer(answer.matrix), 0
        for segment, (ticket, start, stop) in enumerate(self.spans):
            if not ticket.answered.done():
                if segment in answer.faults:
                    ticket.fail(ModelFault(answer.faults[segment]))
                elif stop - start == ticket.rows:
                    ticket.answered.set_result((whole, at))
                else:
                    ticket.add_piece(start, answer.matrix[at : at + stop - start])
            at += stop - start
        self._batcher.batch_done(self.key)

    def lost(self) -> None:
        """Its worker died."""
        self._batcher.batch_lost(self)


class _Queue:
    """What waits for one model version. `rows` counts what still wants an answer; ended requests leave it at once."""

    __slots__ = ("_ended", "rows", "scheduled", "spans")

    def __init__(self) -> None:
        self.spans: deque[Span] = deque()
        self.rows = 0
        self.scheduled = False
        self._ended = 0

    def append(self, span: Span) -> None:
        self.spans.append(span)
        self._count(span, 1)

    def append_first(self, span: Span) -> None:
        self.spans.appendleft(span)
        self._count(span, 1)

    def pop_first(self) -> Span:
        span = self.spans.popleft()
        if span[0].queued:
            self._count(span, -1)
        else:
            self._ended -= 1
        return span

    def end(self, ticket: Ticket) -> None:
        """A request has ended with rows still here. They are swept out once they are half of what is here."""
        self.rows -= ticket.queued
        ticket.queued = 0
        self._ended += 1
        if 2 * self._ended > len(self.spans):
            self.spans = deque(span for span in self.spans if span[0].queued)
            self._ended = 0

    def _count(self, span: Span, sign: int) -> None:
        ticket, start, stop = span
        ticket.queued += sign * (stop - start)
        self.rows += sign * (stop - start)


class Batcher:
    """Gathers requests by model version and keeps the workers busy with them.

    Args:
        pool: the workers.
        max_batch_rows: rows in one batch at most.
        max_queue_rows: rows of one model version that may wait.
        on_resent: called for each batch that is put back because its worker died.
    """

    def __init__(
        self, pool: WorkerPool, *, max_batch_rows: int, max_queue_rows: int, on_resent: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._on_resent = on_resent
        self._queues: dict[str, _Queue] = {}
        self._loop = asyncio.get_running_loop()
        self._deadlines = DeadlineWheel(self._loop)
        self.waiting_requests = 0

    def submit(
        self, served: ServedVersion, data: frames.Buffer, rows: int, timeout: float, gone: Callable[[], bool]
    ) -> Ticket:
        """Puts a request's rows into the queue of its model version.

        Args:
            served: the model version.
            data: float32 rows.
            rows: how many.
            timeout: seconds that queue and execution may take.
            gone: tells whether the client has hung up; asked just before its rows would be sent.

        Raises:
            QueueFull: too many rows wait already.
        """
        queue = self._queues.get(served.key)
        if queue is None:
            queue = self._queues[served.key] = _Queue()
        if queue.rows + rows > self._max_queue_rows:
            raise QueueFull(served.name, retry_after=1)
        ticket = Ticket(served, data, rows, self._loop.time() + timeout, gone, self._loop.create_future())
        queue.append((ticket, 0, rows))
        self._deadlines.add(ticket)
        if not queue.scheduled:
            # Not at once: whatever else the event loop has just read from its sockets comes along.
            queue.scheduled = True
            self._loop.call_soon(self._dispatch, served.key)
        return ticket

    async def answer(self, ticket: Ticket) -> tuple[Answer, int]:
        """Waits for a ticket's answer: the batch's, and the row where this request's rows begin in it.

        Raises:
            DeadlineExceeded, ModelFault, ClientGone: it has none.
        """
        self.waiting_requests += 1
        try:
            return await ticket.answered
        finally:
            self.waiting_requests -= 1
            self._deadlines.remove(ticket)
            if ticket.queued:
                self._queues[ticket.served.key].end(ticket)

    def waiting_rows(self) -> int:
        """Rows that are in no batch yet."""
        return sum(queue.rows for queue in self._queues.values())

    def dispatch_all(self) -> None:
        """Sends whatever can be sent: a worker has come up."""
        for key in list(self._queues):
            self._dispatch(key)

    def batch_done(self, key: str) -> None:
        """A worker is free for this model version again."""
        queue = self._queues.get(key)
        if queue is not None and not queue.scheduled:
            # Also later: a client that has its answer now may have sent its next request already.
            queue.scheduled = True
            self._loop.call_soon(self._dispatch, key)

    def batch_lost(self, batch: Batch) -> None:
        """Puts a batch back at the head of its queue; the limit does not apply, since its rows were accepted."""
        self._on_resent()
        queue = self._queues.setdefault(batch.key, _Queue())
        for ticket, start, stop in reversed(batch.spans):
            ticket.losses += 1
            if ticket.losses >= _GIVE_UP_AFTER_LOSSES:
                ticket.fail(ModelFault(f"the worker died {ticket.losses} times with these rows in hand."))
            else:
                queue.append_first((ticket, start, stop))
        self.batch_done(batch.key)

    def _dispatch(self, key: str) -> None:
        queue = self._queues.get(key)
        if queue is None:
            return
        queue.scheduled = False
        while queue.spans:
            link = self._pool.free_link(key)
            if link is None:
                return
            spans = self._next_spans(queue)
            if spans:
                link.send(Batch(self, key, spans))
        del self._queues[key]

    def _next_spans(self, queue: _Queue) -> list[Span]:
        """Takes the next batch's spans from the queue, oldest first."""
        room = self._max_batch_rows
        now = time.perf_counter()
        spans: list[Span] = []
        cut: list[Span] = []
        for _ in range(len(queue.spans)):
            ticket, start, stop = queue.spans[0]
            alone = ticket.losses >= _ALONE_AFTER_LOSSES
            if spans and alone:
                break
            queue.pop_first()
            if ticket.answered.done():
                continue
            if ticket.gone():
                ticket.fail(ClientGone("the client hung up before its rows were sent."))
                continue
            share = room if alone or not (queue.spans or spans) else max(1, self._max_batch_rows // 2)
            taken = min(stop - start, room, share)
            if start == 0:
                ticket.served.metrics.queue_wait.observe(now - ticket.arrived)
            spans.append((ticket, start, start + taken))
            room -= taken
            if start + taken < stop:
                cut.append((ticket, start + taken, stop))
            if alone or not room:
                break
        for span in cut:
            queue.append(span)
        return spans
