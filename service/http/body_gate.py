"""Lets large bodies come a few at a time, the oldest first.

What an API process has not room or time for stays with its client, whose sending the kernel stops: a thousand bodies of
a megabyte would fill the memory, push each other out of the caches, and be read too late, all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from service.batching.deadlines import DeadlineWheel
from service.http.exchange import Exchange

LARGE_BYTES = 1 << 16
_MOST_BYTES = 32 << 20  # of bodies that come or wait to be read, at a time; one may be larger by itself


class Entry:
    """One large body, held back or on its way.

    Attributes:
        deadline: end of its time on the event loop's clock, in seconds.
    """

    __slots__ = ("_expired", "_gate", "deadline", "exchange", "is_held", "size")

    def __init__(
        self, gate: BodyGate, exchange: Exchange, size: int, deadline: float, expired: Callable[[], None]
    ) -> None:
        self._gate = gate
        self._expired = expired
        self.exchange = exchange
        self.size = size
        self.deadline = deadline
        self.is_held = False

    def expire(self) -> None:
        """Ends a body that is held back, since its time is over. It stays with the client."""
        self._gate.leave(self, release=False)
        self._expired()


class BodyGate:
    """Holds large bodies back while others come or wait to be read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._deadlines = DeadlineWheel(loop)
        self._held: deque[Entry] = deque()
        self._held_bytes = 0
        self._bytes = 0  # of bodies let in
        self._loop = loop

    @property
    def bytes(self) -> int:
        """Bytes of all bodies here, held back or not."""
        return self._bytes + self._held_bytes

    def enter(self, exchange: Exchange, size: int, seconds: float, expired: Callable[[], None]) -> Entry:
        """Takes a body, whose head has come.

        Args:
            exchange: its request.
            size: number of its bytes.
            seconds: time that it may be held back.
            expired: function that is called when it was held back for so long.
        """
        entry = Entry(self, exchange, size, self._loop.time() + seconds, expired)
        if self._held or (self._bytes and self._bytes + size > _MOST_BYTES):
            entry.is_held = True
            self._held.append(entry)
            self._held_bytes += size
            self._deadlines.add(entry)
            exchange.hold_body()
        else:
            self._bytes += size
        return entry

    def has_come(self, entry: Entry) -> None:
        """Takes note that a body is there, as a short one may be that came with its head."""
        if entry.is_held:
            self._let_in(entry)

    def leave(self, entry: Entry, *, release: bool = True) -> None:
        """Forgets a body that was read, or will not be, and lets others in.

        Args:
            entry: the body.
            release: False leaves a body that is held back with its client.
        """
        if entry.is_held:
            self._end_hold(entry, release=release)
        else:
            self._bytes -= entry.size
        entry.size = 0
        while self._held:
            first = self._held[0]
            if not first.is_held:  # it ended, or came, before its turn
                self._held.popleft()
            elif self._bytes and self._bytes + first.size > _MOST_BYTES:
                break
            else:
                self._let_in(first)

    def _let_in(self, entry: Entry) -> None:
        self._end_hold(entry, release=True)
        self._bytes += entry.size

    def _end_hold(self, entry: Entry, *, release: bool) -> None:
        entry.is_held = False
        self._held_bytes -= entry.size
        self._deadlines.remove(entry)
        if release:
            entry.exchange.release_body()
