"""Encoding of cells one by one: a value of a client's row becomes features, or gets a message that says what is wrong.

A writer is prepared once per column, so that a cell costs one look-up or comparison.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from models.columns.cell_text import NoCategory, bare, category_of, is_missing
from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.date_forms import is_number_form
from models.columns.date_numbers import moment_of_number
from models.columns.dates import CIRCLES, PART_OF, days_since_1970, parse, written
from models.columns.gaps import CategoryGaps, NumberGaps
from models.columns.unknown_cells import UnknownCells

MAX_ECHO = 60  # characters of a value or name quoted in a message
_MAX_LISTED = 10  # columns or categories listed in a message

_FEW_BITS = 64  # largest size of a whole number that is written out for a look-up; thousands of digits would be slow
UNKNOWN = -1  # the position of a category that training did not see

CellWriter = Callable[[list[float], Any], None]


class Refused(Exception):
    """A signal inside the encoders for a cell or row that is not valid; callers of an encoder never see this."""


def cell_writer(column: Column, at: int, unknown: UnknownCells | None = None) -> CellWriter:
    """Makes a function that writes one cell of a column into a row of zeros, or raises `Refused`.

    Args:
        column: column of the cells.
        at: position of the column's first feature in the row.
        unknown: counter of unknown categories; None for no counts.
    """
    unknown = UnknownCells() if unknown is None else unknown
    if isinstance(column, NumericColumn):
        return _numeric_writer(column, at)
    if isinstance(column, DateColumn):
        return _date_writer(column, at)
    make = _one_hot_writer if column.encoding == "one_hot" else _number_writer
    return make(column, at, unknown)


def _numeric_writer(column: NumericColumn, at: int) -> CellWriter:
    origin = column.origin
    write_missing = _missing_writer(column, at)
    gaps = NumberGaps(column.gaps)

    def write(features: list[float], cell: Any) -> None:
        if type(cell) is float or type(cell) is int:
            if gaps and gaps.has(cell):
                write_missing(features)
                return
            try:
                value = cell - origin
            except OverflowError:  # a whole number too large for a float
                raise Refused from None
            if not -FLOAT32_LIMIT < value < FLOAT32_LIMIT:  # also if the value is NaN
                raise Refused
            features[at] = value
        elif cell is None:
            write_missing(features)
        elif isinstance(cell, float):  # a subclass of float, such as NumPy's float64
            write(features, float(cell))
        elif isinstance(cell, str) and is_missing(cell):
            write_missing(features)
        else:
            raise Refused

    return write


def _date_writer(column: DateColumn, at: int) -> CellWriter:
    origin = column.origin
    write_missing = _missing_writer(column, at)
    read = moment_reader(column)
    parts = [(at + 1 + 2 * i, PART_OF[part], CIRCLES[part]) for i, part in enumerate(column.parts)]
    gaps = column.gaps

    def write(features: list[float], cell: Any) -> None:
        moment = None if cell is None else read(cell)
        if moment is None or (gaps and days_since_1970(moment) in gaps):
            write_missing(features)
            return
        features[at] = days_since_1970(moment) - origin
        for place, part_of, circle in parts:
            features[place], features[place + 1] = circle[part_of(moment)]

    return write


def moment_reader(column: DateColumn) -> Callable[[Any], datetime | None]:
    """Makes a function that reads the moment of a cell, None for a missing one, or raises `Refused`."""
    form = column.form
    number_form = form if is_number_form(form) else None

    def read(cell: Any) -> datetime | None:
        if isinstance(cell, str):
            moment = parse(cell, form) or parse(bare(cell), form)
            if moment is None and not is_missing(cell):
                raise Refused
            return moment
        if number_form is None or isinstance(cell, bool) or not isinstance(cell, int | float):
            raise Refused
        try:
            moment = moment_of_number(float(cell), number_form)
        except OverflowError:  # a whole number too large for a float
            raise Refused from None
        if moment is None:
            raise Refused
        return moment

    return read


def _missing_writer(column: NumericColumn | DateColumn, at: int) -> Callable[[list[float]], None]:
    """Makes a function that writes a missing number or date."""
    refused, fill = column.missing == "refuse", column.shift
    flag = at + column.width - 1 if column.missing == "indicator" else None

    def write(features: list[float]) -> None:
        if refused:
            raise Refused
        features[at] = fill
        if flag is not None:
            features[flag] = 1.0

    return write


def _one_hot_writer(column: CategoricalColumn, at: int, unknown: UnknownCells) -> CellWriter:
    find, name = category_finder(column), column.name

    def write(features: list[float], cell: Any) -> None:
        position = find(cell)
        if position is None:
            return
        if position == UNKNOWN:
            unknown.add(name)
            return
        features[at + position] = 1.0

    return write


def _number_writer(column: CategoricalColumn, at: int, unknown: UnknownCells) -> CellWriter:
    find, numbers, name = category_finder(column), category_numbers(column), column.name

    def write(features: list[float], cell: Any) -> None:
        position = find(cell)
        if position is None:
            return
        if position == UNKNOWN:
            unknown.add(name)
            return
        features[at] = numbers[position]

    return write


def category_numbers(column: CategoricalColumn) -> list[float]:
    """Returns the number for each category, `(categories,)`, in an encoding with one feature."""
    return [-1.0, 1.0] if column.encoding == "sign" else [float(i + 1) for i in range(len(column.categories))]


def category_finder(column: CategoricalColumn) -> Callable[[Any], int | None]:
    """Makes a function that finds the category of a cell.

    A cell with the exact spelling of a category costs one look-up; other cells are read by `category_of`.

    Returns:
        Function from a cell to the position of the cell's category, `UNKNOWN` for a category that training did not
        see, or None for a missing cell. The features of the last two stay 0. The function raises `Refused` for an
        unknown category or a missing cell that the column refuses, and for a cell that names no category.
    """
    positions = {category: i for i, category in enumerate(column.categories)}
    for i, category in enumerate(column.categories):  # categories from training are normalised already
        if (spelled := category_of(category)) is not None:
            positions.setdefault(spelled, i)
    by_text = positions.get
    if_missing, if_unknown = column.missing == "ignore", column.unknown == "ignore"
    if_filled = None if column.fill is None else positions[column.fill]
    gaps = CategoryGaps(column.gaps)

    def find(cell: Any) -> int | None:
        position = None
        if type(cell) is str:
            position = by_text(cell)
        elif type(cell) is int and cell.bit_length() <= _FEW_BITS:
            position = by_text(int.__repr__(cell))
        elif type(cell) is bool:
            position = by_text("true" if cell else "false")
        if position is not None:
            return position
        try:
            name = category_of(cell)
        except NoCategory:
            raise Refused from None
        if gaps and name in gaps:
            name = None
        position = if_filled if name is None else by_text(name)
        if position is not None:
            return position
        if not (if_missing if name is None else if_unknown):
            raise Refused
        return None if name is None else UNKNOWN

    return find


def reason(column: Column, cell: Any) -> str:
    """Returns the reason why a column refuses a cell, for a message."""
    if _is_missing(column, cell):
        return "the value is missing, and training saw no missing value in this column"
    if column.gaps and _is_gap(column, cell):
        return f"{shown(cell)} stands for a missing value, and training saw no missing value in this column"
    if isinstance(column, CategoricalColumn):
        return f"{shown(cell)} is not a category of this column, which knows {listed(column.categories)}"
    if isinstance(column, DateColumn):
        form = (
            ""
            if column.form is None
            else f", or {column.form} as in the training table, such as {written(column.form)}"
        )
        return f"{shown(cell)} is not a date (ISO 8601, such as 2024-05-31 or 2024-05-31T13:45:00Z{form})"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return f"{shown(cell)} is not a number"
    if isinstance(cell, float) and not math.isfinite(cell):
        return f"{shown(cell)} is not a finite number"
    return f"{shown(cell)} is too large for 32-bit floating point"


def _is_missing(column: Column, cell: Any) -> bool:
    if isinstance(column, CategoricalColumn) and isinstance(cell, float):
        return cell != cell
    return cell is None or (isinstance(cell, str) and is_missing(cell))


def _is_gap(column: Column, cell: Any) -> bool:
    """Returns True if a cell is one of the values that were declared missing."""
    try:
        if isinstance(column, CategoricalColumn):
            return category_of(cell) in CategoryGaps(column.gaps)
        if isinstance(column, DateColumn):
            moment = moment_reader(column)(cell)
            return moment is not None and days_since_1970(moment) in column.gaps
    except (NoCategory, Refused):
        return False
    return isinstance(cell, int | float) and not isinstance(cell, bool) and NumberGaps(column.gaps).has(cell)


def listed(names: Sequence[str]) -> str:
    """Lists names for a message: the first few names and, if there are more, the total number."""
    shown = ", ".join(repr(name[:MAX_ECHO]) for name in names[:_MAX_LISTED])
    return shown if len(names) <= _MAX_LISTED else f"{shown}, … ({len(names)} in all)"


def shown(value: Any) -> str:
    """Writes a client's value for a message, with a bounded length: scalars as JSON, other values by type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        more = "…" if len(value) > MAX_ECHO else ""
        return sendable(json.dumps(value[:MAX_ECHO] + more, ensure_ascii=False))
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, int):
        short = value.bit_length() <= 3 * MAX_ECHO  # log2(10) > 3: at most MAX_ECHO digits, and a sign
        return int.__repr__(value) if short else "a whole number of many digits"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "this value"


def sendable(text: str) -> str:
    """Makes a text valid UTF-8: a lone surrogate, which JSON can write, becomes an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
