"""A group of requests with one row each: one entry in the queue, and an end of its own for each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from test_batcher import SERVED, Pool, Watched, ask, turn, with_pool

from service.batching.batch import Batch
from service.batching.batcher import Batcher
from service.batching.link import WorkerPool
from service.batching.ticket import Answer, Span, Ticket
from service.batching.ticket_group import TicketGroup
from service.errors import DeadlineExceeded, ModelFault, QueueFull
from service.metrics import ModelMetrics
from service.stream.frames import AnswerFrame


class Copies:
    """A shadow that notes the rows that come."""

    needs_cells = False

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def offer(self, ticket: Any, data: Any, cells: Any, start: int, stop: int, matrix: Any) -> None:
        """Notes the rows."""
        self.rows.append((start, stop))


class Group(TicketGroup):
    """A group whose requests record their ends.

    Attributes:
        members: all requests, by row.
        inside: the requests that have neither left nor ended, by row.
    """

    def __init__(self, requests: int) -> None:
        super().__init__()
        self.requests = requests
        self.members = [Watched() for _ in range(requests)]
        self.inside: list[Watched | None] = [*self.members]

    def answer_requests(self, first: int, stop: int, answer: Answer, start: int) -> None:
        for row in range(first, stop):
            ticket, self.inside[row] = self.inside[row], None
            if ticket is not None:
                ticket.rows = 1
                ticket.finish(answer, start + row - first)

    def take_out(self, row: int) -> Ticket | None:
        ticket, self.inside[row] = self.inside[row], None
        return ticket

    def values(self) -> list[float | None]:
        """Returns the answers, None for requests without one."""
        return [None if ticket.values is None else ticket.values[0] for ticket in self.members]


def ask_together(batcher: Batcher, *values: float, timeout: float = 60) -> Group:
    """Submits a group with one request for each value."""
    group = Group(len(values))
    batcher.submit(group, SERVED, np.float32(values).tobytes(), len(values), timeout, gathered=True)
    batcher.dispatch(SERVED.key)
    return group


def answer_with(batch: Batch, faults: dict[int, str]) -> None:
    """Answers a batch with each row's number, except for segments at fault."""
    rows = np.frombuffer(batch.encode(0)[-4 * batch.rows :], dtype=np.float32).reshape(-1, 1)
    batch.answered(AnswerFrame(rows, faults, time.monotonic()))


def test_a_group_is_sent_at_once_and_each_request_gets_its_own_row() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        group = ask_together(batcher, 1, 2, 3)
        assert len(pool.link.batches) == 1, "the group was gathered already, and needs no turn of the loop"
        assert batcher.waiting_requests == 3
        pool.link.answer()
        assert group.values() == [1, 2, 3]
        assert batcher.waiting_rows() == batcher.waiting_requests == 0

    with_pool(scenario)


def test_a_group_larger_than_a_batch_is_answered_piece_by_piece() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        group = ask_together(batcher, *range(20))
        pool.link.answer()
        assert group.values() == [*range(8), *[None] * 12], "nobody waits for the rows of others"
        await turn()
        while pool.link.batches:
            pool.link.answer()
            await turn()
        assert group.values() == list(range(20))
        assert group.done
        assert batcher.waiting_requests == 0

    with_pool(scenario)


def test_a_fault_hits_the_request_at_fault_alone() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        single, group = ask(batcher, 7, 8), ask_together(batcher, 1, 2, 3)
        await turn()
        # The two rows of the first request are segment 0, the rows of the group are segments 1 to 3.
        answer_with(pool.link.take(), {2: "the row is at fault"})
        assert single.values == [7, 8]
        assert group.values() == [1, None, 3]
        assert isinstance(group.members[1].error, ModelFault)
        assert batcher.waiting_requests == 0

    with_pool(scenario)


def test_a_shadow_gets_neither_rows_with_faults_nor_made_up_ones() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        copies = Copies()
        served = SimpleNamespace(**{**vars(SERVED), "shadow": copies})
        group, single, made_up = Group(2), Watched(), MadeUp()
        for ticket, values in ((group, [1, 2]), (single, [3, 4]), (made_up, [5])):
            batcher.submit(ticket, cast(Any, served), np.float32(values).tobytes(), len(values), 60)
        await turn()
        answer_with(pool.link.take(), {1: "the row is at fault"})
        assert group.values() == [1, None]
        assert single.values == [3, 4]
        assert copies.rows == [(0, 2)], "those of the single request"

    with_pool(scenario)


class MadeUp(Watched):
    """A request whose rows no client sent."""

    is_made_up = True


def test_of_requests_that_a_worker_died_with_only_the_killer_is_given_up() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        group = ask_together(batcher, 1, 666, 3)
        pool.link.take().lost()
        await turn()
        for _ in range(12):
            if not pool.link.batches:
                break
            batch = pool.link.batches[0]
            rows = np.frombuffer(batch.encode(0)[-4 * batch.rows :], dtype=np.float32)
            if 666 in rows:
                pool.link.take()
                batch.started()
                batch.lost()
            else:
                pool.link.answer()
            await turn()
        assert group.values() == [1, None, 3]
        assert isinstance(group.members[1].error, ModelFault)
        assert not pool.link.batches
        assert batcher.waiting_rows() == batcher.waiting_requests == 0

    with_pool(scenario)


