"""Cells: one value of a client's row → its features, and in words what is wrong with one that has none.

A writer is prepared once a column, so that a cell costs a look-up or a comparison.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.columns import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, NumericColumn
from models.dates import CIRCLES, PART_OF, days_since_1970, parse

MAX_ECHO = 60  # characters of one value or name repeated in a message
_MAX_LISTED = 10  # columns or categories listed in a message
_MAX_CATEGORY_BITS = 1_000  # a category may be a number, but Python refuses to write out thousands of digits

CellWriter = Callable[[list[float], Any], None]


class Refused(Exception):
    """A cell or row that a prepared writer cannot take: a signal inside the encoders, which never leaves them."""


def cell_writer(column: Column, at: int) -> CellWriter:
    """What writes one cell of this column into a row of zeros, from feature `at` on; it raises `Refused`."""
    if isinstance(column, NumericColumn):
        return _numeric_writer(column, at)
    if isinstance(column, DateColumn):
        return _date_writer(column, at)
    return _one_hot_writer(column, at) if column.encoding == "one_hot" else _number_writer(column, at)


def _numeric_writer(column: NumericColumn, at: int) -> CellWriter:
    origin = column.origin
    write_missing = _missing_writer(column, at)

    def write(features: list[float], cell: Any) -> None:
        if type(cell) is float or type(cell) is int:
            try:
                value = cell - origin
            except OverflowError:  # a whole number beyond what a float holds
                raise Refused from None
            if not -FLOAT32_LIMIT < value < FLOAT32_LIMIT:  # also where it is NaN
                raise Refused
            features[at] = value
        elif cell is None:
            write_missing(features)
        elif isinstance(cell, float):  # a subclass, such as NumPy's float64
            write(features, float(cell))
        else:
            raise Refused

    return write


def _date_writer(column: DateColumn, at: int) -> CellWriter:
    origin = column.origin
    write_missing = _missing_writer(column, at)
    parts = [(at + 1 + 2 * i, PART_OF[part], CIRCLES[part]) for i, part in enumerate(column.parts)]

    def write(features: list[float], cell: Any) -> None:
        if cell is None:
            write_missing(features)
            return
        moment = parse(cell) if isinstance(cell, str) else None
        if moment is None:
            raise Refused
        features[at] = days_since_1970(moment) - origin
        for place, part_of, circle in parts:
            features[place], features[place + 1] = circle[part_of(moment)]

    return write


def _missing_writer(column: NumericColumn | DateColumn, at: int) -> Callable[[list[float]], None]:
    """What writes a missing number or date."""
    refused, fill = column.missing == "refuse", column.shift
    flag = at + column.width - 1 if column.missing == "indicator" else None

    def write(features: list[float]) -> None:
        if refused:
            raise Refused
        features[at] = fill
        if flag is not None:
            features[flag] = 1.0

    return write


def _one_hot_writer(column: CategoricalColumn, at: int) -> CellWriter:
    find = category_finder(column)

    def write(features: list[float], cell: Any) -> None:
        position = find(cell)
        if position is not None:
            features[at + position] = 1.0

    return write


def _number_writer(column: CategoricalColumn, at: int) -> CellWriter:
    find, numbers = category_finder(column), category_numbers(column)

    def write(features: list[float], cell: Any) -> None:
        position = find(cell)
        if position is not None:
            features[at] = numbers[position]

    return write


def category_numbers(column: CategoricalColumn) -> list[float]:
    """`(categories,)` the number that stands for each category in an encoding of one feature."""
    return [-1.0, 1.0] if column.encoding == "sign" else [float(i + 1) for i in range(len(column.categories))]


def category_finder(column: CategoricalColumn) -> Callable[[Any], int | None]:
    """What finds the position of a cell's category; None where its features stay 0; it raises `Refused`."""
    positions = {category: i for i, category in enumerate(column.categories)}
    if_missing, if_unknown = column.missing == "ignore", column.unknown == "ignore"

    def find(cell: Any) -> int | None:
        name = cell if type(cell) is str else _category_name(cell)
        position = positions.get(name) if name is not None else None
        if position is None and not (if_missing if cell is None else if_unknown and name is not None):
            raise Refused
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


def reason(column: Column, cell: Any) -> str:
    """Why this column refuses this cell."""
    if cell is None:
        return "the value is missing, and training saw no missing value in this column"
    if isinstance(column, CategoricalColumn):
        return f"{shown(cell)} is not a category of this column, which knows {listed(column.categories)}"
    if isinstance(column, DateColumn):
        return f"{shown(cell)} is not a date (ISO 8601, such as 2024-05-31 or 2024-05-31T13:45:00Z)"
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return f"{shown(cell)} is not a number"
    if isinstance(cell, float) and not math.isfinite(cell):
        return f"{shown(cell)} is not a finite number"
    return f"{shown(cell)} is too large for 32-bit floating point"


def listed(names: Sequence[str]) -> str:
    """Names in a message: the first few, and how many there are."""
    shown = ", ".join(repr(name[:MAX_ECHO]) for name in names[:_MAX_LISTED])
    return shown if len(names) <= _MAX_LISTED else f"{shown}, … ({len(names)} in all)"


def shown(value: Any) -> str:
    """A client's value in a message: its JSON form for scalars, its kind for the rest, bounded in length."""
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
    """Text that UTF-8 can carry: a lone surrogate, which JSON can write, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
