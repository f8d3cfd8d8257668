"""A spool: an append-only file of complete records, which survives the death of its writer at any byte.

A record is a head (length and CRC-32 of the payload) and the payload. A reader stops at the first record that is not
whole, so whatever a killed writer or a full disk left at the end of the file is passed over.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from models.errors import DataError

MAGIC = b"AXONLOG1"
_HEAD = struct.Struct("<II")
_DESCRIPTION = struct.Struct("<I")


def record(description: Mapping[str, Any], parts: Sequence[bytes] = ()) -> bytes:
    """Returns a record as bytes.

    Args:
        description: kind and fields of the record, as JSON types.
        parts: blocks of numbers; the description has to say how to cut these apart.
    """
    text = orjson.dumps(description)
    payload = b"".join((_DESCRIPTION.pack(len(text)), text, *parts))
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def read_records(data: bytes) -> Iterator[tuple[dict[str, Any], memoryview]]:
    """Yields the description and the blocks of each whole record of a spool.

    Args:
        data: content of the file; empty for a file whose writer has not begun.

    Raises:
        DataError: the data is no spool.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise DataError("is not a spool of the log of predictions.")
    at = len(MAGIC)
    view = memoryview(data)
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        payload = view[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) < length or zlib.crc32(payload) != check:
            return
        (size,) = _DESCRIPTION.unpack_from(payload)
        yield orjson.loads(payload[_DESCRIPTION.size : _DESCRIPTION.size + size]), payload[_DESCRIPTION.size + size :]
        at += _HEAD.size + length
