"""The watch over the gRPC connections of a process: limits by one timer, and the drain."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from service.buffer_memory import buffer_memory
from service.errors import DeadlineExceeded
from service.grpc.stream import HeldBytes, Stream
from service.logs import LimitedLog, get_logger
from service.settings import Settings

_SWEEP_SECONDS = 0.5
_LINGER_SECONDS = 2.0  # time in which a client closes a connection that the server has ended

limited_log = LimitedLog(get_logger(__name__))


class Watched(Protocol):
    """A connection under the watch.

    Attributes:
        streams: open streams by number.
        since: time of the last progress on the watch's clock, in seconds.
        is_draining: True once the connection is about to close.
        is_ending: True once nothing more is sent.
        is_greeted: True once the client has begun to speak.
    """

    streams: dict[int, Stream]
    since: float
    is_draining: bool
    is_ending: bool
    is_greeted: bool

    @property
    def is_waiting_for_client(self) -> bool:
        """True if answers wait until the client reads."""

    def regain_patience(self) -> None:
        """Forgives frames without use."""

    def drain(self) -> None:
        """Asks the client to use another connection."""

    def end_idle(self) -> None:
        """Closes a connection without calls."""

    def end_slow(self, seconds: float) -> None:
        """Refuses calls whose message takes longer to come."""

    def abort(self) -> None:
        """Cuts the connection."""


@dataclass(frozen=True)
class GrpcLimits:
    """The limits of the connections.

    Attributes:
        header_seconds: time limit for a client's greeting, in seconds.
        body_seconds: time limit for a message, in seconds.
        idle_seconds: time that a connection stays open between two calls, in seconds.
        max_connections: largest number of connections.
        max_body_bytes: largest number of bytes of a message.
        max_buffered_bytes: largest number of bytes of all messages.
    """

    header_seconds: float
    body_seconds: float
    idle_seconds: float
    max_connections: int
    max_body_bytes: int
    max_buffered_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> GrpcLimits:
        """Returns the limits of the settings."""
        return cls(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            idle_seconds=settings.idle_seconds,
            max_connections=settings.max_connections,
            max_body_bytes=settings.max_body_bytes,
            max_buffered_bytes=settings.max_buffered_bytes,
        )


class ConnectionWatch:
    """The watch over all gRPC connections of a process.

    Args:
        limits: limits of the connections.

    Attributes:
        limits: limits of the connections.
        held: number of bytes of messages that the process holds.
        now: time on the watch's clock, in seconds; coarse.
        is_draining: True once the process is about to stop: each connection closes after its calls.
        too_slow: error for a call that has not come in time.
    """

    def __init__(self, limits: GrpcLimits) -> None:
        self.limits = limits
        self.held = HeldBytes(limits.max_buffered_bytes)
        self.now = time.perf_counter()
        self.is_draining = False
        self.too_slow = DeadlineExceeded(f"the message did not come within {limits.body_seconds:g} s.")
        self._connections: set[Watched] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def add(self, connection: Watched) -> bool:
        """Takes a new connection; returns False if there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            limited_log.warning("a gRPC connection was refused: there are too many", limit=self.limits.max_connections)
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def discard(self, connection: Watched) -> None:
        """Forgets a connection that has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def age(self, stream: Stream) -> float:
        """Returns the time since the head of a call, in seconds."""
        return self.now - stream.started

    def drain(self) -> None:
        """Makes each connection close once its calls are answered."""
        self.is_draining = True
        for connection in list(self._connections):
            connection.drain()

    async def finish(self, seconds: float) -> None:
        """Waits until all connections have closed, and cuts those that are left after some seconds."""
        self.drain()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
        self._timer.cancel()

    def _sweep(self) -> None:
        """Looks after all connections."""
        self.now = time.perf_counter()
        buffer_memory.report("grpc", self.held.now)
        limits = self.limits
        for connection in list(self._connections):
            connection.regain_patience()
            idle = self.now - connection.since
            if connection.is_ending:
                if idle > _LINGER_SECONDS:
                    connection.abort()
            elif connection.streams:
                connection.end_slow(limits.body_seconds)
                if connection.is_waiting_for_client and idle > limits.idle_seconds:
                    connection.abort()
            elif connection.is_draining:
                if idle > limits.header_seconds:  # the client ignores GOAWAY and PING
                    connection.abort()
            elif idle > (limits.idle_seconds if connection.is_greeted else limits.header_seconds):
                connection.end_idle()
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
