"""Decompression of request bodies, step by step.

The output of a step is bounded, so neither a large body nor a decompression bomb blocks the event loop. Bodies with
more than one step wait in a queue of the process, which runs step after step between other work.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from typing import Protocol

CODINGS = ("gzip", "deflate")

STEP_BYTES = 128 * 1024  # output of one step, which takes 0.3 to 0.6 ms
_TURN_SECONDS = 0.001
_MEMBER_COST = 4096  # the cost of a new gzip member in bytes of output: a body may consist of empty members only
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


class Inflater:
    """The decompressor of one body.

    Args:
        coding: `gzip`, with one or more members, or `deflate`: a zlib stream, or the raw deflate stream that some
            clients send instead.
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
        """Adds compressed bytes."""
        self._pending += data

    def end(self) -> None:
        """Marks the end of the compressed bytes."""
        self._is_last = True

    def step(self) -> tuple[bytes, bool]:
        """Decompresses up to `STEP_BYTES` of output.

        Returns:
            The output, and True if the bytes so far need another step.

        Raises:
            ValueError: the bytes are not valid in the coding, or they end too early.
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
        """Returns True if a stream can take bytes; makes the first `deflate` stream, or the next gzip member."""
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
    """A body that needs more steps."""

    def step(self) -> bool:
        """Runs one step; returns True if the body needs another."""


class InflationQueue:
    """A queue of all bodies of a process that need more steps; the bodies take turns, step by step."""

    def __init__(self) -> None:
        self._waiting: deque[Stepping] = deque()
        self._is_scheduled = False

    def add(self, body: Stepping) -> None:
        """Adds a body."""
        self._waiting.append(body)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Runs steps for `_TURN_SECONDS`, and then gives the event loop to other work."""
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
