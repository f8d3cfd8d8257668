"""The fields of a protobuf message in short steps, for messages whose parsing would hold the event loop too long.

protobuf parses a message in one go, and its elements become Python objects one by one. Here, the parts with numbers are
found first and left where they are. protobuf parses the rest, which is small.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from service.errors import InvalidRequest, TooLarge
from service.grpc.messages import parsed
from service.grpc.typed_contents import CONTENTS, TypedContents

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
_GREATEST_NUMBER = (1 << 29) - 1
_MOST_VARINT_BYTES = 10
_STEP_RECORDS = 2048
_MOST_TENSORS = 1 << 17
_CHUNK_BYTES = 1 << 14
_MOST_REST_BYTES = 1 << 20  # of a message, beside its numbers
_FLOATS: dict[int, np.dtype[Any]] = {6: np.dtype("<f4"), 7: np.dtype("<f8")}

Record = tuple[int, int, int, int, int]  # number, wire type, begin, begin of the value, end


def varint(number: int) -> bytes:
    """Returns a number from 0 on as a varint."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Returns a varint and the position after the varint.

    Raises:
        InvalidRequest: the bytes are no varint.
    """
    value = shift = 0
    for position in range(at, min(len(data), at + _MOST_VARINT_BYTES)):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + 1
        shift += 7
    raise _malformed()


def records(data: memoryview) -> Iterator[Record]:
    """Yields the fields of a message in their order.

    Raises:
        InvalidRequest: the bytes are no message.
    """
    at, end = 0, len(data)
    while at < end:
        begin = at
        tag, at = read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == BYTES:
            size, at = read_varint(data, at)
            stop = at + size
        elif kind == VARINT:
            _, stop = read_varint(data, at)
        elif kind == FIXED32:
            stop = at + 4
        elif kind == FIXED64:
            stop = at + 8
        else:
            raise _malformed()
        if stop > end or not 0 < number <= _GREATEST_NUMBER:
            raise _malformed()
        yield number, kind, begin, at, stop
        at = stop


class InferFields:
    """The parts of a `ModelInferRequest`.

    Attributes:
        message: message without any contents.
        raw: raw contents in their order.
        contents: typed contents of each input; None where there are none.
    """

    def __init__(self) -> None:
        self.message: Any = None
        self.raw: list[memoryview] = []
        self.contents: list[TypedContents | None] = []


def read_infer_fields(kind: Any, data: memoryview) -> Generator[None, None, InferFields]:
    """Reads a `ModelInferRequest` in short steps; its parts are the generator's value.

    Args:
        kind: class of the message.
        data: bytes of the message.

    Raises:
        InvalidRequest: the bytes are no such message.
        TooLarge: there are too many bytes beside the numbers.
    """
    fields, rest = InferFields(), bytearray()
    for count, (number, wire, begin, start, stop) in enumerate(records(data)):
        if number == 7 and wire == BYTES:
            fields.raw.append(data[start:stop])
        elif number == 5 and wire == BYTES:
            small, contents = yield from _split_input(data[start:stop])
            rest += b"\x2a" + varint(len(small)) + small
            fields.contents.append(contents)
        else:
            rest += data[begin:stop]
        _check_rest(rest)
        if len(fields.raw) > _MOST_TENSORS or len(fields.contents) > _MOST_TENSORS:
            raise TooLarge(f"more than {_MOST_TENSORS:,} input tensors.")
        if count % _STEP_RECORDS == _STEP_RECORDS - 1:
            yield
    yield
    fields.message = parsed(kind, bytes(rest))
    yield
    return fields


def _split_input(data: memoryview) -> Generator[None, None, tuple[bytes, TypedContents | None]]:
    """Returns an input without its contents, and the contents."""
    small, contents = bytearray(), None
    for number, wire, begin, start, stop in records(data):
        if number == 5 and wire == BYTES:
            contents = TypedContents() if contents is None else contents
            yield from _read_contents(data[start:stop], contents)
        else:
            small += data[begin:stop]
            _check_rest(small)
    return bytes(small), contents


def _read_contents(data: memoryview, contents: TypedContents) -> Generator[None, None, None]:
    """Adds the elements of an `InferTensorContents`. Any cut between two fields leaves two valid messages."""
    first = end = 0
    for count, (number, wire, begin, start, stop) in enumerate(records(data)):
        if stop - begin > _CHUNK_BYTES and wire == BYTES and number < 8:
            contents.add(parsed(CONTENTS, bytes(data[first:begin])))
            yield
            yield from _read_packed(number, data[start:stop], contents)
            first = stop
        elif stop - first > _CHUNK_BYTES:
            contents.add(parsed(CONTENTS, bytes(data[first:stop])))
            first = stop
            yield
        elif count % _STEP_RECORDS == _STEP_RECORDS - 1:
            yield
        end = stop
    contents.add(parsed(CONTENTS, bytes(data[first:end])))


def _read_packed(number: int, data: memoryview, contents: TypedContents) -> Generator[None, None, None]:
    """Adds the elements of a packed field: floats without a copy, varints in chunks."""
    if (dtype := _FLOATS.get(number)) is not None:
        if len(data) % dtype.itemsize:
            raise _malformed()
        contents.add_array(number, np.frombuffer(data, dtype=dtype))
        return
    at, tag = 0, varint(number << 3 | BYTES)
    while at < len(data):
        stop = min(at + _CHUNK_BYTES, len(data))
        while stop > at and data[stop - 1] > 127:  # the last byte of a varint is less
            stop -= 1
            if at + _CHUNK_BYTES - stop > _MOST_VARINT_BYTES:
                raise _malformed()
        if stop == at:
            raise _malformed()
        contents.add(parsed(CONTENTS, tag + varint(stop - at) + bytes(data[at:stop])))
        at = stop
        yield


def _check_rest(rest: bytearray) -> None:
    if len(rest) > _MOST_REST_BYTES:
        raise TooLarge(f"more than {_MOST_REST_BYTES:,} bytes of a message beside its numbers.")


def _malformed() -> InvalidRequest:
    return InvalidRequest("The message is not a valid ModelInferRequest.")
