"""The event loop stays awake for a lone client that asks without a pause, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

from service.batching.wakefulness import Wakefulness


class Loop:
    """A loop that holds its next calls."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        """Makes the calls of one turn."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def awake() -> tuple[Loop, Wakefulness]:
    """Returns a loop that a lone client keeps awake."""
    loop = Loop()
    wakefulness = Wakefulness(cast(asyncio.AbstractEventLoop, cast(Any, loop)))
    deadline = time.monotonic() + 20
    while not loop.calls:  # again if the test itself was held up between two requests
        assert time.monotonic() < deadline
        wakefulness.request_sent()
        wakefulness.request_answered()
    return loop, wakefulness


def test_a_lone_client_keeps_the_loop_awake_until_it_pauses() -> None:
    loop, wakefulness = awake()
    wakefulness.request_sent()
    loop.turn()
    assert len(loop.calls) == 1, "one poll for each turn"
    deadline = time.monotonic() + 20
    while loop.calls:
        loop.turn()
        assert time.monotonic() < deadline


def test_the_loop_sleeps_as_soon_as_others_come() -> None:
    loop, wakefulness = awake()
    wakefulness.others_came()
    loop.turn()
    assert not loop.calls


def test_a_few_requests_or_requests_with_pauses_keep_nothing_awake() -> None:
    loop = Loop()
    wakefulness = Wakefulness(cast(asyncio.AbstractEventLoop, cast(Any, loop)))
    for _ in range(4):
        wakefulness.request_sent()
        wakefulness.request_answered()
    for _ in range(20):
        time.sleep(0.001)
        wakefulness.request_sent()
        wakefulness.request_answered()
    assert not loop.calls


def test_turns_without_work_are_counted_and_requests_are_not() -> None:
    loop, wakefulness = awake()
    wakefulness.request_sent()
    before = wakefulness.idle_seconds
    loop.turn()
    time.sleep(0.0001)
    loop.turn()
    idle = wakefulness.idle_seconds - before
    assert idle >= 0.0001
    if loop.calls:
        wakefulness.request_answered()
        time.sleep(0.001)  # the turn in which a request came, with its work
        loop.turn()
        assert wakefulness.idle_seconds - before - idle < 0.001
