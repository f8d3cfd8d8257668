"""Rows as clients and tables hold them → the float32 matrix that a network takes.

`RowEncoder` is built once a schema and used for every request. It has three gears, and each gives way to the next:

1. rows that are plain numbers go through one `struct.pack`, which checks width, type and float32 range in C;
2. rows with categories, missing values or names go cell by cell through look-ups prepared at construction;
3. whatever gear 2 refuses is read once more with the single aim of saying what is wrong, where.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, Fault, RowError
from models.schema import CategoricalColumn, Column, NumericColumn, Schema

MAX_FAULTS = 20  # faults listed for one request; enough to see a pattern, bounded against a hostile one
_MAX_ECHO = 60  # characters of a client's value repeated in a message
_FLOAT32_MAX = float(np.finfo(np.float32).max)

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
            rows: one or more rows.
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
        except (_Refused, OverflowError):
            raise RowError(self._diagnose(rows)) from None

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
        faults: list[Fault] = []
        for i, row in enumerate(rows):
            faults += self._row_faults(i, row)
            if len(faults) >= MAX_FAULTS:
                break
        return faults[:MAX_FAULTS]

    def _row_faults(self, i: int, row: Any) -> list[Fault]:
        if isinstance(row, Mapping):
            unknown = [name for name in row if name not in set(self._names)]
            missing = [name for name in self._names if name not in row]
            faults = [
                Fault(i, str(name)[:_MAX_ECHO], f"not a column of this model; its columns are {self._listed()}")
                for name in unknown
            ] + [Fault(i, name, "this column is missing") for name in missing]
            named = [(name, row[name]) for name in self._names if name in row]
        elif isinstance(row, list | tuple):
            if len(row) != len(self._names):
                values = "1 value" if len(row) == 1 else f"{len(row)} values"
                return [Fault(i, None, f"{values} where the model takes {len(self._names)}: {self._listed()}")]
            faults, named = [], list(zip(self._names, row, strict=True))
        else:
            wanted = f"a list of {len(self._names)} values or an object by column name"
            return [Fault(i, None, f"{_shown(row)} where {wanted} is expected")]
        columns = {column.name: column for column in self.schema.columns}
        scratch = [0.0] * self.width
        for name, cell in named:
            try:
                self._writers[name](scratch, cell)
            except _Refused:
                faults.append(Fault(i, name, _reason(columns[name], cell)))
        return faults

    def _listed(self) -> str:
        shown = ", ".join(repr(name) for name in self._names[:10])
        return shown if len(self._names) <= 10 else f"{shown}, … ({len(self._names)} in all)"


def encode_columns(schema: Schema, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Encodes whole columns, as training does; the same numbers as `RowEncoder` gives row by row.

    Args:
        schema: the columns.
        columns: an array of `rows` values by column name: floats with NaN for missing in a numeric column,
            strings with None for missing in a categorical one.

    Returns:
        `(rows, width)` float32.

    Raises:
        DataError: a column that is not there or holds what its schema refuses, by name.
    """
    blocks = []
    for column in schema.columns:
        if column.name not in columns:
            raise DataError(f"column {column.name!r} is missing.")
        values = columns[column.name]
        encode = _numeric_block if isinstance(column, NumericColumn) else _one_hot_block
        blocks.append(encode(column, values))  # type: ignore[arg-type]
    return np.concatenate(blocks, axis=1, dtype=np.float32)


def _numeric_block(column: NumericColumn, values: NDArray[Any]) -> NDArray[np.float32]:
    numbers = np.asarray(values, dtype=np.float64)
    missing = np.isnan(numbers)
    if missing.any():
        if column.missing == "refuse":
            raise DataError(f"column {column.name!r}: row {int(missing.argmax())} has no value.")
        numbers = np.where(missing, column.mean, numbers)
    if not (np.abs(numbers - column.origin) <= _FLOAT32_MAX).all():
        raise DataError(f"column {column.name!r}: a value is infinite or too large for 32-bit floating point.")
    return (numbers - column.origin).astype(np.float32)[:, None]


def _one_hot_block(column: CategoricalColumn, values: NDArray[Any]) -> NDArray[np.float32]:
    position = {category: i for i, category in enumerate(column.categories)}
    block = np.zeros((len(values), column.width), dtype=np.float32)
    for i, value in enumerate(values):
        at = None if value is None else position.get(value)
        if at is not None:
            block[i, at] = 1.0
        elif (column.missing if value is None else column.unknown) == "refuse":
            raise DataError(f"column {column.name!r}: row {i}: {_reason(column, value)}.")
    return block


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
            value = cell - origin
            if not -_FLOAT32_MAX <= value <= _FLOAT32_MAX:  # also where it is NaN
                raise _Refused
            features[at] = value
        elif cell is None and if_missing is not None:
            features[at] = if_missing
        else:
            raise _Refused

    return write


def _one_hot_writer(column: CategoricalColumn, at: int) -> CellWriter:
    feature = {category: at + i for i, category in enumerate(column.categories)}

    def write(features: list[float], cell: Any) -> None:
        name = _category_name(cell)
        if name in feature:
            features[feature[name]] = 1.0
        elif (column.missing if cell is None else column.unknown) == "refuse" or (name is None and cell is not None):
            raise _Refused

    return write


def _category_name(cell: Any) -> str | None:
    """The category that a cell names: JSON may carry the training table's 10115 as a number, or its yes/no as true."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(cell) if isinstance(cell, int) else None


def _reason(column: Column, cell: Any) -> str:
    """Why this column refuses this cell."""
    if cell is None:
        return "the value is missing, and training saw no missing value in this column"
    if isinstance(column, CategoricalColumn):
        known = ", ".join(repr(category) for category in column.categories[:10])
        more = f", … ({len(column.categories)} in all)" if len(column.categories) > 10 else ""
        return f"{_shown(cell)} is not a category of this column, which knows {known}{more}"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return f"{_shown(cell)} is not a number"
    if not math.isfinite(cell):
        return f"{cell} is not a finite number"
    return f"{_shown(cell)} is too large for 32-bit floating point"


def _shown(value: Any) -> str:
    """A client's value in a message: its JSON form for scalars, its kind for the rest, bounded in length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:_MAX_ECHO]}…"' if len(value) > _MAX_ECHO else f'"{value}"'
    if isinstance(value, int | float):
        return f"{value!r:.{_MAX_ECHO}}"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "this value"
