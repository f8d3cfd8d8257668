"""The gate for large bodies: receives a few bodies at a time, the oldest first.

If an API process has no room or time for a body, the process does not read it, and the kernel makes the client wait.
Otherwise a thousand bodies of a megabyte would fill the memory, push each other out of the caches, and all be read too
late. A client that sends slowly or not at all does not delay others: after a quarter of a second, its incomplete body
no longer counts against the limit.

A body that is refused at the gate has cost nearly nothing. The gate also tells when a refused client may send again:
the times are as far apart as the process needs to read one body, so that refused clients do not return all at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from service.batching.batcher import MOST_OF_DEADLINE
from service.batching.deadlines import DeadlineWheel
from service.http.exchange import Exchange

LARGE_BYTES = 1 << 16
_MOST_BYTES = 32 << 20  # all bodies that are arriving or wait to be parsed; a single body may be larger
_SLOW_SECONDS = 0.25
_FIRST_RETURN_SECONDS, _LAST_RETURN_SECONDS = 1.0, 10.0  # `Retry-After` has whole seconds, and a client may not obey it
_MOST_COMING = _MOST_BYTES // 8  # the most that an incomplete body counts for: a client can claim any size for free


class _State(Enum):
    HELD = auto()  # not read; the bytes stay with the client
    COMING = auto()  # arriving
    SLOW = auto()  # arriving, and no longer counted
    THERE = auto()  # complete, waits to be parsed
    LEFT = auto()  # parsed or given up


class Entry:
    """One large body in the gate.

    Attributes:
        answer_by: deadline of the request on the event loop's clock, in seconds.
        deadline: end of the present state on the event loop's clock, in seconds.
    """

    __slots__ = ("_expired", "_gate", "answer_by", "deadline", "exchange", "size", "state")

    def __init__(
        self, gate: BodyGate, exchange: Exchange, size: int, answer_by: float, expired: Callable[[], None]
    ) -> None:
        self._gate = gate
        self._expired = expired
        self.exchange = exchange
        self.size = size
        self.answer_by = answer_by
        self.deadline = 0.0
        self.state = _State.LEFT

    @property
    def is_held(self) -> bool:
        """True while the rest of the body stays with the client."""
        return self.state is _State.HELD

    def expire(self) -> None:
        """Ends the present state: refuses a held body, and marks an arriving body as slow."""
        if self.is_held:
            self._gate.leave(self, release=False)
            self._expired()
        else:
            self._gate.is_slow(self)


class BodyGate:
    """A gate that holds large bodies back while others arrive or wait to be parsed.

    Args:
        loop: event loop of the process.
        seconds_for: function that estimates the time to read a number of bytes, in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds_for: Callable[[int], float]) -> None:
        self._deadlines = DeadlineWheel(loop)
        self._held: deque[Entry] = deque()  # held bodies, and those that left or arrived in the meantime
        self._bytes = 0  # sum of the weights of all bodies
        self._loop = loop
        self._seconds_for = seconds_for
        self._next_return = 0.0  # time on the loop's clock at which the next refused client may send again

    @property
    def bytes(self) -> int:
        """Number of bytes that count for the bodies that arrive or wait to be parsed."""
        return self._bytes

    def enter(self, exchange: Exchange, size: int, seconds: float, expired: Callable[[], None]) -> Entry:
        """Adds a body after the request's head has arrived.

        Args:
            exchange: request of the body.
            size: number of bytes in the body.
            seconds: time until the request's deadline, in seconds.
            expired: function that is called if the body was held for too much of this time; the body stays with the
                client.
        """
        entry = Entry(self, exchange, size, self._loop.time() + seconds, expired)
        self._let_in()
        if self._held or not self._has_room(entry):
            self._held.append(entry)
            exchange.hold_body()  # first, because a deadline that is over refuses the body at once
            self._set(entry, _State.HELD, MOST_OF_DEADLINE * seconds)
        else:
            self._set(entry, _State.COMING, _SLOW_SECONDS)
        return entry

    def has_come(self, entry: Entry) -> None:
        """Marks a body as complete."""
        was_held = entry.is_held
        self._set(entry, _State.THERE)
        if was_held:  # the body was short, and arrived together with the head
            entry.exchange.release_body()

    def is_slow(self, entry: Entry) -> None:
        """Marks a body as slow, so that other bodies can enter."""
        self._set(entry, _State.SLOW)
        self._let_in()

    def leave(self, entry: Entry, *, release: bool = True) -> None:
        """Removes a body that was parsed or given up, and lets other bodies in.

        Args:
            entry: entry of the body.
            release: False to leave a held body with the client.
        """
        was_held = entry.is_held
        self._set(entry, _State.LEFT)
        if was_held and release:
            entry.exchange.release_body()
        self._let_in()

    def return_seconds(self, size: int) -> float:
        """Returns the time after which a refused client may send its body again, in seconds.

        Args:
            size: number of bytes of the body.
        """
        now = self._loop.time()
        first = now + _FIRST_RETURN_SECONDS
        self._next_return = max(self._next_return, first) + self._seconds_for(size)
        if self._next_return > now + _LAST_RETURN_SECONDS:
            self._next_return = first  # there are too many for any pause; they still must not return all at once
        return self._next_return - now

    def _let_in(self) -> None:
        while self._held and (not self._held[0].is_held or self._has_room(self._held[0])):
            entry = self._held.popleft()
            if entry.is_held:
                self._set(entry, _State.COMING, _SLOW_SECONDS)
                entry.exchange.release_body()

    def _has_room(self, entry: Entry) -> bool:
        """Returns True if there are memory and time for a body, behind those that have been let in.

        A body that comes and is then read too late costs as much as one that is answered.
        """
        if not self._bytes:
            return True
        if self._seconds_for(self._bytes) > MOST_OF_DEADLINE * (entry.answer_by - self._loop.time()):
            return False
        return self._bytes + min(entry.size, _MOST_COMING) <= _MOST_BYTES

    def _set(self, entry: Entry, state: _State, seconds: float | None = None) -> None:
        """Sets the state of an entry, for at most `seconds`."""
        if entry.deadline:
            self._deadlines.remove(entry)
        self._bytes += _weight(entry.size, state) - _weight(entry.size, entry.state)
        entry.state = state
        entry.deadline = 0.0
        if seconds is not None:
            entry.deadline = self._loop.time() + seconds
            self._deadlines.add(entry)


def _weight(size: int, state: _State) -> int:
    """Returns the number of bytes for which a body of this size counts in a state."""
    if state is _State.THERE:
        return size
    return min(size, _MOST_COMING) if state is _State.COMING else 0
