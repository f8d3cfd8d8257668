"""A text reading: the user's choice of marks and missing values for the texts of a table, and its application."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.cell_text import BLANKS
from models.errors import DataError
from training.data.cells import dates_in, moments_of, values_of
from training.data.mark_evidence import given_marks
from training.data.missing_texts import MissingValues, missing_values
from training.data.notation import Precedent
from training.data.number_texts import PLAIN, Marks, numbers_in
from training.data.table import Table

DECIMALS = (".", ",")
THOUSANDS = (".", ",", "'", "space", "none")
_EXACT = 2.0**53  # from here on, float64 cannot hold every whole number
_SPELLINGS = 3  # spellings of a missing value that a note lists


@dataclass(frozen=True, kw_only=True)
class TextReading:
    """The user's choices of how the texts of a table are read.

    Attributes:
        decimal: decimal mark of numbers in texts, `.` or `,`; None to decide from the table.
        thousands: mark that divides thousands, `.`, `,`, `'`, `space` or `none`; None to decide from the table.
        missing_values: values that stand for missing: texts, numbers or `COLUMN=VALUE`, or a mapping of columns to
            values. A number is missing in any spelling.

    Raises:
        DataError: a mark is none of these, or the same mark is given for both.
    """

    decimal: str | None = None
    thousands: str | None = None
    missing_values: Any = ()

    def __post_init__(self) -> None:
        for name, known in (("decimal", DECIMALS), ("thousands", THOUSANDS)):
            value = getattr(self, name)
            value = {" ": "space", "": "none", "’": "'"}.get(value, value) if isinstance(value, str) else value
            object.__setattr__(self, name, value)
            if value is not None and value not in known:
                raise DataError(f"{name} must be one of {' '.join(known)}, got {value!r}.")
        if self.decimal is not None and self.decimal == self.thousands:
            raise DataError(f"decimal and thousands cannot both be {self.decimal!r}.")


@dataclass(kw_only=True)
class _Found:
    """The cells that are a missing value: their number, and their spellings in order."""

    cells: int = 0
    spellings: dict[str, None] = field(default_factory=dict)


def read_as(table: Table, reading: TextReading, precedent: Precedent | None = None) -> Table:
    """Returns a table with the user's marks, in which the values that the user declares missing are null.

    Args:
        table: table as read from its source.
        reading: the user's choices.
        precedent: notation of an earlier table of the same columns; None without one.

    Raises:
        DataError: missing values are given for a column that the table does not have.
    """
    marks = given_marks(reading.decimal, reading.thousands)
    if reading.thousands == "none" and marks is None:
        marks = Marks(decimal=table.most_likely_decimal(), thousands="", neutral=False)
    table = replace(table, marks=marks, precedent=precedent or table.precedent)
    missing = missing_values(reading.missing_values, table.columns)
    if not missing:
        return table
    read, found = _with_gaps(table, missing, table.columns.keys())
    values = (*missing.everywhere, *(value for of in missing.by_column.values() for value in of))
    notes = tuple(_counted(value, found.get(value, _Found()), table.source) for value in dict.fromkeys(values))
    return replace(read, notes=(*table.notes, *notes), missing=missing)


def with_earlier_gaps(table: Table, names: Collection[str], notes: list[str]) -> Table:
    """Returns a table in which the values that were declared missing in the earlier table are null, in some columns.

    Args:
        table: table with the precedent of an earlier table, or without one.
        names: names of the columns.
        notes: list to which a note on each value that is there is appended.
    """
    precedent = table.precedent
    if precedent is None or not precedent.missing:
        return table
    read, found = _with_gaps(table, precedent.missing, [name for name in names if name in table.columns])
    notes += [_counted(value, of, table.source, f", as in {precedent.source}") for value, of in found.items()]
    return read


def _with_gaps(table: Table, missing: MissingValues, names: Collection[str]) -> tuple[Table, dict[str, _Found]]:
    """Returns a table in which some values are null, and the cells that were such a value, by value."""
    columns, found, scratch = dict(table.columns), dict[str, _Found](), table.scratch()
    for name in names:
        if not (values := missing.of(name)):
            continue
        # Numbers that were read with other marks than the file's are not the numbers that the user means.
        cells = table.columns[name] if table.fits(name) else table.with_texts(name)
        columns[name] = _without(cells, values, _marks_of(table, name), found)
        if scratch is not None and columns[name] is not cells:
            columns[name] = scratch.copy_cells(columns[name])

    def texts(name: str) -> pa.Array:
        return _texts_without(table, name, missing) if name in names else table.with_texts(name)

    return replace(table, columns=columns, read_texts=None if table.read_texts is None else texts), found


def _texts_without(table: Table, name: str, missing: MissingValues) -> pa.Array:
    return _without(table.with_texts(name), missing.of(name), _marks_of(table, name), {})


def _marks_of(table: Table, name: str) -> tuple[Marks, ...]:
    """Returns the marks with which a missing value is read as a number, the ones to try first before the others.

    In a file with decimal commas `9.999` is 9999, as the cells are. The marks of notes come last there, for a value
    such as `-9999.5`, which is no number with the marks of the file.
    """
    marks = table.decision(name).marks or PLAIN
    is_text = table.text or pa.types.is_dictionary(table.columns[name].type)
    return (marks, PLAIN) if is_text else (PLAIN, marks)


def _counted(value: str, found: _Found, source: str, why: str = "") -> str:
    """Returns the note on the cells that are a missing value."""
    if not found.cells:
        return f"No cell of {source} is {value!r}, a missing value."
    listed = ", ".join(map(repr, list(found.spellings)[:_SPELLINGS])) + ", …" * (len(found.spellings) > _SPELLINGS)
    written = f" (written {listed})" if set(found.spellings) - {value} else ""
    counted = "1 cell" if found.cells == 1 else f"{found.cells:,} cells"
    return f"{counted} of {source} {'is' if found.cells == 1 else 'are'} {value!r}, a missing value{why}{written}."


def _without(cells: pa.Array, values: tuple[str, ...], marks: tuple[Marks, ...], found: dict[str, _Found]) -> pa.Array:
    """Returns a column's cells with null for some values; cells that are a value are counted in `found`."""
    for value in values:
        spellings: list[str] = []
        if pa.types.is_dictionary(cells.type):
            hit = _equal_texts(cells.dictionary, value, marks)
            if not hit.any():
                continue
            places = pc.fill_null(cells.indices, -1).to_numpy(zero_copy_only=False)
            rows = np.append(hit, False)[places]
            spellings = cells.dictionary.take(pa.array(np.unique(places[rows]))).to_pylist()
        else:
            rows = _equal_cells(cells, value, marks)
        if rows.any():
            seen = found.setdefault(value, _Found())
            seen.cells += int(rows.sum())
            seen.spellings |= dict.fromkeys(spellings)
            cells = _blanked(cells, rows)
    return cells


