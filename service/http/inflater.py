"""Request bodies that come compressed, inflated step by step.

A step's output is bounded, so that neither a large body nor one made to swell holds the event loop. What a client sent
beyond a step waits in a queue of the process, which takes one step after another between its other work.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from typing import Protocol

CODINGS = ("gzip", "deflate")

STEP_BYTES = 128 * 1024  # of output, 0.3 to 0.6 ms
_TURN_SECONDS = 0.001
_MEMBER_COST = 4096  # what beginning a gzip member costs, in bytes of output: a body may be nothing but empty members
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class Inflater:
    """Inflates one body.

    Args:
        coding: `gzip`, of one member or several, or `deflate`: a zlib stream, or the bare deflate stream that some
            clients send in its place.
    """

    __slots__ = ("_coding", "_is_last", "_pending", "_stream")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._pending = b""
        self._is_last = False
        self._stream = zlib.decompressobj(_GZIP_BITS) if coding == "gzip" else None

    @property
    def pending_bytes(self) -> int:
        """Number of compressed bytes that wait for a step."""
        return len(self._pending)

    def feed(self, data: bytes) -> None:
        """Takes compressed bytes."""
        self._pending += data

    def end(self) -> None:
        """Takes note that no more bytes will come."""
        self._is_last = True

    def step(self) -> tuple[bytes, bool]:
        """Inflates up to `STEP_BYTES`.

        Returns:
            The output, and True if there is more to do with the bytes that have come.

        Raises:
            ValueError: the bytes are not of the coding, or they end too early.
        """
        output: list[bytes] = []
        room = STEP_BYTES
        try:
            while room > 0 and self._begin():
                assert self._stream is not None  # noqa: S101 -- `_begin` has made it
                data = self._stream.decompress(self._pending, room)
                output.append(data)
                room -= len(data)
                if self._stream.eof:
                    self._pending = self._stream.unused_data
                    room -= _MEMBER_COST
                    continue
                self._pending = self._stream.unconsumed_tail
                break  # the output is full, or the input is used up
        except zlib.error as error:
            raise ValueError(f"the body is not {self._coding}") from error
        more = room <= 0
        if not more and self._is_last and not (self._stream is not None and self._stream.eof):
            raise ValueError(f"the body ends before its {self._coding} stream does")
        return b"".join(output), more

    def _begin(self) -> bool:
        """Returns True if a stream is there that goes on; makes the first `deflate` stream, and gzip's next member."""
        stream = self._stream
        if stream is None:  # deflate, by its first two bytes: RFC 1950, 2.2
            if len(self._pending) < 2 and not self._is_last:
                return False
            head = int.from_bytes(self._pending[:2].ljust(2, b"\0"), "big")
            is_zlib = head >> 8 & 0x0F == 8 and head % 31 == 0
            self._stream = zlib.decompressobj(_ZLIB_BITS if is_zlib else _RAW_BITS)
            return True
        if not stream.eof:
            return True
        if not self._pending:
            return False
        if self._coding != "gzip":
            raise ValueError("the body goes on behind its deflate stream")
        self._stream = zlib.decompressobj(_GZIP_BITS)
        return True


class Stepping(Protocol):
    """A body with more steps to do."""

    def step(self) -> bool:
        """Does one; returns True if there are more."""


class InflationQueue:
    """Bodies of all connections of a process that have more steps to do, one step each in turn."""

    def __init__(self) -> None:
        self._waiting: deque[Stepping] = deque()
        self._is_scheduled = False

    def add(self, body: Stepping) -> None:
        """Puts a body in the queue."""
        self._waiting.append(body)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Does what fits into `_TURN_SECONDS`, and leaves the loop to others."""
        end = time.perf_counter() + _TURN_SECONDS
        try:
            while self._waiting and time.perf_counter() < end:
                body = self._waiting.popleft()
                if body.step():
                    self._waiting.append(body)
        finally:
            self._is_scheduled = bool(self._waiting)
            if self._is_scheduled:
                asyncio.get_running_loop().call_soon(self._turn)
