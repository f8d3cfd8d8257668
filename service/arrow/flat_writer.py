"""A writer of FlatBuffers, the encoding of Arrow's metadata: a tree of tables becomes bytes.

An offset in a FlatBuffer points forward. So a parent comes before its parts, and gets the place of a part once the part
is there.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal

Scalar = Literal["B", "h", "i", "q"]  # codes of `struct`: unsigned 8 bits, and signed 16, 32 and 64 bits

_ALIGNMENT = 8


class Structs:
    """A vector of structs of 64-bit numbers.

    Args:
        numbers: numbers of all structs.
        width: count of numbers in a struct.
    """

    __slots__ = ("count", "data")

    def __init__(self, numbers: Sequence[int], width: int) -> None:
        self.count = len(numbers) // width
        self.data = struct.pack(f"<{len(numbers)}q", *numbers)


class Node:
    """A table to write.

    Args:
        fields: values by position in the definition of the table: a code of `Scalar` with a number, or a part (a table,
            a text in UTF-8, a list of tables, or structs).
    """

    __slots__ = ("fields",)

    def __init__(self, fields: dict[int, tuple[Scalar, int] | Node | bytes | Sequence[Node] | Structs]) -> None:
        self.fields = fields


def flat_buffer(root: Node) -> bytes:
    """Returns the bytes of a FlatBuffer with a root table; their number is a multiple of eight."""
    out = bytearray(4)
    struct.pack_into("<I", out, 0, _write_table(out, root))
    _pad(out, 0)
    return bytes(out)


def _write_table(out: bytearray, node: Node) -> int:
    """Appends a table and its parts; returns the place of the table."""
    slots = max(node.fields, default=-1) + 1
    vtable_size = 4 + 2 * slots
    offsets, size = [0] * slots, 4
    sized = sorted(node.fields.items(), key=lambda item: -_size_of(item[1]))  # so that all are aligned
    for slot, value in sized:
        width = _size_of(value)
        size += -size % width
        offsets[slot] = size
        size += width
    _pad(out, vtable_size)
    out += struct.pack(f"<{2 + slots}H", vtable_size, size, *offsets)
    place = len(out)
    out += bytes(size)
    struct.pack_into("<i", out, place, vtable_size)
    for slot, value in sized:
        at = place + offsets[slot]
        if isinstance(value, tuple) and isinstance(value[0], str):
            struct.pack_into(f"<{value[0]}", out, at, value[1])
        else:
            target = _write_part(out, value)
            struct.pack_into("<I", out, at, target - at)
    return place


def _write_part(out: bytearray, part: object) -> int:
    """Appends a table, a text or a vector; returns its place."""
    if isinstance(part, Node):
        return _write_table(out, part)
    if isinstance(part, bytes):
        _pad(out, 0)
        place = len(out)
        out += struct.pack("<I", len(part)) + part + b"\0"
        return place
    if isinstance(part, Structs):
        _pad(out, 4)  # the first struct is aligned
        place = len(out)
        out += struct.pack("<I", part.count) + part.data
        return place
    assert isinstance(part, Sequence)  # noqa: S101 -- the last kind of `Node.fields`
    _pad(out, 0)
    place = len(out)
    out += struct.pack("<I", len(part)) + bytes(4 * len(part))
    for i, node in enumerate(part):
        at = place + 4 + 4 * i
        struct.pack_into("<I", out, at, _write_table(out, node) - at)
    return place


def _size_of(value: object) -> int:
    """Returns the number of bytes of a field within its table; a part takes an offset."""
    is_scalar = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
    return struct.calcsize(f"<{value[0]}") if is_scalar else 4  # type: ignore[index]


def _pad(out: bytearray, ahead: int) -> None:
    """Appends zeros, so that the place `ahead` bytes behind the end is aligned."""
    out += bytes(-(len(out) + ahead) % _ALIGNMENT)
