"""Batches without a timer: rows that arrive while a batch of their model version is being computed form the next one.

A single request does not wait. Under load, batches grow by themselves up to a number of rows and up to a computing
time, so that models and requests of different sizes take turns. Everything is bounded: the number of waiting rows and
their expected waiting time (beyond either, `QueueFull`), the rows of a batch, and the time that a request may take
(`DeadlineExceeded`). A request larger than a batch is cut into spans, and takes at most half of a batch if other
requests wait. A batch whose worker died is sent again as a RETRY. The worker reports when it starts one, so from then
on only the requests that it was computing when it died count as suspects. All batches of a request that were sent the
first time count as one loss, however many workers died with them. After its second loss a request is sent
alone, so that a request that kills workers harms no other. After the third loss it gets an error.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import cast

from service.batching.batch import AnswerLog, AnswerSample, Batch, BatchHolder
from service.batching.deadlines import DeadlineWheel
from service.batching.encoded_rows import EncodedRows
from service.batching.link import WorkerPool
from service.batching.served_version import ServedVersion
from service.batching.service_time import ServiceTimeEstimate
from service.batching.ticket import Span, Ticket
from service.batching.version_queue import VersionQueue
from service.batching.wakefulness import Wakefulness
from service.errors import ClientGone, ModelFault, ModelUnavailable, QueueFull
from service.stream import frames

_ALONE_AFTER_LOSSES = 2
_GIVE_UP_AFTER_LOSSES = 3
MAX_RETRY_AFTER = 60
_UNKNOWN = ServiceTimeEstimate()  # estimate for a version without an answered batch; never updated
MOST_OF_DEADLINE = 0.5  # share that the queue may use; the rest covers batches being computed and wrong estimates
_MAX_BATCH_BYTES = 1 << 20  # a larger frame takes the event loop milliseconds to assemble
_TURN_ROWS = 512  # a larger request yields to others: it delays a smaller one by at most this many rows and one batch


class Batcher:
    """Collects rows by model version, and sends batches of rows to the workers.

    Args:
        pool: links to the workers.
        max_batch_rows: largest number of rows in one batch.
        max_queue_rows: number of rows of one model version that may wait.
        on_resent: function called for each batch that will be sent again because its worker died.
        make_batch: `Batch`, or a function in its place.

    Attributes:
        waiting_requests: number of submitted requests that have not ended.
        samples: takers of some answered rows, by key of the version; others write this.
        log: log of predictions; None for none.
    """

    def __init__(
        self,
        pool: WorkerPool,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        on_resent: Callable[[], None],
        make_batch: Callable[[BatchHolder, str, list[Span], Batch | None], Batch] = Batch,
    ) -> None:
        self._pool = pool
        self._max_batch_rows = max_batch_rows
        self._turn_rows = min(_TURN_ROWS, max_batch_rows)
        self._max_queue_rows = max_queue_rows
        self._on_resent = on_resent
        self._make_batch = make_batch
        self._queues: dict[str, VersionQueue] = {}
        self._estimates: dict[str, ServiceTimeEstimate] = {}
        self._loop = asyncio.get_running_loop()
        self._deadlines = DeadlineWheel(self._loop)
        self._wakefulness = Wakefulness(self._loop)
        self._lone = False  # True if the last batch was one request, and the queue was empty behind it
        self.waiting_requests = 0
        self.samples: Mapping[str, AnswerSample] = {}
        self.log: AnswerLog | None = None

    @property
    def serves_one_client(self) -> bool:
        """True if requests come one at a time, so that none would join another in a batch."""
        return self._lone and not self.waiting_requests

    def admit(self, served: ServedVersion, rows: int, timeout: float) -> None:
        """Refuses a request that could not be answered in time.

        Args:
            served: the model version.
            rows: number of rows of the request; 1 if the number is not known yet.
            timeout: time that queue and execution may take, in seconds.

        Raises:
            QueueFull: too many rows wait already, or the waiting rows would take too long.
        """
        queue = self._queues.get(served.key)
        if queue is None or not queue.rows:
            return
        ahead = queue.turn_rows if rows <= self._turn_rows else queue.rows
        wait = self._estimates.get(served.key, _UNKNOWN).seconds_for(ahead)
        if wait > MOST_OF_DEADLINE * timeout:
            wait /= max(1, self._pool.up)
        if queue.rows + rows > self._max_queue_rows or wait > MOST_OF_DEADLINE * timeout:
            raise QueueFull(served.name, retry_after=min(max(1, math.ceil(wait / 2)), MAX_RETRY_AFTER))

    def submit(
        self,
        ticket: Ticket,
        served: ServedVersion,
        data: frames.Buffer | EncodedRows,
        rows: int,
        timeout: float,
        *,
        gathered: bool = False,
    ) -> None:
        """Puts a request's rows into the queue of a model version; does nothing if the request has ended.

        Args:
            ticket: request that gets the answer.
            served: model version.
            data: float32 rows.
            rows: number of rows.
            timeout: time that queue and execution may take, in seconds.
            gathered: True if the caller has gathered all requests of this turn, and calls `dispatch` after the last.

        Raises:
            QueueFull: too many rows wait already, or the waiting rows would take too long.
        """
        if ticket.done:  # cancelled while its model was loaded or its rows were read: nobody would end it again
            return
        queue = self._queues.get(served.key)
        if queue is None:
            queue = self._queues[served.key] = VersionQueue(self._turn_rows)
        elif queue.rows:
            self.admit(served, rows, timeout)
        if rows > self._max_queue_rows:
            raise QueueFull(served.name, retry_after=1)
        self.hold(ticket, served, data, rows, self._loop.time() + timeout)
        queue.append((ticket, 0, rows))
        if not queue.scheduled and not gathered:
            if self._lone and self.waiting_requests == 1:
                self._dispatch(served.key)  # one client at a time: no other request would join the batch
            else:
                # Not sent at once: requests that the event loop has just read from other sockets join the batch.
                self._schedule(served.key, queue)

    def hold(
        self, ticket: Ticket, served: ServedVersion, data: frames.Buffer | EncodedRows, rows: int, deadline: float
    ) -> None:
        """Records a ticket until its end, which comes at the deadline at the latest, on the event loop's clock."""
        ticket.submit(self, served, data, rows, deadline)
        self.waiting_requests += ticket.requests
        self._deadlines.add(ticket)

    def dispatch(self, key: str) -> None:
        """Sends the batches of a model version that a worker can take now, unless that is to be done soon anyway."""
        queue = self._queues.get(key)
        if queue is not None and not queue.scheduled:
            self._dispatch(key)

    def forget(self, ticket: Ticket) -> None:
        """Records the end of a ticket."""
        self.waiting_requests -= ticket.requests
        self._deadlines.remove(ticket)
        if ticket.queued:
            self._queues[ticket.key].end(ticket)

    def is_busy(self, key: str) -> bool:
        """Returns True if rows of a model version wait, or are out at a worker."""
        return key in self._queues or any(key in link.in_flight_by_key for link in self._pool.links)

    def awake_seconds(self) -> float:
        """Returns the time for which the process stayed awake for a lone client and found nothing to do."""
        return self._wakefulness.idle_seconds

    def waiting_rows(self) -> int:
        """Returns the number of rows that are in no batch yet."""
        return sum(queue.rows for queue in self._queues.values())

    def dispatch_all(self) -> None:
        """Sends all batches that a worker can take now, after a worker has come up."""
        for key in list(self._queues):
            self._dispatch(key)

    def forget_estimates(self, served_keys: set[str]) -> None:
        """Drops the estimates of versions that are no longer served."""
        self._estimates = {key: estimate for key, estimate in self._estimates.items() if key in served_keys}

    def batch_done(self, key: str, rows: int, seconds: float) -> None:
        """Updates the estimate of a model version, and schedules its next batch, since a worker is free again."""
        estimate = self._estimates.get(key)
        if estimate is None:
            estimate = self._estimates[key] = ServiceTimeEstimate()
        queue = self._queues.get(key)
        estimate.observe(rows, seconds)
        if self._lone and self.waiting_requests == 1:
            self._wakefulness.request_answered()
        if queue is not None and not queue.scheduled:
            # Not at once either: the client that gets its answer now may have sent its next request already.
            self._schedule(key, queue)

    def batch_lost(self, batch: Batch) -> None:
        """Puts back a batch whose worker died; requests that were lost too often get an error."""
        if batch.suspect:
            batch.spans = [span for ticket, start, stop in batch.spans for span in ticket.retried(start, stop)]
        for ticket, _, _ in batch.spans:
            if batch.is_retry:
                ticket.losses += batch.suspect
            else:
                # All batches of a large request that were sent before the first loss count as one: a worker has two of
                # them, and runs one at a time, and several workers may die together.
                ticket.losses = max(ticket.losses, 1)
            if ticket.losses >= _GIVE_UP_AFTER_LOSSES:
                ticket.fail(ModelFault(f"the worker died {ticket.losses} times with these rows in hand."))
        if not all(ticket.done for ticket, _, _ in batch.spans):
            self._on_resent()
        self.put_back(batch)

    def put_back(self, batch: Batch) -> None:
        """Puts a batch back at the head of the queue; the limit does not apply, since the rows were accepted before."""
        queue = self._queues.setdefault(batch.key, VersionQueue(self._turn_rows))
        for ticket, start, stop in reversed(batch.spans):
            if not ticket.done:
                queue.append_first((ticket, start, stop))
        if not queue.scheduled:
            self._schedule(batch.key, queue)

    def _schedule(self, key: str, queue: VersionQueue) -> None:
        queue.scheduled = True
        self._loop.call_soon(self._dispatch, key)

    def _dispatch(self, key: str) -> None:
        queue = self._queues.get(key)
        if queue is None:
            return
        queue.scheduled = False
        while queue.spans:
            link = self._pool.free_link(key)
            if link is None and queue.rows >= self._full_rows(key):
                # The batch is full and grows no more. Let it wait at the worker, which then need not wait for it.
                link = self._pool.free_link(key, at_most=1)
            if link is None:
                if self._pool.is_unloadable(key):
                    self._fail_all(key)
                return
            spans = self._next_spans(key, queue)
            if spans:
                self._lone = len(spans) == 1 and spans[0][0].requests == 1 and not queue.spans
                if self._lone and self.waiting_requests == 1:
                    self._wakefulness.request_sent()
                else:
                    self._wakefulness.others_came()
                in_flight = link.in_flight_by_key.get(key)
                batch = self._make_batch(self, key, spans, cast(Batch, in_flight[-1]) if in_flight else None)
                batch.sample = self.samples.get(key)
                batch.log = self.log
                link.send(batch)
        del self._queues[key]

    def _fail_all(self, key: str) -> None:
        """Ends all requests of a version that no worker can load with an error."""
        queue = self._queues[key]
        for ticket, _, _ in list(queue.spans):
            ticket.fail(ModelUnavailable(f"{ticket.served} cannot be loaded any more; GET /models says why."))
        if not queue.rows:  # no new request has come
            del self._queues[key]

    def _full_rows(self, key: str) -> float:
        """Returns the number of rows of a full batch; infinity before the first estimate."""
        return self._room(key) if self._estimates.get(key, _UNKNOWN).known else math.inf

    def _room(self, key: str) -> int:
        """Returns the largest number of rows of the next batch."""
        most = max(1, _MAX_BATCH_BYTES // self._queues[key].spans[0][0].row_bytes)
        return min(self._max_batch_rows, self._estimates.get(key, _UNKNOWN).batch_rows, most)

    def _next_spans(self, key: str, queue: VersionQueue) -> list[Span]:
        """Takes the next batch's spans from the queue, oldest first."""
        room = self._room(key)
        share_of_large = max(1, room // 2)
        now = time.perf_counter()
        spans: list[Span] = []
        cut: list[Span] = []
        while queue.spans:  # not a fixed number of spans: a request that ends here removes its other spans too
            ticket, start, stop = queue.spans[0]
            alone = ticket.losses >= _ALONE_AFTER_LOSSES
            if spans and (alone or bool(ticket.losses) != bool(spans[0][0].losses)):
                break
            queue.pop_first()
            if ticket.done:
                continue
            if ticket.disconnected:
                ticket.fail(ClientGone("the client hung up before its rows were sent."))
                continue
            large = stop - start > self._turn_rows
            share = share_of_large if large and (queue.spans or spans) and not alone else room
            taken = min(stop - start, room, share)
            if not ticket.was_sent:  # else its wait was counted
                ticket.was_sent = True
                served = ticket.served
                assert served is not None  # noqa: S101 -- the ticket was submitted for it
                served.metrics.queue_wait.observe(now - ticket.arrived, ticket.requests)
            spans.append((ticket, start, start + taken))
            room -= taken
            if start + taken < stop:
                rest = (ticket, start + taken, stop)
                if large:  # it has had its turn
                    cut.append(rest)
                else:  # the batch is full: the rest stays first, and does not wait for the whole queue again
                    queue.append_first(rest)
            if alone or not room:
                break
        for span in cut:
            queue.append(span)
        return spans
