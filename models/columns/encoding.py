"""Encoding of clients' rows as the float32 matrix of a network's input.

Training encodes whole columns (`models.columns.column_encoding`), with the same bits.

`RowEncoder` is built once per schema and used for every request. Columns and matrices are encoded by columns
(`models.columns.named_columns`). For lists of rows it has four methods, and tries them in this order:

1. rows of plain numbers go through one `struct.pack`, which checks width, type and float32 range in C;
2. many rows with categories, dates, missing values or names go column by column (`models.columns.cell_columns`);
3. few such rows go cell by cell through look-ups that were prepared at construction;
4. rows that these refuse are read again, to report each error with its row and column.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.at_once import at_once
from models.columns.cell_columns import ColumnWriter, column_writer
from models.columns.cells import MAX_ECHO, Refused, cell_writer, listed, reason, sendable, shown
from models.columns.column import FLOAT32_LIMIT, NumericColumn
from models.columns.column_encoding import encode_columns
from models.columns.compact_rows import CompactRows
from models.columns.gaps import NumberGaps
from models.columns.magnitude import are_below
from models.columns.named_columns import MAX_FAULTS, Cells, ColumnsEncoder, NamedColumns
from models.columns.row_names import RowNames
from models.columns.schema import Schema
from models.columns.unknown_cells import UnknownCells
from models.errors import Fault, RowError

__all__ = ["MAX_FAULTS", "NamedColumns", "RowEncoder", "Rows", "encode_columns"]

# Rows of cells; a matrix of numbers; columns; or the bytes of a matrix in the model's own type of numbers.
Rows = list[Any] | NDArray[Any] | NamedColumns | memoryview

_FLOAT32 = np.dtype("<f4")

_STEP_ROWS = 64  # rows whose cells are put into column order in one step
_STEP_CELLS = 500  # least number of cells that are written in one step, usually in a few microseconds
_MANY_ROWS = 32  # from this number of rows on, array operations per column are faster than cell by cell
_FEW_NUMBERS = 64  # up to this size, a sum of Python floats takes less time than an array operation
_VIEWED_BYTES = 1 << 16  # from this size on, a matrix is not copied


class RowEncoder:
    """An encoder for the rows of a schema.

    A row is a list of values in column order or a mapping by column name.

    Attributes:
        schema: schema of the rows.
        width: number of features of an encoded row.
        compact: compact form of the rows.
        unknown: counts of unknown categories in the rows encoded since the counts were last taken.
    """

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.width = schema.width
        self._names = schema.names
        self._row = struct.Struct(f"<{self.width}f")
        self._plain = all(
            isinstance(column, NumericColumn) and column.missing == "refuse" and column.origin == 0 and not column.gaps
            for column in schema.columns
        )
        starts = list(accumulate((column.width for column in schema.columns), initial=0))
        numeric = [column for column in schema.columns if isinstance(column, NumericColumn)]
        self._origins = np.array([column.origin for column in numeric]) if len(numeric) == len(schema.columns) else None
        self._has_origins = self._origins is not None and bool(self._origins.any())
        # Position of each column with declared gaps, and the numbers that are gaps.
        self._gaps = [(at, NumberGaps(column.gaps)) for at, column in enumerate(numeric) if column.gaps]
        # Positions of the numbers among the features; None if no column has an indicator, so all features are numbers.
        self._places = None if self.width == len(schema.columns) else np.array(starts[:-1])
        self._takes_float32 = self._places is None and not self._has_origins
        self.unknown = UnknownCells()
        self._writers = {
            column.name: cell_writer(column, start, self.unknown)
            for column, start in zip(schema.columns, starts, strict=False)
        }
        self.compact = CompactRows(schema)
        compact_starts = accumulate((column.width for column in self.compact.columns), initial=0)
        self._column_writers: list[tuple[slice, ColumnWriter]] = [
            (slice(start, start + column.width), column_writer(column))
            for column, start in zip(self.compact.columns, compact_starts, strict=False)
        ]
        self._row_names = RowNames(self._names)
        getter = itemgetter(*self._names)
        self._columns_encoder = ColumnsEncoder(
            schema, self.compact, self._column_writers, self._row_names, self.unknown
        )
        self._by_name: Callable[[Mapping[str, Any]], Sequence[Any]] = (
            getter if len(self._names) > 1 else lambda row: (getter(row),)
        )

    def encode_any(self, rows: Rows, *, may_hold_booleans: bool = True) -> bytes | memoryview:
        """Encodes rows in any form, as `encode` does.

        Args:
            rows: list of rows, `(rows, columns)` numbers in column order, named columns, or the bytes of a matrix.
            may_hold_booleans: False if the caller knows that no cell is a boolean.

        Raises:
            RowError: Rows are not valid; the faults name rows, columns and reasons.
        """
        if isinstance(rows, list):
            return self.encode(rows, may_hold_booleans=may_hold_booleans)
        if isinstance(rows, np.ndarray):
            return self.encode_numbers(rows) or self._encode_columns(self.columns_of(rows), len(rows))
        if isinstance(rows, memoryview):
            return self.encode_any(self.matrix_of(rows))
        return self._encode_columns(self.columns_of(rows), len(rows))

    def matrix_of(self, data: memoryview) -> NDArray[Any]:
        """Returns bytes as `(rows, columns)` numbers of the type of `takes_doubles`.

        Raises:
            RowError: the bytes do not make whole rows, or not all columns are numeric.
        """
        if self._origins is None:
            raise RowError([Fault(0, None, "raw numbers, where some columns of the model are not numeric")])
        dtype = np.dtype("<f8") if self._has_origins else _FLOAT32
        row_bytes = dtype.itemsize * len(self._names)
        if not len(data) or len(data) % row_bytes:
            raise RowError([Fault(0, None, f"{len(data):,} bytes, where each row has {row_bytes:,}")])
        return np.frombuffer(data, dtype=dtype).reshape(-1, len(self._names))

    def columns_of(self, rows: NDArray[Any] | NamedColumns | memoryview) -> list[Cells]:
        """Returns the cells of each column, in the model's order.

        Raises:
            RowError: a column is missing, unknown or named twice, or the number of columns is wrong.
        """
        if isinstance(rows, NamedColumns):
            return self._columns_encoder.in_order(rows)
        if isinstance(rows, memoryview):
            rows = self.matrix_of(rows)
        if rows.shape[1] != len(self._names):
            raise RowError([Fault(0, None, self._wrong_width(rows.shape[1]))])
        return list(rows.T)

    def cells_by_column(self, rows: Rows) -> Sequence[Cells]:
        """Returns the cells of each column, in the model's order, of rows that were encoded without a fault."""
        if not isinstance(rows, list):
            return self.columns_of(rows)
        return [list(cells) for cells in zip(*map(self._ordered, rows), strict=True)]

    def encode_columns_in_steps(
        self, columns: Sequence[Cells], rows: int
    ) -> Generator[None, None, NDArray[np.float32]]:
        """Encodes columns in the model's order to the compact form, in short steps.

        Args:
            columns: cells of each column, `(rows,)` each.
            rows: number of rows.

        Returns:
            `(rows, compact.width)`, as the generator's value.

        Raises:
            RowError: some cells are not valid for their columns.
        """
        return self._columns_encoder.encode_in_steps(columns, rows)

    def column_faults(self, columns: Sequence[Cells]) -> list[Fault]:
        """Returns every fault of columns in the model's order, by row; `RowError` lists the first ones alone."""
        return self._columns_encoder.faults(columns)

    def _encode_columns(self, columns: Sequence[Cells], rows: int) -> bytes:
        """Encodes columns in the model's order."""
        return self.compact.expand(at_once(self.encode_columns_in_steps(columns, rows))).tobytes()

    def encode(self, rows: Sequence[Any], *, may_hold_booleans: bool = True) -> bytes:
        """Encodes rows to the bytes of a float32 matrix, little-endian, row-major, `(len(rows), width)`.

        Args:
            rows: rows with cells from a JSON parser: numbers, strings, booleans, None, lists, objects.
            may_hold_booleans: False if the caller knows that no cell is a boolean (a JSON text without `true` and
                `false`). This saves a check: Python treats booleans as numbers.

        Raises:
            RowError: Rows are not valid; the faults name rows, columns and reasons.
        """
        if self._plain and not may_hold_booleans:
            packed = self._pack_plain(rows)
            if packed is not None:
                return packed
        try:
            compact = self.encode_compact(rows) if len(rows) >= _MANY_ROWS else None
            if compact is not None:
                return self.compact.expand(compact).tobytes()
            return b"".join([self._encode_row(row) for row in rows])
        except Refused:
            diagnosis = self._diagnose(rows)
            self.unknown.take()  # refused rows are not answered, so their unknown cells do not count
            raise RowError(diagnosis) from None

    def find_name(self, name: str) -> str | None:
        """Returns the column that a name means, or None."""
        return self._row_names.find(name)

    @property
    def takes_numbers(self) -> bool:
        """True if all columns are numeric, so that `encode_numbers` can be tried."""
        return self._origins is not None

    @property
    def has_gaps(self) -> bool:
        """True if numbers of some column stand for a missing value."""
        return bool(self._gaps)

    @property
    def takes_doubles(self) -> bool:
        """True if float32 would round some column's numbers, so that a client has to send float64."""
        return self._has_origins

    def encode_numbers(self, numbers: NDArray[Any]) -> bytes | memoryview | None:
        """Encodes rows of numbers without a Python object per number.

        Args:
            numbers: `(rows, columns)` integers or floats, in column order.

        Returns:
            The same bytes as from `encode`, those of the array itself where it fits; None if the columns have to be
            looked at one by one, because not all of them are numeric, or a number is missing or too large for float32.
        """
        if self._origins is None or numbers.shape[1] != len(self._names):
            return None
        if self._gaps and any(gaps.rows(numbers[:, at]).any() for at, gaps in self._gaps):
            return None
        if numbers.dtype is _FLOAT32 and self._takes_float32 and len(numbers) == 1 and self.width <= _FEW_NUMBERS:
            row = numbers.tobytes()
            # The sum is finite only if all terms are; if it overflows all the same, the next check decides.
            if math.isfinite(sum(self._row.unpack(row))):
                return row
        elif numbers.dtype.kind != "f":
            numbers = numbers.astype(np.float64)
        if self._has_origins:
            numbers = numbers - self._origins
        if not are_below(numbers, FLOAT32_LIMIT):
            return None
        if self._takes_float32 and numbers.dtype == _FLOAT32 and numbers.flags.c_contiguous:
            return numbers.tobytes() if numbers.nbytes < _VIEWED_BYTES else numbers.data.cast("B")
        if self._places is None:
            return numbers.astype(_FLOAT32).tobytes()
        matrix = np.zeros((len(numbers), self.width), dtype="<f4")
        matrix[:, self._places] = numbers  # no number is missing, so every indicator is 0
        return matrix.tobytes()

    def encode_matrix(self, rows: Sequence[Any]) -> NDArray[np.float32]:
        """Encodes rows as `encode` does, to a `(len(rows), width)` array."""
        return np.frombuffer(self.encode(rows), dtype="<f4").reshape(len(rows), self.width)

    def _pack_plain(self, rows: Sequence[Any]) -> bytes | None:
        """Packs rows of `width` finite numbers; returns None if any row is something else."""
        try:
            if len(rows) == 1:
                row = rows[0] if type(rows[0]) is list else self._ordered(rows[0])
                # The sum is finite only if all terms are; if it overflows all the same, the next method is tried.
                return self._row.pack(*row) if math.isfinite(sum(row)) else None
            lists = [row if type(row) is list else self._ordered(row) for row in rows]
            if set(map(len, lists)) != {self.width}:
                return None
            flat = list(chain.from_iterable(lists))
            return struct.pack(f"<{len(flat)}f", *flat) if math.isfinite(sum(flat)) else None
        except (Refused, struct.error, OverflowError, TypeError):
            return None

    def _ordered(self, row: Any) -> Sequence[Any]:
        """Returns the cells of a row in column order; refuses a row of the wrong width or with wrong names."""
        if isinstance(row, Mapping):
            if len(row) != len(self._names):
                raise Refused
            try:
                return self._by_name(row)
            except KeyError:
                respelled = self._row_names.respelled(row)
            if respelled is None:
                raise Refused
            return self._by_name(respelled)
        if isinstance(row, list | tuple) and len(row) == len(self._names):
            return row
        raise Refused

    def encode_compact(self, rows: Sequence[Any]) -> NDArray[np.float32] | None:
        """Encodes rows column by column to the compact form.

        Args:
            rows: rows with cells from a JSON parser, as for `encode`.

        Returns:
            `(rows, compact.width)`, which `compact.expand` turns into the rows of `encode`; None if a row is refused,
            which `encode` then explains.
        """
        return at_once(self.encode_compact_in_steps(rows))

    def encode_compact_in_steps(self, rows: Sequence[Any]) -> Generator[None, None, NDArray[np.float32] | None]:
        """Does the work of `encode_compact` in short steps, about a column each, and returns the same."""
        matrix = np.zeros((len(rows), self.compact.width), dtype="<f4")
        unknown = {}
        written = 0
        try:
            columns = yield from self._columns(rows)
            for name, cells, (place, write) in zip(self._names, columns, self._column_writers, strict=True):
                if found := write(cells, matrix[:, place]):
                    unknown[name] = found
                written += len(rows)
                if written >= _STEP_CELLS:
                    written = 0
                    yield
        except Refused:
            return None
        for name, found in unknown.items():
            self.unknown.add(name, found)
        return matrix

    def _columns(self, rows: Sequence[Any]) -> Generator[None, None, Iterable[Sequence[Any]]]:
        """Returns the cells of each column; refuses rows of the wrong width or with wrong names."""
        kinds = set(map(type, rows))
        if kinds == {dict}:
            if set(map(len, rows)) != {len(self._names)}:
                raise Refused
            try:
                return [[row[name] for row in rows] for name in self._names]
            except KeyError:
                pass  # a row spells names differently, or has other names
        if kinds != {list}:
            ordered: list[Sequence[Any]] = []
            for start in range(0, len(rows), _STEP_ROWS):
                ordered += map(self._ordered, rows[start : start + _STEP_ROWS])
                yield
            rows = ordered
        elif set(map(len, rows)) != {len(self._names)}:
            raise Refused
        return zip(*rows, strict=True)

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
            for key, twin in self._row_names.misfits(row):
                message = f"not a column of this model; its columns are {listed(self._names)}"
                if twin is not None:
                    message = f"another key of this row names column {twin[:MAX_ECHO]!r} too"
                yield Fault(i, sendable(str(key)[:MAX_ECHO]), message)
            row = {name: cell for key, cell in row.items() if (name := self._row_names.find(key)) is not None}
            for name in self._names:
                if name not in row:
                    yield Fault(i, name, "this column is missing")
        elif not isinstance(row, list | tuple):
            wanted = f"a list of {len(self._names)} values or an object by column name"
            yield Fault(i, None, f"{shown(row)} where {wanted} is expected")
            return
        elif len(row) != len(self._names):
            yield Fault(i, None, self._wrong_width(len(row)))
            return
        scratch = [0.0] * self.width
        for at, column in enumerate(self.schema.columns):
            if isinstance(row, Mapping) and column.name not in row:
                continue
            cell = row[column.name] if isinstance(row, Mapping) else row[at]
            try:
                self._writers[column.name](scratch, cell)
            except Refused:
                yield Fault(i, column.name, reason(column, cell))

    def _wrong_width(self, cells: int) -> str:
        """Returns the message for a row with the wrong number of cells."""
        values = "1 value" if cells == 1 else f"{cells} values"
        return f"{values} where the model takes {len(self._names)}: {listed(self._names)}"
