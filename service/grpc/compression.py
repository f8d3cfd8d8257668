"""Decompression of messages, with gzip and deflate, within the limit of bytes."""

from __future__ import annotations

import zlib
from collections.abc import Generator

from models.at_once import at_once
from service.errors import InvalidRequest, TooLarge
from service.grpc.statuses import Unimplemented
from service.stream.frames import Buffer

_STEP_BYTES = 1 << 16
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}


def inflate_in_steps(message: Buffer, encoding: bytes | None, most_bytes: int) -> Generator[None, None, bytearray]:
    """Decompresses a message in short steps; the result is the generator's value.

    Args:
        message: compressed message.
        encoding: value of `grpc-encoding`.
        most_bytes: largest number of bytes of the result.

    Raises:
        Unimplemented: the server does not know the encoding.
        InvalidRequest: the message is damaged.
        TooLarge: the result is too large.
    """
    if encoding is None or encoding not in _WINDOW_BITS:
        raise Unimplemented("the message is compressed with an encoding other than gzip and deflate.")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    result = bytearray()
    try:
        for at in range(0, len(message), _STEP_BYTES):
            some: Buffer = message[at : at + _STEP_BYTES]
            while some:
                result += inflater.decompress(some, _STEP_BYTES)
                some = inflater.unconsumed_tail
                if len(result) > most_bytes:
                    raise TooLarge(f"a message of more than {most_bytes:,} bytes after its decompression.")
                if inflater.unused_data:
                    raise InvalidRequest("There are bytes after the compressed message.")
                yield
    except zlib.error:
        raise InvalidRequest(f"The message is not valid {encoding.decode()}.") from None
    if not inflater.eof:
        raise InvalidRequest("The compressed message is not complete.")
    return result


def inflated(message: Buffer, encoding: bytes | None, most_bytes: int) -> bytes:
    """Does the work of `inflate_in_steps` at once, for a small message."""
    return bytes(at_once(inflate_in_steps(message, encoding, most_bytes)))
