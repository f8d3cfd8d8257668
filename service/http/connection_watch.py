"""Time limits of all connections of a process by one timer, and the count of bytes that their bodies hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from service.http.compression import CompressionBudget
from service.http.inflater import InflationQueue

_SWEEP_SECONDS = 0.5
_LINGER_SECONDS = 2.0  # a refused body is read and dropped this long, so that the refusal is not lost to a reset
# Beyond the limit so many more wait for their first request, so many linger, and so many probes are answered.
_RESERVE = 64
_RESERVE_SECONDS = 1.0  # for a first request to come, as a probe's does at once


class Phase(IntEnum):
    """What a connection is doing, as far as time limits go."""

    HEAD = 0
    BODY = 1
    HANDLING = 2
    IDLE = 3
    LINGERING = 4


class Watched(Protocol):
    """A connection, as the watch sees it: what it does, and from when on, by the watch's clock."""

    phase: Phase
    since: float

    def reads(self) -> bool:
        """Returns True if the client takes its answers, as far as can be seen."""

    def turn_away(self) -> None:
        """Refuses the connection: there are too many, and it is waiting in the reserve."""

    def timed_out(self) -> None:
        """It takes too long."""


@dataclass(frozen=True)
class HttpLimits:
    """Seconds for a request's head and body and between requests; connections; bytes of one body and of all.

    `root_path` is a path of a proxy that may stand before ours: probes are known by their paths.
    """

    header_seconds: float
    body_seconds: float
    idle_seconds: float
    max_connections: int
    max_body_bytes: int
    max_buffered_bytes: int
    root_path: bytes = b""


class ConnectionWatch:
    """Closes connections that take too long, by one timer for all of them; and counts the bytes that bodies hold."""

    def __init__(self, limits: HttpLimits, on_refused: Callable[[], None] = lambda: None) -> None:
        self.limits = limits
        self.now = self._swept = time.monotonic()
        self.buffered_bytes = 0
        self.inflations = InflationQueue()
        self.compressions = CompressionBudget()
        self._on_refused = on_refused
        self.draining = False  # the server is about to stop: each connection's next answer is its last
        self._allowed = (limits.header_seconds, limits.body_seconds, None, limits.idle_seconds, _LINGER_SECONDS)
        self._connections: set[Watched] = set()
        self._reserve: dict[Watched, float] = {}  # by when they came, oldest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Watched) -> None:
        """Watches a connection until it is removed."""
        self._reserve.pop(connection, None)
        self._connections.add(connection)
        self._start_timer()

    def add_to_reserve(self, connection: Watched) -> None:
        """Lets a connection beyond the limit wait for its first request; the one that waited longest makes room."""
        self._reserve[connection] = self.now
        self._start_timer()
        if len(self._reserve) > _RESERVE:
            next(iter(self._reserve)).turn_away()

    def refuse(self, connection: Watched) -> None:
        """Counts a connection that is turned away, and forgets it."""
        self.remove(connection)
        self._on_refused()

    def remove(self, connection: Watched) -> None:
        """Forgets a connection."""
        self._reserve.pop(connection, None)
        self._connections.discard(connection)

    @property
    def full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return len(self._connections) >= self.limits.max_connections

    @property
    def may_linger(self) -> bool:
        """Whether a connection that was refused may stay until its client has read that."""
        return len(self._connections) < self.limits.max_connections + _RESERVE

    @property
    def takes_probes(self) -> bool:
        """Whether one more probe is answered. Those that linger leave room for them."""
        return len(self._connections) < self.limits.max_connections + 2 * _RESERVE

    def _start_timer(self) -> None:
        if self._timer is None:
            self._swept = time.monotonic()
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        # Its own clock, which stands while the event loop is held up: the bytes of a client that is punctual lie in its
        # socket then.
        now = time.monotonic()
        self.now += min(now - self._swept, 2 * _SWEEP_SECONDS)
        self._swept = now
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
