"""Rows that come as columns: arrays and lists of cells by name, as in a table or in named tensors.

An array of numbers is encoded with a few array operations, without a Python object per cell. Each cell means what the
same value means in a JSON request, with the same bits; NaN in an array of floats is a missing value.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_columns import ColumnWriter
from models.columns.cells import MAX_ECHO, Refused, cell_writer, listed, reason, sendable
from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.column_encoding import encode_dates, encode_numbers
from models.columns.compact_rows import CompactRows
from models.columns.dates import are_dates, iso_text
from models.columns.dictionary_cells import DictionaryCells, ListedCells
from models.columns.gaps import NumberGaps
from models.columns.row_names import RowNames
from models.columns.schema import Schema
from models.columns.unknown_cells import UnknownCells
from models.errors import DataError, Fault, RowError

Cells = ListedCells | DictionaryCells

MAX_FAULTS = 20  # faults listed for one request: enough to see a pattern, bounded for hostile requests
_STEP_CELLS = 2048  # least number of cells that are written in one step, usually in a fraction of a millisecond
_COLUMN_CELLS = 32  # cells that take as long to write as the first cell of a column


class NamedColumns:
    """Rows as columns by name.

    Args:
        by_name: cells of each column, `(rows,)`: an array of numbers, booleans or moments, a list of cells as from a
            JSON parser, or places in a dictionary of such cells.
        rows: number of rows.
        ignores_others: True if columns that the model lacks are ignored, as for a table; False if they are refused.

    Attributes:
        by_name: cells of each column, `(rows,)`: an array of numbers, booleans or moments, or a list of cells as from a
            JSON parser.
        rows: number of rows.
        ignores_others: True if columns that the model lacks are ignored, as for a table; False if they are refused.
    """

    __slots__ = ("by_name", "ignores_others", "rows")

    def __init__(self, by_name: Mapping[str, Cells], rows: int, *, ignores_others: bool = False) -> None:
        self.by_name = by_name
        self.rows = rows
        self.ignores_others = ignores_others

    def __len__(self) -> int:
        return self.rows


class ColumnsEncoder:
    """An encoder of rows that come as columns. `RowEncoder` has one.

    Args:
        schema: schema of the rows.
        compact: compact form of the rows.
        writers: place in a compact row and writer of each column.
        names: names of the columns, with their other spellings.
        unknown: counter of unknown categories.
    """

    def __init__(
        self,
        schema: Schema,
        compact: CompactRows,
        writers: Sequence[tuple[slice, ColumnWriter]],
        names: RowNames,
        unknown: UnknownCells,
    ) -> None:
        self._schema = schema
        self._width = compact.width
        self._writers = writers
        self._names = names
        self._unknown = unknown

    def in_order(self, table: NamedColumns) -> list[Cells]:
        """Returns the cells of a table in the order of the model's columns.

        A single column of any name stands for the only column of a model, unless other columns are ignored: then a
        column of another name is one of the others.

        Raises:
            RowError: a column is missing, unknown, or there under two spellings.
        """
        columns, found, strays = self._schema.names, {}, []
        for name, cells in table.by_name.items():
            column = self._names.find(name)
            if column is None:
                strays.append(name)
            elif column in found:
                raise RowError([Fault(0, column, f"another column of this request names it too: {_quoted(name)}")])
            else:
                found[column] = cells
        if not table.ignores_others and not found and len(strays) == len(columns) == 1:
            return [table.by_name[strays[0]]]
        if strays and not table.ignores_others:
            known = f"its columns are {listed(columns)}"
            faults = [Fault(0, sendable(name[:MAX_ECHO]), f"not a column of this model; {known}") for name in strays]
            raise RowError(faults[:MAX_FAULTS])
        missing = [Fault(0, name, "this column is missing") for name in columns if name not in found]
        if missing:
            raise RowError(missing[:MAX_FAULTS])
        return [found[name] for name in columns]

    def encode_in_steps(self, columns: Sequence[Cells], rows: int) -> Generator[None, None, NDArray[np.float32]]:
        """Encodes columns to the compact form in short steps, about a column each.

        Args:
            columns: cells of each column, in the model's order, `(rows,)` each.
            rows: number of rows.

        Returns:
            `(rows, compact.width)` float32, as the generator's value.

        Raises:
            RowError: some cells are not valid for their columns.
        """
        matrix = np.zeros((rows, self._width), dtype="<f4")
        unknown: dict[str, int] = {}
        faults: list[Fault] = []
        written = 0
        for column, cells, (place, write) in zip(self._schema.columns, columns, self._writers, strict=True):
            try:
                if found := _write(column, cells, matrix[:, place], write):
                    unknown[column.name] = found
            except (Refused, DataError):
                faults += list(islice(_faults(column, cells), MAX_FAULTS)) or [
                    Fault(0, column.name, "this column cannot be read")
                ]
            written += rows + _COLUMN_CELLS
            if written >= _STEP_CELLS:
                written = 0
                yield
        if faults:
            raise RowError(sorted(faults, key=lambda fault: fault.row)[:MAX_FAULTS])  # stable: columns stay in order
        for name, found in unknown.items():
            self._unknown.add(name, found)
        return matrix

    def faults(self, columns: Sequence[Cells]) -> list[Fault]:
        """Returns every fault of some columns, in the order of the rows.

        Args:
            columns: cells of each column, in the model's order, `(rows,)` each.
        """
        found: list[Fault] = []
        for column, cells, (place, write) in zip(self._schema.columns, columns, self._writers, strict=True):
            block = np.zeros((len(cells), place.stop - place.start), dtype="<f4")
            try:
                _write(column, cells, block, write)
            except (Refused, DataError):
                suspects = _suspects(column, cells)
                if suspects is None:
                    found += _faults(column, cells)
                    continue
                some = np.asarray(cells)[suspects]
                at = suspects.tolist()
                found += (Fault(at[fault.row], fault.column, fault.message) for fault in _faults(column, some))
        return sorted(found, key=lambda fault: fault.row)


def _suspects(column: Column, cells: Cells) -> NDArray[np.intp] | None:
    """Returns the rows of a column of numbers that may be refused; None where any row may be."""
    if not isinstance(column, NumericColumn) or not isinstance(cells, np.ndarray) or cells.dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):
        suspects = ~(np.abs(cells.astype(np.float64) - column.origin) < FLOAT32_LIMIT)
    if column.gaps:
        suspects |= NumberGaps(column.gaps).rows(cells)
    return np.flatnonzero(suspects)


def _write(column: Column, cells: Cells, block: NDArray[np.float32], write: ColumnWriter) -> int:
    """Writes the cells of a column; returns the number of unknown cells."""
    if isinstance(cells, DictionaryCells):
        return cells.dictionary.write(cells.codes, block, lambda some, place: _write(column, some, place, write))
    if isinstance(cells, np.ndarray):
        if isinstance(column, NumericColumn) and cells.dtype.kind in "iuf":
            encode_numbers(column, cells, block)
            return 0
        if isinstance(column, DateColumn) and cells.dtype.kind == "M":
            encode_dates(column, cells, block)
            return 0
    return write(cells_for(column, cells), block)


def cells_for(column: Column, cells: Cells) -> Sequence[Any]:
    """Returns the cells of a column as from a JSON parser.

    Categories are spelled as training spells those of a typed table: a float32 by its shortest digits (0.1), and a
    moment without a time of day of zero.
    """
    if isinstance(cells, DictionaryCells):
        return cells.listed(lambda some: cells_for(column, some))
    if isinstance(column, CategoricalColumn) and isinstance(cells, np.ndarray):
        if cells.dtype.kind == "f" and cells.dtype.itemsize < 8:
            return [None if cell != cell else float(str(cell)) for cell in cells.astype(np.float32)]
        if cells.dtype.kind == "M":
            is_date = are_dates(cells)
            return [
                iso_text(cell) if sound else None if np.isnat(cell) else str(cell)
                for cell, sound in zip(cells, is_date.tolist(), strict=True)
            ]
    return plain_cells(cells)


def plain_cells(cells: Cells) -> Sequence[Any]:
    """Returns cells as from a JSON parser: missing values as None, moments as ISO 8601 texts."""
    if isinstance(cells, DictionaryCells):
        return cells.listed(plain_cells)
    if not isinstance(cells, np.ndarray):
        return cells
    plain: list[Any] = cells.tolist()
    if cells.dtype.kind == "f":
        return [None if cell != cell else cell for cell in plain] if np.isnan(cells).any() else plain
    if cells.dtype.kind == "M":
        return _moment_texts(cells)
    return plain


def _moment_texts(moments: NDArray[Any]) -> list[str | None]:
    """Writes moments in microseconds, and moments outside the years 1 to 9999 in the unit of the array."""
    is_date = are_dates(moments)
    sound = np.where(is_date, moments, np.array("NaT", moments.dtype)).astype("datetime64[us]")
    texts: list[str | None] = np.datetime_as_string(sound).tolist()
    for row in np.flatnonzero(~is_date).tolist():
        texts[row] = None if np.isnat(moments[row]) else str(moments[row])
    return texts


def _faults(column: Column, cells: Cells) -> Iterator[Fault]:
    """Yields the faults of a column's cells."""
    write, features = cell_writer(column, 0), [0.0] * column.width
    for row, cell in enumerate(cells_for(column, cells)):
        try:
            write(features, cell)
        except Refused:
            yield Fault(row, column.name, reason(column, cell))


def _quoted(name: str) -> str:
    return sendable(repr(name[:MAX_ECHO]))
