"""Arrow's column types: the name of a type in messages, the storage of its cells, and their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from service.arrow.flat_reader import Malformed, Table

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UNITS = tuple(_NANOSECONDS)
_MOST_SCALE = 128  # digits behind the point, or zeros before it, of a decimal that is read
_MOST_PAIRS = 64  # key-value pairs of a field that are searched for the name of an extension

# The members of the union `Type` in Arrow's definition of a schema, in their order, from 1 on.
_NAMES = (
    *("null", "integer", "float", "binary", "utf8", "bool", "decimal", "date", "time", "timestamp", "interval"),
    *("list", "struct", "union", "fixed_size_binary", "fixed_size_list", "map", "duration", "large_binary"),
    *("large_utf8", "large_list", "run_end_encoded", "binary_view", "utf8_view", "list_view", "large_list_view"),
)
_BUFFERS = {
    **dict.fromkeys(("null", "run_end_encoded"), 0),
    **dict.fromkeys(("struct", "fixed_size_list", "union"), 1),
    **dict.fromkeys(("binary", "utf8", "large_binary", "large_utf8", "list_view", "large_list_view"), 3),
}
_VIEWS = ("binary_view", "utf8_view")


class Meaning(Enum):
    """The meaning of the cells of a column."""

    NUMBER = auto()
    SECONDS = auto()
    BOOLEAN = auto()
    MOMENT = auto()
    DECIMAL = auto()
    TEXT = auto()
    VIEW = auto()
    UUID = auto()
    NOTHING = auto()
    RUNS = auto()


@dataclass(frozen=True, slots=True)
class ArrowType:
    """A type whose cells are read.

    Attributes:
        name: name in messages.
        meaning: meaning of the cells.
        dtype: element type of the values, or of the offsets of texts; None if the values are bits, bytes or views.
        per_second: number of units in a second, for durations and times of day.
        scale: number of digits behind the decimal point, for decimals.
        width: number of bytes of a cell, for decimals and UUIDs.
    """

    name: str
    meaning: Meaning
    dtype: np.dtype[np.generic] | None = None
    per_second: float = 1.0
    scale: int = 0
    width: int = 0


class Unread(Exception):
    """A type whose cells are not read; the text is the name of the type."""


def type_name(field: Table) -> str:
    """Returns the name of a field's type in the union of types.

    Raises:
        Malformed: there is no such type.
    """
    code = field.byte(2)
    if not 1 <= code <= len(_NAMES):
        raise Malformed(f"it has a column of a type that Arrow does not define ({code})")
    return _NAMES[code - 1]


def buffers_of(field: Table, name: str, version: int) -> tuple[int, int]:
    """Returns the number of buffers of a field, without those of its children, and the number of its views (0 or 1).

    Args:
        field: field of a schema, without a dictionary.
        name: name of the field's type.
        version: version of the metadata.
    """
    if name == "union":
        return 1 + field.needed(3).short(0) + (version < 4), 0
    return _BUFFERS.get(name, 2), int(name in _VIEWS)


def arrow_type(field: Table) -> ArrowType:
    """Reads the type of a field, of its values for a field with a dictionary.

    Raises:
        Unread: the cells of the type are not read.
        Malformed: the type is not valid.
    """
    extension = _extension(field)
    if extension == "arrow.bool8":
        return ArrowType("bool8", Meaning.BOOLEAN, np.dtype("i1"))
    if extension == "arrow.uuid":
        return ArrowType("uuid", Meaning.UUID, width=16)
    if extension.startswith("pandas."):  # periods and intervals, which are stored as numbers with another meaning
        raise Unread(extension)
    name = type_name(field)
    about = field.table(3)
    if about is None:
        raise Malformed("a column has no type")
    match name:
        case "null":
            return ArrowType("null", Meaning.NOTHING)
        case "bool":
            return ArrowType("bool", Meaning.BOOLEAN)
        case "integer":
            return _number(integer_type(about))
        case "float":
            return _number(np.dtype(f"<f{2 << _choice(about.short(0), 3)}"))
        case "utf8" | "large_utf8":
            return ArrowType(name, Meaning.TEXT, np.dtype("<i4" if name == "utf8" else "<i8"))
        case "utf8_view":
            return ArrowType(name, Meaning.VIEW)
        case "decimal":
            return _decimal(about)
        case "run_end_encoded":
            return ArrowType(name, Meaning.RUNS)
        case "date" | "timestamp" | "duration" | "time":
            return _of_time(name, about)
    raise Unread(name)


def integer_type(about: Table) -> np.dtype[np.generic]:
    """Returns the element type of integers.

    Raises:
        Malformed: there are no integers of this size.
    """
    bits = about.integer(0)
    if bits not in (8, 16, 32, 64):
        raise Malformed(f"it has integers of {bits} bits")
    return np.dtype(f"<{'i' if about.byte(1) else 'u'}{bits // 8}")


def seconds_of(values: NDArray[np.generic], kind: ArrowType) -> NDArray[np.float64]:
    """Converts durations and times of day to seconds, as training does."""
    seconds: NDArray[np.float64] = values.astype(np.float64) / kind.per_second
    return seconds


def _number(dtype: np.dtype[np.generic]) -> ArrowType:
    return ArrowType(dtype.name, Meaning.NUMBER, dtype)


def _decimal(about: Table) -> ArrowType:
    precision, scale, bits = about.integer(0), about.integer(1), about.integer(2, 128)
    if bits not in (32, 64, 128, 256) or abs(scale) > _MOST_SCALE:
        raise Malformed(f"it has decimals of {bits} bits with {scale} digits behind the point")
    return ArrowType(f"decimal{bits}({precision}, {scale})", Meaning.DECIMAL, scale=scale, width=bits // 8)


def _of_time(name: str, about: Table) -> ArrowType:
    """Reads the type of dates, timestamps, durations and times of day."""
    if name == "date":
        is_day = _choice(about.short(0, 1), 2) == 0
        kind, dtype = ("date32", "<i4") if is_day else ("date64", "<M8[ms]")  # NumPy has no days of 32 bits
        return ArrowType(kind, Meaning.MOMENT, np.dtype(dtype))
    unit = _UNITS[_choice(about.short(0, 0 if name == "timestamp" else 1), 4)]
    if name == "timestamp":  # with a time zone or without one, the number counts in UTC
        return ArrowType(f"timestamp[{unit}]", Meaning.MOMENT, np.dtype(f"<M8[{unit}]"))
    bits = 64 if name == "duration" else about.integer(1, 32)
    if bits not in (32, 64):
        raise Malformed(f"it has times of {bits} bits")
    kind = f"duration[{unit}]" if name == "duration" else f"time{bits}[{unit}]"
    per_second = 10.0**9 / _NANOSECONDS[unit]
    return ArrowType(kind, Meaning.SECONDS, np.dtype(f"<i{bits // 8}"), per_second=per_second)


def _choice(code: int, choices: int) -> int:
    if not 0 <= code < choices:
        raise Malformed("a column has a type that Arrow does not define")
    return code


def _extension(field: Table) -> str:
    """Returns the name of a field's extension type, or an empty text."""
    for place in field.tables(6)[:_MOST_PAIRS]:
        pair = field.at(place)
        if pair.text(0) == "ARROW:extension:name":
            return pair.text(1)
    return ""
