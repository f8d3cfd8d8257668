"""The event loop stays awake for a lone client that asks without a pause, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

import service.batching.wakefulness
from service.batching.wakefulness import Wakefulness

PAUSE_SECONDS = 0.001  # longer than the loop stays awake


class Clock:
    """A clock that the test moves: on a busy machine a pause of the test would look like one of the client."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def perf_counter(self) -> float:
        return self.seconds


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Returns the clock that the loop's wakefulness reads."""
    clock = Clock()
    monkeypatch.setattr(service.batching.wakefulness, "time", clock)
    return clock


def awake() -> tuple[Loop, Wakefulness]:
    """Returns a loop that a lone client keeps awake."""
    loop, wakefulness = asleep()
    for _ in range(5):
        assert not loop.calls
        wakefulness.request_sent()
        wakefulness.request_answered()
    assert len(loop.calls) == 1
    return loop, wakefulness


def asleep() -> tuple[Loop, Wakefulness]:
    """Returns a loop that nobody has asked for anything."""
    loop = Loop()
    return loop, Wakefulness(cast(asyncio.AbstractEventLoop, cast(Any, loop)))


def test_a_lone_client_keeps_the_loop_awake_until_it_pauses(clock: Clock) -> None:
    loop, wakefulness = awake()
    wakefulness.request_sent()
    for _ in range(25):
        loop.turn()
        assert len(loop.calls) == 1, "one poll for each turn"
        clock.seconds += 10e-6
    clock.seconds += PAUSE_SECONDS
    loop.turn()
    assert not loop.calls


def test_the_loop_sleeps_as_soon_as_others_come(clock: Clock) -> None:
    loop, wakefulness = awake()
    wakefulness.others_came()
    loop.turn()
    assert not loop.calls


def test_a_few_requests_or_requests_with_pauses_keep_nothing_awake(clock: Clock) -> None:
    loop, wakefulness = asleep()
    for _ in range(4):
        wakefulness.request_sent()
        wakefulness.request_answered()
    for _ in range(20):
        clock.seconds += PAUSE_SECONDS
        wakefulness.request_sent()
        wakefulness.request_answered()
    assert not loop.calls


def test_turns_without_work_are_counted_and_requests_are_not(clock: Clock) -> None:
    loop, wakefulness = awake()
    clock.seconds += 50e-6
    wakefulness.request_sent()
    clock.seconds += 50e-6  # the request's own work
    loop.turn()
    clock.seconds += 100e-6
    loop.turn()
    assert wakefulness.idle_seconds == pytest.approx(100e-6)
