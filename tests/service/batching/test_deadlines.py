"""A deadline is met to within a tick, at any reading of the clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from service.batching.deadlines import TICK_SECONDS, DeadlineWheel


class FakeLoop:
    """A loop whose time the test advances."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.set_timers = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> object:
        self.set_timers += 1
        heapq.heappush(self.timers, (when, self.set_timers, callback))
        return object()

    def pass_until(self, then: float) -> None:
        while self.timers and self.timers[0][0] <= then:
            when, _, callback = heapq.heappop(self.timers)
            self.now = max(self.now, when)
            callback()
        self.now = then


class Item:
    def __init__(self, loop: FakeLoop, timeout: float) -> None:
        self.loop, self.deadline = loop, loop.now + timeout
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(self.loop.now)


def wheel(loop: FakeLoop) -> DeadlineWheel:
    clock: Any = loop
    return DeadlineWheel(clock)


def test_each_item_expires_once_and_at_most_a_tick_late() -> None:
    rng = random.Random(0)
    loop = FakeLoop(123.4567)
    deadlines = wheel(loop)
    items, removed = [], []
    for _ in range(500):
        loop.pass_until(loop.now + rng.uniform(0, 0.02))
        items.append(Item(loop, rng.choice([1e-6, 0.004, 0.3, 5.0]) * rng.random()))
        deadlines.add(items[-1])
        if rng.random() < 0.2:
            removed.append(items.pop())
            deadlines.remove(removed[-1])
    loop.pass_until(loop.now + 10)
    for item in items:
        [at] = item.expired
        assert item.deadline <= at <= item.deadline + 2 * TICK_SECONDS
    assert all(len(item.expired) <= 1 for item in removed)
    assert not loop.timers, "nothing is watched, so nothing should wake the process"


@pytest.mark.parametrize("timeout", [1e-300, 1e-12])
def test_a_deadline_in_the_tick_that_has_just_been_is_not_forgotten(timeout: float) -> None:
    loop = FakeLoop(1.0)  # uvloop's clock stands still during callbacks, on a whole millisecond
    deadlines = wheel(loop)
    deadlines.add(Item(loop, 60))
    loop.pass_until(1.5)
    late = Item(loop, timeout)
    deadlines.add(late)
    loop.pass_until(2.0)
    assert len(late.expired) == 1


def test_removing_what_is_not_there_does_no_harm() -> None:
    loop = FakeLoop()
    deadlines, item = wheel(loop), Item(loop, 1)
    deadlines.remove(item)
    deadlines.add(item)
    deadlines.remove(item)
    deadlines.remove(item)
    loop.pass_until(5)
    assert item.expired == []


def test_an_item_that_another_removes_in_the_same_tick_does_not_expire() -> None:
    loop = FakeLoop()
    under_test = wheel(loop)

    class Remover(Item):
        """An item that removes all others, and adds one that is due in the same tick."""

        def expire(self) -> None:
            super().expire()
            for other in items:
                under_test.remove(other)
            under_test.add(late)

    items = [Remover(loop, 0.05) for _ in range(5)]
    late = Item(loop, 0.05)
    for item in items:
        under_test.add(item)
    loop.pass_until(1.0)
    assert sum(len(item.expired) for item in items) == 1
    assert len(late.expired) == 1
