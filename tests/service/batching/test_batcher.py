"""The batcher: the requests of a batch, their order, and the end of each request, exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from service.batching.batch import Batch
from service.batching.batcher import MAX_RETRY_AFTER, Batcher
from service.batching.link import WorkerPool
from service.batching.ticket import Ticket
from service.errors import ClientGone, DeadlineExceeded, ModelFault, ModelUnavailable, QueueFull
from service.stream.frames import AnswerFrame

KEY = "double@1#sha256:00"
METRICS = SimpleNamespace(queue_wait=SimpleNamespace(observe=lambda *_: None))
SERVED: Any = SimpleNamespace(key=KEY, name="double", metrics=METRICS, shadow=None)
ROWS = 64


class Silent(Ticket):
    """A request whose answer nobody reads."""

    def answered(self, answer: object, start: int) -> None:
        """Takes the answer."""

    def failed(self, error: Exception) -> None:
        """Takes the error."""


def answer(finished: float) -> AnswerFrame:
    """Makes the answer to a batch of `ROWS` rows that the worker finished at `finished`."""
    return AnswerFrame(np.zeros((ROWS, 1), dtype=np.float32), {}, finished)


def refuses_after_one_batch(folder: Path, *, worker_seconds: float, unread_seconds: float) -> bool:
    """Returns True if, after one batch, a row with a deadline in 100 ms behind 500 rows is refused.

    Args:
        folder: folder of the worker's socket, on which nobody listens.
        worker_seconds: time that the worker took for the batch.
        unread_seconds: time that the answer stayed unread, because this process was busy.
    """

    async def run() -> bool:
        pool = WorkerPool([folder / "worker.sock"], lambda: None)
        batcher = Batcher(pool, max_batch_rows=4096, max_queue_rows=100_000, on_resent=lambda: None)
        first = Silent()
        batcher.submit(first, SERVED, bytes(4 * ROWS), ROWS, 100.0)
        batch = Batch(batcher, KEY, [(first, 0, ROWS)])
        batch.encode(1)
        sent = time.monotonic()
        time.sleep(unread_seconds)
        batch.answered(answer(sent + worker_seconds))
        batcher.submit(Silent(), SERVED, bytes(4 * 500), 500, 100.0)
        try:
            batcher.admit(SERVED, 1000, 0.1)
        except QueueFull:
            return True
        return False

    return asyncio.run(run())


def test_an_answer_that_lies_unread_does_not_make_the_model_slow(tmp_path: Path) -> None:
    assert not refuses_after_one_batch(tmp_path, worker_seconds=0.001, unread_seconds=0.25)


def test_a_worker_that_is_slow_is_taken_for_slow(tmp_path: Path) -> None:
    assert refuses_after_one_batch(tmp_path, worker_seconds=1.0, unread_seconds=0.0)


class Link:
    """A link to a worker that answers when a test says so.

    Attributes:
        batches: unanswered batches of the worker, oldest first.
        in_flight_by_key: the same, by key.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.in_flight_by_key: dict[str, list[Batch]] = {}

    def send(self, batch: Batch) -> None:
        """Takes a batch."""
        batch.encode(len(self.batches))
        self.batches.append(batch)
        self.in_flight_by_key.setdefault(batch.key, []).append(batch)

    def take(self) -> Batch:
        """Removes and returns the oldest batch."""
        batch = self.batches.pop(0)
        self.in_flight_by_key[batch.key].remove(batch)
        return batch

    def answer(self) -> list[int]:
        """Answers the oldest batch with each row's first number; returns the numbers of rows of its requests."""
        batch = self.take()
        rows = np.frombuffer(batch.encode(0)[-4 * batch.rows :], dtype=np.float32).reshape(-1, 1)
        sizes = [stop - start for _, start, stop in batch.spans]
        batch.answered(AnswerFrame(rows, {}, time.monotonic()))
        return sizes


