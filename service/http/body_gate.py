"""Lets large bodies come a few at a time, the oldest first.

What an API process has not room or time for stays with its client, whose sending the kernel stops: a thousand bodies of
a megabyte would fill the memory, push each other out of the caches, and be read too late, all of them. A client that
sends slowly, or not at all, keeps nobody waiting: after a quarter of a second its body counts only once it is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from service.batching.deadlines import DeadlineWheel
from service.http.exchange import Exchange

LARGE_BYTES = 1 << 16
_MOST_BYTES = 32 << 20  # of bodies that come or wait to be read, at a time; one may be larger by itself
_SLOW_SECONDS = 0.25
_MOST_COMING = _MOST_BYTES // 8  # what one body counts for before it is there: a head costs its client nothing


class _State(Enum):
    HELD = auto()
    COMING = auto()
    SLOW = auto()
    THERE = auto()
    LEFT = auto()


class Entry:
    """One large body.

    Attributes:
        deadline: end of its present state on the event loop's clock, in seconds.
    """

    __slots__ = ("_expired", "_gate", "deadline", "exchange", "size", "state")

    def __init__(self, gate: BodyGate, exchange: Exchange, size: int, expired: Callable[[], None]) -> None:
        self._gate = gate
        self._expired = expired
        self.exchange = exchange
        self.size = size
        self.deadline = 0.0
        self.state = _State.LEFT

    @property
    def is_held(self) -> bool:
        """Whether the rest of the body is left with its client."""
        return self.state is _State.HELD

    def expire(self) -> None:
        """Ends its state: one that is held back is refused, and one that comes is slow."""
        if self.is_held:
            self._gate.leave(self, release=False)
            self._expired()
        else:
            self._gate.is_slow(self)


class BodyGate:
    """Holds large bodies back while others come or wait to be read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._deadlines = DeadlineWheel(loop)
        self._held: deque[Entry] = deque()  # and those that ended, or came, while they were held back
        self._bytes = 0  # of the bodies that count
        self._loop = loop

    @property
    def bytes(self) -> int:
        """Bytes for which the bodies count that come or wait to be read."""
        return self._bytes

    def enter(self, exchange: Exchange, size: int, seconds: float, expired: Callable[[], None]) -> Entry:
        """Takes a body, whose head has come.

        Args:
            exchange: its request.
            size: number of its bytes.
            seconds: time that it may be held back.
            expired: function that is called when it was held back for so long; the body stays with its client.
        """
        entry = Entry(self, exchange, size, expired)
        self._let_in()
        if self._held or not self._has_room(size):
            self._held.append(entry)
            self._set(entry, _State.HELD, seconds)
            exchange.hold_body()
        else:
            self._set(entry, _State.COMING, _SLOW_SECONDS)
        return entry

    def has_come(self, entry: Entry) -> None:
        """Takes note that a body is there."""
        was_held = entry.is_held
        self._set(entry, _State.THERE)
        if was_held:  # it was short, and came with its head
            entry.exchange.release_body()

    def is_slow(self, entry: Entry) -> None:
        """Takes note that a body is long in coming: others need not wait for it."""
        self._set(entry, _State.SLOW)
        self._let_in()

    def leave(self, entry: Entry, *, release: bool = True) -> None:
        """Forgets a body that was read, or will not be, and lets others in.

        Args:
            entry: the body.
            release: False leaves a body that is held back with its client.
        """
        was_held = entry.is_held
        self._set(entry, _State.LEFT)
        if was_held and release:
            entry.exchange.release_body()
        self._let_in()

    def _let_in(self) -> None:
        while self._held and (not self._held[0].is_held or self._has_room(self._held[0].size)):
            entry = self._held.popleft()
            if entry.is_held:
                self._set(entry, _State.COMING, _SLOW_SECONDS)
                entry.exchange.release_body()

    def _has_room(self, size: int) -> bool:
        return not self._bytes or self._bytes + min(size, _MOST_COMING) <= _MOST_BYTES

    def _set(self, entry: Entry, state: _State, seconds: float | None = None) -> None:
        """Changes an entry's state, for at most so many seconds."""
        if entry.deadline:
            self._deadlines.remove(entry)
        self._bytes += _weight(entry.size, state) - _weight(entry.size, entry.state)
        entry.state = state
        entry.deadline = 0.0
        if seconds is not None:
            entry.deadline = self._loop.time() + seconds
            self._deadlines.add(entry)


def _weight(size: int, state: _State) -> int:
    """Returns the number of bytes for which a body of some size counts."""
    if state is _State.THERE:
        return size
    return min(size, _MOST_COMING) if state is _State.COMING else 0
