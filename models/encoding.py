"""Rows as clients and tables hold them → the float32 matrix that a network takes.

`RowEncoder` is built once a schema and used for every request. It has three gears, and each gives way to the next:

1. rows that are plain numbers go through one `struct.pack`, which checks width, type and float32 range in C;
2. rows with categories, missing values or names go cell by cell through look-ups prepared at construction;
3. whatever gear 2 refuses is read once more with the single aim of saying what is wrong, where.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, Fault, RowError
from models.schema import FLOAT32_LIMIT, CategoricalColumn, Column, NumericColumn, Schema

MAX_FAULTS = 20  # faults listed for one request; enough to see a pattern, bounded against a hostile one
_MAX_ECHO = 60  # characters of one value or name repeated in a message
_MAX_LISTED = 10  # columns or categories listed in a message
_MAX_CATEGORY_BITS = 1_000  # a category may be a number, but Python refuses to write out thousands of digits

CellWriter = Callable[[list[float], Any], None]


class RowEncoder:
    """Encodes rows by a schema.

    A row is a list of values in column order or a mapping by column name.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.width = schema.width
        self._names = schema.names
        self._row = struct.Struct(f"<{self.width}f")
        self._plain = all(
            isinstance(column, NumericColumn) and column.missing == "refuse" and column.origin == 0
            for column in schema.columns
        )
        numeric = all(isinstance(column, NumericColumn) for column in schema.columns)
        self._origins = (
            np.array([column.origin for column in schema.columns if isinstance(column, NumericColumn)])
            if numeric
            else None
        )
        starts = accumulate((column.width for column in schema.columns), initial=0)
        self._writers = {
            column.name: _cell_writer(column, start) for column, start in zip(schema.columns, starts, strict=False)
        }
        getter = itemgetter(*self._names)
        self._by_name: Callable[[Mapping[str, Any]], Sequence[Any]] = (
            getter if len(self._names) > 1 else lambda row: (getter(row),)
        )

    def encode(self, rows: Sequence[Any], *, may_hold_booleans: bool = True) -> bytes:
        """Encodes rows to the bytes of a float32 matrix, little-endian, row-major, `(len(rows), width)`.

        Args:
            rows: the rows; cells are what a JSON parser gives: numbers, strings, booleans, None, lists, objects.
            may_hold_booleans: False where the caller knows that no cell is a boolean (a JSON text without
                `true` and `false`), which saves looking: Python counts booleans among the numbers.

        Raises:
            RowError: which rows and columns are wrong, and why.
        """
        if self._plain and not may_hold_booleans:
            packed = self._pack_plain(rows)
            if packed is not None:
                return packed
        try:
            return b"".join([self._encode_row(row) for row in rows])
        except _Refused:
            raise RowError(self._diagnose(rows)) from None

    def encode_numbers(self, numbers: NDArray[np.float64]) -> bytes | None:
        """`encode` for rows that are known to be numbers, without a Python object each.

        Args:
            numbers: `(rows, columns)`, in column order.

        Returns:
            The same bytes as `encode`, or None where only `encode` can tell: not all columns are numeric, or float32
            does not hold one of the numbers.
        """
        if self._origins is None or numbers.shape[1] != self.width:
            return None
        if self._origins.any():
            numbers = numbers - self._origins
        # One pass tells infinite, NaN and too large: the largest magnitude is not below the limit then.
        if not max(numbers.max(), -numbers.min()) < FLOAT32_LIMIT:
            return None
        return numbers.astype("<f4").tobytes()

    def encode_matrix(self, rows: Sequence[Any]) -> NDArray[np.float32]:
        """`encode` as a `(len(rows), width)` array."""
        return np.frombuffer(self.encode(rows), dtype="<f4").reshape(len(rows), self.width)

    def _pack_plain(self, rows: Sequence[Any]) -> bytes | None:
        """The rows packed, or None where any of them is not a list of `width` finite numbers."""
        try:
            if len(rows) == 1:
                row = rows[0] if type(rows[0]) is list else self._ordered(rows[0])
                # A sum is finite only if every term is; one that overflows all the same goes the careful way.
                return self._row.pack(*row) if math.isfinite(sum(row)) else None
            lists = [row if type(row) is list else self._ordered(row) for row in rows]
            if set(map(len, lists)) != {self.width}:
                return None
            flat = list(chain.from_iterable(lists))
            return struct.pack(f"<{len(flat)}f", *flat) if math.isfinite(sum(flat)) else None
        except (_Refused, struct.error, OverflowError, TypeError):
            return None

    def _ordered(self, row: Any) -> Sequence[Any]:
        """A row's cells in column order, once its width and names are known to be right."""
        if isinstance(row, Mapping):
            try:
                cells = self._by_name(row)
            except KeyError:
                raise _Refused from None
            if len(row) != len(self._names):
                raise _Refused
            return cells
        if isinstance(row, list | tuple) and len(row) == len(self._names):
            return row
        raise _Refused

    def _encode_row(self, row: Any) -> bytes:
        features = [0.0] * self.width
        for write, cell in zip(self._writers.values(), self._ordered(row), strict=True):
            write(features, cell)
        return self._row.pack(*features)

    def _diagnose(self, rows: Sequence[Any]) -> list[Fault]:
        faults = (fault for i, row in enumerate(rows) for fault in self._row_faults(i, row))
        return list(islice(faults, MAX_FAULTS))

    def _row_faults(self, i: int, row: Any) -> Iterator[Fault]:
        if isinstance(row, Mapping):
            for name in row:
                if name not in self._writers:
                    message = f"not a column of this model; its columns are {_listed(self._names)}"
                    yield Fault(i, _sendable(str(name)[:_MAX_ECHO]), message)
            for name in self._names:
                if name not in row:
                    yield Fault(i, name, "this column is missing")
        elif not isinstance(row, list | tuple):
            wanted = f"a list of {len(self._names)} values or an object by column name"
            yield Fault(i, None, f"{_shown(row)} where {wanted} is expected")
            return
        elif len(row) != len(self._names):
            values = "1 value" if len(row) == 1 else f"{len(row)} values"
            yield Fault(i, None, f"{values} where the model takes {len(self._names)}: {_listed(self._names)}")
            return
        scratch = [0.0] * self.width
        for at, column in enumerate(self.schema.columns):
            if isinstance(row, Mapping) and column.name not in row:
                continue
            cell = row[column.name] if isinstance(row, Mapping) else row[at]
            try:
                self._writers[column.name](scratch, cell)
            except _Refused:
                yield Fault(i, column.name, _reason(column, cell))


