"""Compression of answers with gzip or deflate, for clients that ask for compression and answers of a worthwhile size.

The level is 1, by measurement: it reduces an answer with probabilities to 33 % of the size. Level 6 reduces the answer
to 30 % and takes six times as long (docs/decisions/0019).
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from service.http.request_head import list_items
from service.logs import LimitedLog, get_logger

#: Smallest prediction that is compressed: below this size, compression saves no round trip and costs time.
WORTH_BYTES = 8 * 1024
#: Size from which a thread compresses; below it, compression takes at most 0.6 ms.
THREAD_BYTES = 64 * 1024
#: Bytes of all answers that one turn of the event loop compresses, in 0.6 to 0.9 ms.
TURN_BYTES = 64 * 1024

VARY = (b"vary", b"accept-encoding")

_LEVEL = 1
_FINISHED_A_TURN = 32  # compressed answers that one turn of the event loop sends, in about a millisecond
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
_MAX_KNOWN = 256
_known: dict[bytes, bytes | None] = {}

failures = LimitedLog(get_logger(__name__))  # what a client can cause again and again

Finish = Callable[[bytes | None], None]


def accepted_coding(accept_encoding: bytes) -> bytes | None:
    """Returns the coding of the answer, `gzip` or `deflate`, or None for no compression.

    Args:
        accept_encoding: value of the header; several lines are joined by a line feed.
    """
    try:
        return _known[accept_encoding]
    except KeyError:
        coding = _choose(accept_encoding)
        if len(_known) < _MAX_KNOWN:
            _known[accept_encoding] = coding
        return coding


class Compressor(Protocol):
    """A compressor that takes a text piece by piece."""

    def compress(self, data: bytes | bytearray) -> bytes:
        """Returns the output that is ready after these bytes."""

    def flush(self) -> bytes:
        """Returns the rest of the output."""


def compressor(coding: bytes) -> Compressor:
    """Returns a compressor for a coding."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[coding])


class CompressionBudget:
    """The bytes that an API process may still compress in this turn of the event loop; the rest goes into a queue."""

    def __init__(self) -> None:
        self._left = TURN_BYTES

    def take(self, size: int) -> bool:
        """Returns True if the event loop should compress `size` bytes now, and False to let the body wait."""
        if size >= THREAD_BYTES or size > self._left:
            return False
        if self._left == TURN_BYTES:
            asyncio.get_running_loop().call_soon(self._renew)
        self._left -= size
        return True

    def _renew(self) -> None:
        self._left = TURN_BYTES


class CompressionQueue:
    """Compresses the bodies that have to wait: small ones in later turns of the event loop, large ones in threads.

    Hundreds of answers of a batch are compressed at about the same time. To compress or send all of them in one turn
    would hold the event loop for tens of milliseconds, and so would threads for small ones, which compete with the
    event loop for the processor and for the interpreter's lock.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(thread_name_prefix="compress")
        self._waiting: deque[tuple[bytes | bytearray, bytes, Finish]] = deque()
        self._finished: deque[tuple[Finish, bytes | None]] = deque()
        self._is_woken = False

    def add(self, body: bytes | bytearray | tuple[bytes, ...], coding: bytes, finish: Finish) -> None:
        """Compresses a body.

        Args:
            body: body of an answer.
            coding: `gzip` or `deflate`.
            finish: function that takes the compressed body in the event loop, or None if the compression failed.
        """
        loop = asyncio.get_running_loop()
        if isinstance(body, tuple) or len(body) >= THREAD_BYTES:
            self._executor.submit(self._compress, loop, body, coding, finish)
            return
        self._waiting.append((body, coding, finish))
        if len(self._waiting) == 1:
            loop.call_soon(self._compress_some, loop)

    def _compress_some(self, loop: asyncio.AbstractEventLoop) -> None:
        """Compresses the bodies of one turn."""
        left = TURN_BYTES
        while self._waiting and left > 0:
            body, coding, finish = self._waiting[0]
            left -= len(body)
            _finish(finish, _compressed(body, coding))
            self._waiting.popleft()  # at the end: `add` plans a turn if the queue was empty
        if self._waiting:
            loop.call_soon(self._compress_some, loop)

    def _compress(
        self,
        loop: asyncio.AbstractEventLoop,
        body: bytes | bytearray | tuple[bytes, ...],
        coding: bytes,
        finish: Finish,
    ) -> None:
        self._finished.append((finish, _compressed(body, coding)))
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the process has stopped, and nobody waits for the answer
                loop.call_soon_threadsafe(self._hand_back, loop)

    def _hand_back(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_woken = False  # before the queue is looked at: a thread that appends later wakes the loop again
        for _ in range(min(len(self._finished), _FINISHED_A_TURN)):
            _finish(*self._finished.popleft())
        if self._finished:
            self._is_woken = True
            loop.call_soon(self._hand_back, loop)


def _finish(finish: Finish, compressed: bytes | None) -> None:
    """Hands over a compressed body; an error is logged, since other answers wait for their turn."""
    try:
        finish(compressed)
    except Exception:
        failures.error("answer not sent", exc_info=True)


def _compressed(body: bytes | bytearray | tuple[bytes, ...], coding: bytes) -> bytes | None:
    """Returns the compressed body; None if the compression failed."""
    try:
        return compress(body, coding)
    except Exception:  # no memory, for example: the answer itself is ready
        return None


def compress(body: bytes | bytearray | tuple[bytes, ...], coding: bytes) -> bytes:
    """Returns the compressed body; the parts of a body in several parts are joined.

    The interpreter's lock is released meanwhile, so a thread that compresses does not block others.
    """
    stream = compressor(coding)
    parts = body if isinstance(body, tuple) else (body,)
    return b"".join([*map(stream.compress, parts), stream.flush()])


def _choose(accept_encoding: bytes) -> bytes | None:
    weights: dict[bytes, float] = {}
    for item in list_items(accept_encoding):
        name, *parameters = (part.strip() for part in item.split(b";"))
        weights[name.removeprefix(b"x-")] = _weight(parameters)
    others = weights.get(b"*", 0.0)
    wanted = {coding: weights.get(coding, others) for coding in _WINDOW_BITS}
    best = max(wanted, key=lambda coding: wanted[coding])
    return best if wanted[best] > 0 and wanted[best] >= weights.get(b"identity", 0.0) else None


def _weight(parameters: list[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