class Pool:
    """A pool of one worker whose link is `link`.

    Attributes:
        up: number of workers that are up.
        link: link to the worker.
        unloadable: keys of versions that no worker can load.
    """

    def __init__(self) -> None:
        self.up = 1
        self.link = Link()
        self.unloadable: set[str] = set()

    def free_link(self, key: str, at_most: int = 0) -> Any:
        """Returns the link if the worker has at most `at_most` batches of the version."""
        if not self.up or key in self.unloadable:
            return None
        return self.link if len(self.link.in_flight_by_key.get(key, ())) <= at_most else None

    def is_unloadable(self, key: str) -> bool:
        """Returns True if no worker can load the version."""
        return key in self.unloadable


class Watched(Ticket):
    """A request that records its end.

    Attributes:
        values: answers to the rows, or None before the end.
        error: error of a failed request, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] | None = None
        self.error: Exception | None = None
        self.gone = False

    @property
    def disconnected(self) -> bool:
        """True if the client has gone."""
        return self.gone

    def answered(self, answer: Any, start: int) -> None:
        """Notes the answer."""
        assert self.values is None
        assert self.error is None
        self.values = answer.matrix[start : start + self.rows, 0].tolist()

    def failed(self, error: Exception) -> None:
        """Notes the error."""
        assert self.values is None
        assert self.error is None
        self.error = error


def with_pool(scenario: Callable[[Batcher, Pool], Coroutine[Any, Any, None]], **limits: int) -> None:
    """Runs a scenario with a batcher over a pool that the test controls."""

    async def run() -> None:
        pool = Pool()
        bounds = {"max_batch_rows": 8, "max_queue_rows": 40} | limits
        await scenario(Batcher(cast(WorkerPool, pool), on_resent=lambda: None, **bounds), pool)

    asyncio.run(run())


def ask(batcher: Batcher, *values: float, timeout: float = 60) -> Watched:
    """Submits a request with one row for each value."""
    ticket = Watched()
    batcher.submit(ticket, SERVED, np.float32(values).tobytes(), len(values), timeout)
    return ticket


async def turn() -> None:
    """Lets the event loop run what has been scheduled."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_requests_of_one_turn_are_one_batch_and_each_gets_its_own_rows() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        tickets = [ask(batcher, 1), ask(batcher, 2, 3), ask(batcher, 4)]
        await turn()
        assert pool.link.answer() == [1, 2, 1]
        assert [ticket.values for ticket in tickets] == [[1], [2, 3], [4]]
        assert not any(ticket.data for ticket in tickets), "an answer may take a while to write, and needs no rows"
        assert batcher.waiting_rows() == batcher.waiting_requests == 0

    with_pool(scenario)


def test_what_gathers_while_a_batch_is_out_is_the_next_batch_up_to_its_limit() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        ask(batcher, 0)
        await turn()
        tickets = [ask(batcher, row, row + 0.5) for row in range(5)]
        await turn()
        assert len(pool.link.batches) == 1, "the others wait for it"
        pool.link.answer()
        await turn()
        assert pool.link.answer() == [2, 2, 2, 2]
        await turn()
        assert pool.link.answer() == [2]
        assert [ticket.values for ticket in tickets] == [[row, row + 0.5] for row in range(5)]

    with_pool(scenario)


def test_a_request_larger_than_a_batch_takes_half_of_one_in_which_others_want_a_place() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        large, small = ask(batcher, *range(20)), ask(batcher, 100)
        await turn()
        sizes = []
        while pool.link.batches:
            sizes.append(pool.link.answer())
            await turn()
        assert sizes[0] == [4, 1]
        assert sum(map(sum, sizes)) == 21
        assert (large.values, small.values) == (list(range(20)), [100])

    with_pool(scenario)


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        pool.up = 0
        for _ in range(4):
            ask(batcher, *range(10))
        with pytest.raises(QueueFull) as caught:
            ask(batcher, 1)
        assert 1 <= caught.value.retry_after <= MAX_RETRY_AFTER
        assert batcher.waiting_rows() == 40, "what was refused holds no place"

    with_pool(scenario)


def test_a_deadline_ends_a_request_once_and_its_rows_are_never_sent() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        pool.up = 0
        late, patient = ask(batcher, 1, timeout=0.02), ask(batcher, 2)
        async with asyncio.timeout(20):
            while late.error is None:
                await asyncio.sleep(0.005)
        assert isinstance(late.error, DeadlineExceeded)
        assert batcher.waiting_rows() == 1
        pool.up = 1
        batcher.dispatch_all()
        assert pool.link.answer() == [1]
        assert patient.values == [2]

    with_pool(scenario)