def encode_columns(schema: Schema, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Encodes whole columns, as training does; the same numbers as `RowEncoder` gives row by row.

    Args:
        schema: the columns.
        columns: an array of `rows` values by column name: integers or floats, with NaN for missing, in a numeric
            column; strings, integers or booleans, with None for missing, in a categorical one.

    Returns:
        `(rows, width)` float32.

    Raises:
        DataError: a column that is not there or holds what its schema refuses, by name.
    """
    arrays: list[NDArray[Any]] = []
    for column in schema.columns:
        if column.name not in columns:
            raise DataError(f"column {column.name!r} is missing.")
        arrays.append(np.asarray(columns[column.name]))
        if arrays[-1].ndim != 1 or len(arrays[-1]) != len(arrays[0]):
            shapes = f"shape {arrays[-1].shape} where {arrays[0].shape[:1]} is expected"
            raise DataError(f"column {column.name!r} has {shapes}: one value a row.")
    matrix = np.zeros((len(arrays[0]), schema.width), dtype=np.float32)
    at = 0
    for column, values in zip(schema.columns, arrays, strict=True):
        block = matrix[:, at : at + column.width]
        if isinstance(column, NumericColumn):
            block[:, 0] = _encode_numbers(column, values)
        else:
            _encode_categories(column, values, block)
        at += column.width
    return matrix


def _encode_numbers(column: NumericColumn, values: NDArray[Any]) -> NDArray[np.float32]:
    if values.dtype.kind not in "iuf":  # NumPy would turn strings and booleans into numbers, and a client's are refused
        raise DataError(f"column {column.name!r} holds {values.dtype}, not numbers.")
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    if missing.any():
        if column.missing == "refuse":
            raise DataError(f"column {column.name!r}: row {int(missing.argmax())} has no value.")
        numbers[missing] = column.mean
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused in the next line
        numbers -= column.origin
    refused = ~(np.abs(numbers) < FLOAT32_LIMIT)
    if refused.any():
        at = int(refused.argmax())
        raise DataError(f"column {column.name!r}: row {at}: {_reason(column, values[at].item())}.")
    return numbers.astype(np.float32)


def _encode_categories(column: CategoricalColumn, values: NDArray[Any], block: NDArray[np.float32]) -> None:
    find = _category_finder(column)
    for i, value in enumerate(values.tolist()):
        try:
            at = find(value)
        except _Refused:
            raise DataError(f"column {column.name!r}: row {i}: {_reason(column, value)}.") from None
        if at is not None:
            block[i, at] = 1.0


class _Refused(Exception):
    """A row that gear 1 or 2 cannot take; never leaves this module."""


def _cell_writer(column: Column, at: int) -> CellWriter:
    """What writes one cell of this column into a row of zeros, from feature `at` on; it raises `_Refused`."""
    return _numeric_writer(column, at) if isinstance(column, NumericColumn) else _one_hot_writer(column, at)


def _numeric_writer(column: NumericColumn, at: int) -> CellWriter:
    origin = column.origin
    if_missing = None if column.missing == "refuse" else column.mean - origin

    def write(features: list[float], cell: Any) -> None:
        if type(cell) is float or type(cell) is int:
            try:
                value = cell - origin
            except OverflowError:  # a whole number beyond what a float holds
                raise _Refused from None
            if not -FLOAT32_LIMIT < value < FLOAT32_LIMIT:  # also where it is NaN
                raise _Refused
            features[at] = value
        elif cell is None and if_missing is not None:
            features[at] = if_missing
        elif isinstance(cell, float):  # a subclass, such as NumPy's float64
            write(features, float(cell))
        else:
            raise _Refused

    return write


def _one_hot_writer(column: CategoricalColumn, at: int) -> CellWriter:
    find = _category_finder(column)

    def write(features: list[float], cell: Any) -> None:
        position = find(cell)
        if position is not None:
            features[at + position] = 1.0

    return write


def _category_finder(column: CategoricalColumn) -> Callable[[Any], int | None]:
    """What finds the position of a cell's category; None where all features stay 0; it raises `_Refused`."""
    positions = {category: i for i, category in enumerate(column.categories)}
    if_missing, if_unknown = column.missing == "ignore", column.unknown == "ignore"

    def find(cell: Any) -> int | None:
        name = cell if type(cell) is str else _category_name(cell)
        position = positions.get(name) if name is not None else None
        if position is None and not (if_missing if cell is None else if_unknown and name is not None):
            raise _Refused
        return position

    return find


def _category_name(cell: Any) -> str | None:
    """The category that a cell names: JSON may carry the training table's 10115 as a number, or its yes/no as true."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int) and cell.bit_length() <= _MAX_CATEGORY_BITS:
        return str(cell)
    return None


def _reason(column: Column, cell: Any) -> str:
    """Why this column refuses this cell."""
    if cell is None:
        return "the value is missing, and training saw no missing value in this column"
    if isinstance(column, CategoricalColumn):
        return f"{_shown(cell)} is not a category of this column, which knows {_listed(column.categories)}"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return f"{_shown(cell)} is not a number"
    if isinstance(cell, float) and not math.isfinite(cell):
        return f"{_shown(cell)} is not a finite number"
    return f"{_shown(cell)} is too large for 32-bit floating point"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_MAX_ECHO]) for name in names[:_MAX_LISTED])
    return shown if len(names) <= _MAX_LISTED else f"{shown}, … ({len(names)} in all)"


def _shown(value: Any) -> str:
    """A client's value in a message: its JSON form for scalars, its kind for the rest, bounded in length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        more = "…" if len(value) > _MAX_ECHO else ""
        return _sendable(json.dumps(value[:_MAX_ECHO] + more, ensure_ascii=False))
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, int):
        short = value.bit_length() <= 3 * _MAX_ECHO  # log2(10) > 3: at most _MAX_ECHO digits, and a sign
        return int.__repr__(value) if short else "a whole number of many digits"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "this value"


def _sendable(text: str) -> str:
    """Text that UTF-8 can carry: a lone surrogate, which JSON can write, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
