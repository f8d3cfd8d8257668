"""A timer wheel for the deadlines of many requests: one timer; adding and removing take constant time."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

TICK_SECONDS = 0.01


class Expires(Protocol):
    """Something with a deadline on the event loop's clock."""

    deadline: float

    def expire(self) -> None:
        """Ends the item; called once the deadline has passed."""


class DeadlineWheel:
    """Calls `expire` on each item that was not removed before its deadline, at most one tick late."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ticks: dict[int, set[Expires]] = {}
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: Expires) -> None:
        """Adds an item, which expires at its deadline unless removed before."""
        tick = _tick(item.deadline)
        if self._timer is not None and tick < self._next:  # that tick is over
            item.expire()
            return
        members = self._ticks.get(tick)
        if members is None:
            self._ticks[tick] = {item}
        else:
            members.add(item)
        if self._timer is None:
            self._next = _tick(self._loop.time())
            self._turn()

    def remove(self, item: Expires) -> None:
        """Removes an item; does nothing if the item is not here."""
        tick = _tick(item.deadline)
        members = self._ticks.get(tick)
        if members is not None:
            members.discard(item)
            if not members:
                del self._ticks[tick]

    def _turn(self) -> None:
        """Expires the items of all ticks that are over, and sets the timer for the next tick."""
        now = self._loop.time()
        while self._next * TICK_SECONDS <= now:
            while members := self._ticks.get(self._next):  # items that others remove meanwhile do not expire
                members.pop().expire()
            self._ticks.pop(self._next, None)
            self._next += 1
        self._timer = self._loop.call_at(self._next * TICK_SECONDS, self._turn) if self._ticks else None


def _tick(deadline: float) -> int:
    """Returns the number of the first tick at or after the deadline."""
    return math.ceil(deadline / TICK_SECONDS)