def _blanked(cells: pa.Array, rows: NDArray[np.bool_]) -> pa.Array:
    if pa.types.is_dictionary(cells.type):
        indices = pc.if_else(pa.array(rows), pa.scalar(None, cells.indices.type), cells.indices)
        return pa.DictionaryArray.from_arrays(indices, cells.dictionary)
    return pc.if_else(pa.array(rows), pa.scalar(None, cells.type), cells)


def _equal_texts(texts: pa.Array, value: str, marks: tuple[Marks, ...]) -> NDArray[np.bool_]:
    """Returns `(texts,)` True for a text that equals a value, or is the same number."""
    bare = pc.utf8_trim(pc.cast(texts, pa.string()), characters=BLANKS)
    hits = pc.fill_null(pc.equal(bare, value), False).to_numpy(zero_copy_only=False)
    equal: NDArray[np.bool_] = hits.astype(np.bool_)
    number = _number(value, marks)
    return equal if number is None else equal | _equal_numbers(numbers_in(bare, marks[0])[0], number)


def _equal_cells(cells: pa.Array, value: str, marks: tuple[Marks, ...]) -> NDArray[np.bool_]:
    """Returns `(rows,)` True for a cell, not a text, that equals a value."""
    kind, number = cells.type, _number(value, marks)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments, is_date = dates_in(pa.array([value]))
        same: NDArray[np.bool_] = np.equal(moments_of(cells)[0], moments[0]) & is_date[0]
        return same
    is_numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if number is None or not is_numeric:
        return np.zeros(len(cells), np.bool_)
    return _equal_numbers(values_of(cells), number)


def _equal_numbers(values: NDArray[np.float64], number: float) -> NDArray[np.bool_]:
    """Returns `(rows,)` True for a value that equals a number, or rounds to the same float32, as a fill value may."""
    equal: NDArray[np.bool_] = values == number
    if not (float(number).is_integer() and abs(number) < _EXACT):
        with np.errstate(over="ignore"):
            equal |= (values.astype(np.float32) == np.float32(number)) & (np.isinf(values) == np.isinf(number))
    return equal


def _number(value: str, marks: tuple[Marks, ...]) -> float | None:
    for way in marks:
        numbers, is_number = numbers_in(pa.array([value]), way)
        if is_number[0]:
            return float(numbers[0])
    return None
