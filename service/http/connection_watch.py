"""The watch over all connections of a process: time limits by one timer, and the bytes of buffered bodies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from service.buffer_memory import buffer_memory
from service.http.compression import CompressionBudget, CompressionQueue
from service.http.inflater import InflationQueue

_SWEEP_SECONDS = 0.5
_LINGER_SECONDS = 2.0  # a refused body is read and dropped for this time; a reset could destroy the refusal
# Beyond the limit, this many connections may wait for their first request, linger, or be probes that are answered.
_RESERVE = 64
_RESERVE_SECONDS = 1.0  # time for a first request; a probe's arrives at once


class Phase(IntEnum):
    """The phases of a connection, each with a time limit."""

    HEAD = 0
    BODY = 1
    HANDLING = 2
    IDLE = 3
    LINGERING = 4


class Watched(Protocol):
    """A connection under the watch.

    Attributes:
        phase: present phase of the connection.
        since: start of this phase on the watch's clock, in seconds.
    """

    phase: Phase
    since: float

    def reads(self) -> bool:
        """Returns True if the client reads the answers fast enough."""

    def turn_away(self) -> None:
        """Refuses a connection in the reserve, because there are too many connections."""

    def timed_out(self) -> None:
        """Ends a connection whose time is over."""


@dataclass(frozen=True)
class HttpLimits:
    """The limits of the connections.

    Attributes:
        header_seconds: time limit of a request's head.
        body_seconds: time limit of a request's body.
        idle_seconds: time limit between two requests.
        max_connections: largest number of connections of one API process.
        max_body_bytes: largest size of a body.
        max_buffered_bytes: largest size of all bodies that one API process holds.
        root_path: path under which a proxy serves the API; probes are recognised by their paths.
    """

    header_seconds: float
    body_seconds: float
    idle_seconds: float
    max_connections: int
    max_body_bytes: int
    max_buffered_bytes: int
    root_path: bytes = b""


class ConnectionWatch:
    """A watch that closes connections that take too long, by one timer, and counts the bytes of buffered bodies.

    Args:
        limits: limits of the connections.
        on_refused: function that is called for each refused connection.
    """

    def __init__(self, limits: HttpLimits, on_refused: Callable[[], None] = lambda: None) -> None:
        self.limits = limits
        self.now = self._swept = time.monotonic()
        self.buffered_bytes = 0
        self.inflations = InflationQueue()
        self.compressions = CompressionBudget()
        self.compression_queue = CompressionQueue()
        self._on_refused = on_refused
        self.draining = False  # True if the server is about to stop: each connection's next answer is the last
        self._allowed = (limits.header_seconds, limits.body_seconds, None, limits.idle_seconds, _LINGER_SECONDS)
        self._connections: set[Watched] = set()
        self._reserve: dict[Watched, float] = {}  # time of arrival by connection; oldest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Watches a connection until `remove`."""
        self._reserve.pop(connection, None)
        self._connections.add(connection)
        self._start_timer()

    def add_to_reserve(self, connection: Watched) -> None:
        """Lets a connection beyond the limit wait for a first request; refuses the oldest if too many wait."""
        self._reserve[connection] = self.now
        self._start_timer()
        if len(self._reserve) > _RESERVE:
            next(iter(self._reserve)).turn_away()

    def refuse(self, connection: Watched) -> None:
        """Counts and removes a refused connection."""
        self.remove(connection)
        self._on_refused()

    def remove(self, connection: Watched) -> None:
        """Removes a connection."""
        self._reserve.pop(connection, None)
        self._connections.discard(connection)

    @property
    def full(self) -> bool:
        """True if no more connections are allowed."""
        return len(self._connections) >= self.limits.max_connections

    @property
    def crowded(self) -> bool:
        """True if half of the allowed connections are open."""
        return 2 * len(self._connections) >= self.limits.max_connections

    @property
    def may_linger(self) -> bool:
        """True if a refused connection may stay until the client has read the refusal."""
        return len(self._connections) < self.limits.max_connections + _RESERVE

    @property
    def takes_probes(self) -> bool:
        """True if a probe on a new connection is answered. The limit leaves room beside lingering connections."""
        return len(self._connections) < self.limits.max_connections + 2 * _RESERVE

    def _start_timer(self) -> None:
        if self._timer is None:
            self._swept = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        # The watch has its own clock, which stops while the event loop is blocked: the bytes of a punctual client are
        # in the socket's buffer then.
        now = time.monotonic()
        self.now += min(now - self._swept, 2 * _SWEEP_SECONDS)
        self._swept = now
        buffer_memory.report("http", self.buffered_bytes)
        for connection in [c for c in self._connections if self._is_late(c)]:
            connection.timed_out()
        for connection in [c for c, came in self._reserve.items() if self.now - came > _RESERVE_SECONDS]:
            connection.turn_away()
        is_needed = self._connections or self._reserve
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep) if is_needed else None

    def _is_late(self, connection: Watched) -> bool:
        if not connection.reads():
            return True
        allowed = self._allowed[connection.phase]
        return allowed is not None and self.now - connection.since > allowed
