"""A reader of FlatBuffers, the encoding of Arrow's metadata. Each access is checked against the bounds of the bytes.

The bytes may come from an attacker. Tables and texts may be shared in a FlatBuffer, so that a short one could describe
billions of them: the number of tables and the bytes of texts that are read from one buffer are limited.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_SHARED_TEXTS = 8  # texts may be read as often as if each byte of the buffer were used so many times
_LEAST_TABLE = 4  # bytes of the smallest table

_U16, _I16, _I32, _U32, _I64 = (struct.Struct(f"<{code}") for code in "HhiIq")


class Malformed(Exception):
    """Bytes that are not a valid FlatBuffer or message. The text is a part of a sentence."""


class FlatBuffer:
    """A FlatBuffer.

    Args:
        data: bytes of the buffer.
    """

    __slots__ = ("_size", "_tables_left", "_texts_left", "data")

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._size = len(data)
        self._tables_left = len(data) // _LEAST_TABLE
        self._texts_left = _SHARED_TEXTS * len(data)

    def root(self) -> Table:
        """Returns the root table."""
        return Table(self, self.offset(0))

    def number(self, form: struct.Struct, place: int) -> int:
        """Returns the number at a place."""
        if not 0 <= place <= self._size - form.size:
            raise Malformed("its metadata ends too early")
        value: int = form.unpack_from(self.data, place)[0]
        return value

    def offset(self, place: int) -> int:
        """Returns the target of the offset at a place."""
        return place + self.number(_U32, place)

    def vector(self, place: int, item_size: int) -> tuple[int, int]:
        """Returns the place of the first item and the number of items of a vector.

        Args:
            place: place of the vector.
            item_size: number of bytes of an item.
        """
        count = self.number(_U32, place)
        if count * item_size > self._size - place - 4:
            raise Malformed("a list in its metadata is longer than the metadata")
        return place + 4, count

    def take_table(self) -> None:
        """Counts a table that is read."""
        self._tables_left -= 1
        if self._tables_left < 0:
            raise Malformed("its metadata refers to itself")

    def take_text(self, size: int) -> None:
        """Counts the bytes of a text that is read."""
        self._texts_left -= size
        if self._texts_left < 0:
            raise Malformed("its metadata repeats its texts")


class Table:
    """A table of a FlatBuffer. A field is known by its position in the definition of the table."""

    __slots__ = ("_buffer", "_fields", "_place", "_vtable")

    def __init__(self, buffer: FlatBuffer, place: int) -> None:
        buffer.take_table()
        self._buffer = buffer
        self._place = place
        self._vtable = place - buffer.number(_I32, place)
        self._fields = (buffer.number(_U16, self._vtable) - 4) // 2

    def _at(self, field: int) -> int:
        """Returns the place of a field, 0 if the field is absent."""
        if field >= self._fields:
            return 0
        offset = self._buffer.number(_U16, self._vtable + 4 + 2 * field)
        return self._place + offset if offset else 0

    def byte(self, field: int, default: int = 0) -> int:
        """Returns an unsigned number of 8 bits."""
        at = self._at(field)
        if not at:
            return default
        if not 0 <= at < len(self._buffer.data):
            raise Malformed("its metadata ends too early")
        return self._buffer.data[at]

    def short(self, field: int, default: int = 0) -> int:
        """Returns a number of 16 bits."""
        at = self._at(field)
        return self._buffer.number(_I16, at) if at else default

    def integer(self, field: int, default: int = 0) -> int:
        """Returns a number of 32 bits."""
        at = self._at(field)
        return self._buffer.number(_I32, at) if at else default

    def long(self, field: int, default: int = 0) -> int:
        """Returns a number of 64 bits."""
        at = self._at(field)
        return self._buffer.number(_I64, at) if at else default

    def table(self, field: int) -> Table | None:
        """Returns a table, None if the field is absent."""
        at = self._at(field)
        return Table(self._buffer, self._buffer.offset(at)) if at else None

    def needed(self, field: int) -> Table:
        """Returns a table that may not be absent."""
        table = self.table(field)
        if table is None:
            raise Malformed("a part of its metadata is missing")
        return table

    def text(self, field: int) -> str:
        """Returns a text, empty if the field is absent; bytes that are not UTF-8 are replaced."""
        at = self._at(field)
        if not at:
            return ""
        start, count = self._buffer.vector(self._buffer.offset(at), 1)
        self._buffer.take_text(count)
        return str(self._buffer.data[start : start + count], "utf-8", "replace")

    def vector(self, field: int, item_size: int) -> tuple[int, int]:
        """Returns the place of the first item and the number of items of a vector; both are 0 for an absent one."""
        at = self._at(field)
        return self._buffer.vector(self._buffer.offset(at), item_size) if at else (0, 0)

    def tables(self, field: int) -> list[int]:
        """Returns the places of the tables of a vector, for `at`."""
        start, count = self.vector(field, 4)
        return list(range(start, start + 4 * count, 4))

    def at(self, place: int) -> Table:
        """Returns the table of a vector at a place."""
        return Table(self._buffer, self._buffer.offset(place))

    def longs(self, field: int, width: int = 1) -> NDArray[np.int64]:
        """Returns a vector of structs of 64-bit numbers, `(structs, width)`."""
        start, count = self.vector(field, 8 * width)
        numbers = np.frombuffer(self._buffer.data, dtype="<i8", count=count * width, offset=start if count else 0)
        return numbers.reshape(count, width)