def test_the_wait_of_a_request_is_counted_once_however_often_it_is_sent() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        metrics = ModelMetrics("double", "1", lambda _: None)
        served = cast(Any, SimpleNamespace(**{**vars(SERVED), "metrics": metrics}))
        group, single, large = Group(3), Watched(), Watched()
        for ticket, values in ((group, [1, 2, 3]), (single, [4]), (large, range(5, 17))):
            batcher.submit(ticket, served, np.float32(values).tobytes(), len(values), 60)
        await turn()
        pool.link.take().refused()
        await turn()
        pool.link.take().lost()
        await turn()
        while pool.link.batches:
            pool.link.answer()
            await turn()
        assert (group.values(), single.values, large.values) == ([1, 2, 3], [4], list(range(5, 17)))
        assert sum(metrics.queue_wait.counts) == 5

    with_pool(scenario)


class Fragile(Watched):
    """A request that is not sent again after a loss, as a shadow's."""

    def retried(self, start: int, stop: int) -> list[Span]:
        """Ends the request."""
        self.fail(ModelFault("a worker died."))
        return []


@pytest.mark.parametrize("others", [0, 1])
def test_only_a_batch_that_is_sent_again_counts_as_sent_again(others: int) -> None:
    async def run() -> None:
        resent = 0

        def count() -> None:
            nonlocal resent
            resent += 1

        pool = Pool()
        batcher = Batcher(cast(WorkerPool, pool), max_batch_rows=8, max_queue_rows=40, on_resent=count)
        for ticket in (Fragile(), *(Watched() for _ in range(others))):
            batcher.submit(ticket, SERVED, np.float32([1]).tobytes(), 1, 60)
        await turn()
        pool.link.take().lost()
        await turn()
        assert resent == len(pool.link.batches) == others

    asyncio.run(run())


def test_a_deadline_ends_each_request_that_has_no_answer_yet() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        group = ask_together(batcher, *range(12), timeout=0.05)
        pool.link.answer()  # eight of them
        async with asyncio.timeout(20):
            while not group.done:
                await asyncio.sleep(0.005)
        assert group.values() == [*range(8), *[None] * 4]
        assert [type(ticket.error) for ticket in group.members[8:]] == [DeadlineExceeded] * 4
        assert batcher.waiting_rows() == batcher.waiting_requests == 0
        while pool.link.batches:  # a late answer changes nothing
            pool.link.answer()
            await turn()

    with_pool(scenario)


def test_a_worker_that_cannot_load_the_version_gives_the_group_back_whole() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        group = ask_together(batcher, 1, 2)
        pool.link.take().refused()
        await turn()
        assert pool.link.answer() == [2]
        assert group.values() == [1, 2]

    with_pool(scenario)


def test_a_group_that_finds_no_room_is_refused_and_holds_no_place() -> None:
    async def scenario(batcher: Batcher, pool: Pool) -> None:
        pool.up = 0
        ask(batcher, *range(39))
        with pytest.raises(QueueFull):
            ask_together(batcher, 1, 2)
        assert batcher.waiting_rows() == 39
        assert batcher.waiting_requests == 1

    with_pool(scenario)


def test_any_order_of_answers_losses_and_faults_ends_each_request_once() -> None:
    rng = np.random.default_rng(5)

    async def scenario(batcher: Batcher, pool: Pool) -> None:
        groups, singles, value = [], [], 0
        for _ in range(400):
            match int(rng.integers(5)):
                case 0:
                    count = int(rng.integers(1, 7))
                    groups.append((value, ask_together(batcher, *range(value, value + count))))
                    value += count
                case 1:
                    singles.append((value, ask(batcher, value)))
                    value += 1
                case 2 if pool.link.batches:
                    batch = pool.link.take()
                    if rng.random() < 0.2 and batch._kind.name == "RETRY":
                        batch.started()
                    batch.lost()
                case 3 if pool.link.batches:
                    batch = pool.link.take()
                    segments = sum(len(ticket.segments(a, b)) for ticket, a, b in batch.spans)
                    answer_with(batch, {int(rng.integers(segments)): "fault"} if rng.random() < 0.3 else {})
                case _:
                    if pool.link.batches:
                        pool.link.answer()
            await turn()
        while pool.link.batches:
            pool.link.answer()
            await turn()
        tickets = [(first + at, ticket) for first, group in groups for at, ticket in enumerate(group.members)]
        for number, ticket in [*tickets, *singles]:
            assert (ticket.values is None) != (ticket.error is None)
            assert ticket.values in (None, [number])
        assert batcher.waiting_rows() == batcher.waiting_requests == 0

    with_pool(cast(Callable[[Batcher, Pool], Coroutine[Any, Any, None]], scenario), max_queue_rows=10_000)
