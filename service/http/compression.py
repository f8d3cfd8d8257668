"""Answers compressed with gzip or deflate, where the client asks for it and it is worth it.

Level 1, by measurement: of an answer with probabilities it leaves 33 %, level 6 leaves 30 % and takes six times as
long (docs/decisions/0019).
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Protocol

from service.http.request_head import list_items

#: Least size of a prediction that is compressed: below it, the client saves no round trip and the server pays.
WORTH_BYTES = 8 * 1024
#: Size from which compression is left to a thread; up to here it takes 0.6 ms.
THREAD_BYTES = 64 * 1024
#: Bytes of all answers that are compressed in one turn of the event loop; it takes about a millisecond.
TURN_BYTES = 128 * 1024

VARY = (b"vary", b"accept-encoding")

_LEVEL = 1
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
_MAX_KNOWN = 256
_known: dict[bytes, bytes | None] = {}


def accepted_coding(accept_encoding: bytes) -> bytes | None:
    """Returns the coding in which an answer may be sent: `gzip`, `deflate`, or None for as it is.

    Args:
        accept_encoding: header's value; several lines are joined by a line feed.
    """
    try:
        return _known[accept_encoding]
    except KeyError:
        coding = _choose(accept_encoding)
        if len(_known) < _MAX_KNOWN:
            _known[accept_encoding] = coding
        return coding


class Compressor(Protocol):
    """Compresses a text piece by piece."""

    def compress(self, data: bytes | bytearray) -> bytes:
        """Returns what is ready after these bytes."""

    def flush(self) -> bytes:
        """Returns the rest."""


def compressor(coding: bytes) -> Compressor:
    """Returns what compresses to a coding."""
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[coding])


class CompressionBudget:
    """Bytes that an API process may still compress in this turn of its event loop; a thread compresses the rest."""

    def __init__(self) -> None:
        self._left = TURN_BYTES

    def take(self, size: int) -> bool:
        """Returns True if so many bytes are to be compressed at once."""
        if size >= THREAD_BYTES or size > self._left:
            return False
        if self._left == TURN_BYTES:
            asyncio.get_running_loop().call_soon(self._renew)
        self._left -= size
        return True

    def _renew(self) -> None:
        self._left = TURN_BYTES


def compress(body: bytes | bytearray | tuple[bytes, ...], coding: bytes) -> bytes:
    """Returns the body, or its parts together, in a coding.

    The interpreter's lock is released meanwhile, so a thread holds up nobody.
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