def test_a_client_that_has_gone_costs_no_forward() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        gone, other = ask(batcher, 1), ask(batcher, 2)
        gone.gone = True
        await turn()
        assert pool.link.answer() == [1]
        assert isinstance(gone.error, ClientGone)
        assert other.values == [2]

    with_pool(scenario)


def test_a_request_that_has_ended_before_is_not_held() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        cancelled = Watched()
        cancelled.fail(ClientGone("the client has cancelled the call."))
        batcher.submit(cancelled, SERVED, np.float32([1]).tobytes(), 1, 60)
        assert batcher.waiting_requests == 0
        ask(batcher, 2)
        await turn()
        assert pool.link.answer() == [1]
        assert batcher.waiting_rows() == batcher.waiting_requests == 0
        assert batcher.serves_one_client, "the way of a lone client is open"

    with_pool(scenario)


def test_a_request_that_kills_workers_harms_no_other_and_is_given_up_the_third_time() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        killer, innocent = ask(batcher, 666), ask(batcher, 1)
        await turn()
        pool.link.take().lost()  # in one batch, so both are suspects
        await turn()
        retry = pool.link.take()
        assert len(retry.spans) == 2
        retry.started()
        retry.lost()
        await turn()
        for _ in range(2):  # now each alone, in turn
            batch = pool.link.batches[0]
            assert len(batch.spans) == 1
            if batch.spans[0][0] is killer:
                pool.link.take()
                batch.started()
                batch.lost()
            else:
                pool.link.answer()
            await turn()
        assert isinstance(killer.error, ModelFault)
        assert innocent.values == [1]
        assert not pool.link.batches
        assert batcher.waiting_requests == 0

    with_pool(scenario)


def test_a_batch_that_waited_at_a_dead_worker_is_no_suspect() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        ticket = ask(batcher, 1)
        await turn()
        pool.link.take().lost()
        for _ in range(5):  # sent as a RETRY that never starts
            await turn()
            pool.link.take().lost()
        await turn()
        assert pool.link.answer() == [1]
        assert ticket.values == [1]

    with_pool(scenario)


class Pair(Pool):
    """A pool of two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.links = [self.link, Link()]

    def free_link(self, key: str, at_most: int = 0) -> Any:
        """Returns the link of the least busy worker that has at most `at_most` batches of the version."""
        link = min(self.links, key=lambda one: len(one.batches))
        return link if len(link.batches) <= at_most else None


@pytest.mark.parametrize("dead", [1, 2])
def test_a_large_request_survives_workers_that_die_together_and_a_death_after_that(dead: int) -> None:
    async def run() -> None:
        pool = Pair()
        batcher = Batcher(cast(WorkerPool, pool), max_batch_rows=16, max_queue_rows=200, on_resent=lambda: None)
        ask(batcher, *range(16))
        await turn()
        pool.link.answer()  # from now on, a full batch may wait at a worker
        large = ask(batcher, *range(100))
        await turn()
        assert [len(link.batches) for link in pool.links] == [2, 2]
        for link in pool.links[:dead]:
            while link.batches:
                link.take().lost()
        await turn()
        assert large.error is None
        if dead == 1:  # the other worker answers what it has, and dies with one of the batches that are sent again
            other = pool.links[1]
            while not other.batches[0].is_retry:
                other.answer()
                await turn()
        retry = pool.links[1].take()
        retry.started()
        retry.lost()
        await turn()
        while any(link.batches for link in pool.links):
            for link in pool.links:
                if link.batches:
                    link.answer()
            await turn()
        assert large.values == list(range(100))
        assert batcher.waiting_requests == 0

    asyncio.run(run())


def test_a_version_that_no_worker_can_load_any_more_ends_its_requests() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        pool.unloadable.add(KEY)
        ticket = ask(batcher, 1)
        await turn()
        assert isinstance(ticket.error, ModelUnavailable)
        assert batcher.waiting_rows() == 0

    with_pool(scenario)
