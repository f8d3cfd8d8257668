"""Encoding of JSON cells column by column: a few array operations per column, no Python call per cell.

`models.columns.cells` defines the meaning of a cell. This module calls it only for unusual cells, so many rows take a
fraction of the time and give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import is_missing
from models.columns.cells import UNKNOWN, Refused, category_finder, category_numbers, moment_reader
from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.column_encoding import encode_dates, encode_numbers
from models.columns.date_fields import Moments
from models.columns.date_forms import is_number_form
from models.columns.date_numbers import moments_of_numbers
from models.columns.date_texts import parse_texts
from models.errors import DataError

ColumnWriter = Callable[[Sequence[Any], NDArray[np.float32]], int]

_NO_CATEGORY, _UNREAD = -1, -2  # instead of the position of a category
_NUMBERS = frozenset({float, int})
_NUMBERS_AND_GAPS = frozenset({float, int, type(None)})
_TEXTS_AND_GAPS = frozenset({str, type(None)})


def column_writer(column: Column) -> ColumnWriter:
    """Makes a function that encodes a column's cells.

    Returns:
        Function of the cells and `(rows, width)` zeros, which are filled, to the number of unknown cells. The function
        raises `Refused`.
    """
    if isinstance(column, NumericColumn):
        return _numeric_writer(column)
    return _date_writer(column) if isinstance(column, DateColumn) else _category_writer(column)


def _numeric_writer(column: NumericColumn) -> ColumnWriter:
    def write(cells: Sequence[Any], block: NDArray[np.float32]) -> int:
        kinds = set(map(type, cells))
        if str in kinds:  # a text for a missing value counts as None, and any other text is refused
            cells = [None if isinstance(cell, str) and is_missing(cell) else cell for cell in cells]
            kinds = set(map(type, cells))
        if not kinds <= _NUMBERS_AND_GAPS:
            raise Refused
        try:
            if kinds <= _NUMBERS:
                numbers = np.fromiter(cells, dtype=np.float64, count=len(cells))
                gaps = 0
            else:
                numbers = np.array(cells, dtype=np.float64)  # None becomes NaN
                gaps = cells.count(None)
            if np.count_nonzero(np.isnan(numbers)) != gaps:
                raise Refused
            encode_numbers(column, numbers, block)
        except (DataError, OverflowError):  # OverflowError: a whole number too large for a float
            raise Refused from None
        return 0

    return write


def _date_writer(column: DateColumn) -> ColumnWriter:
    form, read = column.form, moment_reader(column)
    takes_numbers = is_number_form(form)

    def write(cells: Sequence[Any], block: NDArray[np.float32]) -> int:
        kinds = set(map(type, cells))
        if form is not None and takes_numbers and kinds <= _NUMBERS:
            moments = _moments_of_numbers(cells, form)
        else:
            if not kinds <= _TEXTS_AND_GAPS and not takes_numbers:
                raise Refused
            texts = cells if kinds == {str} else [cell if type(cell) is str else "" for cell in cells]
            moments, sound = parse_texts(texts, form)
            # Numbers among texts, texts with blanks at the ends and texts for a missing value are few: read one by one.
            for row in np.flatnonzero(~sound).tolist():
                if cells[row] is not None and (moment := read(cells[row])) is not None:
                    moments[row] = moment
        try:
            encode_dates(column, moments, block)
        except DataError:
            raise Refused from None
        return 0

    return write


def _moments_of_numbers(cells: Sequence[Any], form: str) -> Moments:
    try:
        moments = moments_of_numbers(np.fromiter(cells, dtype=np.float64, count=len(cells)), form)
    except OverflowError:  # a whole number too large for a float
        raise Refused from None
    if np.isnat(moments).any():
        raise Refused
    return moments


def _category_writer(column: CategoricalColumn) -> ColumnWriter:
    find = category_finder(column)
    known = {category: i for i, category in enumerate(column.categories)}
    is_one_hot = column.encoding == "one_hot"
    # The last number is for a cell without category, whose position is -1.
    numbers = None if is_one_hot else np.array([*category_numbers(column), 0.0], dtype=np.float32)

    def write(cells: Sequence[Any], block: NDArray[np.float32]) -> int:
        try:
            positions = np.fromiter(map(known.get, cells, repeat(_UNREAD)), dtype=np.intp, count=len(cells))
        except TypeError:  # a list or an object
            raise Refused from None
        unknown = 0
        # Position of each other spelling, number and unknown category, looked up once. 1, 1.0 and True are equal, but
        # not the same category.
        read: dict[tuple[type, Any], int | None] = {}
        for row in np.flatnonzero(positions == _UNREAD).tolist():
            cell = cells[row]
            key = (type(cell), cell)
            if key in read:
                position = read[key]
            else:
                position = read[key] = find(cell)
            unknown += position == UNKNOWN
            positions[row] = _NO_CATEGORY if position is None or position == UNKNOWN else position
        if numbers is not None:
            block[:, 0] = numbers[positions]
        else:
            rows = np.flatnonzero(positions != _NO_CATEGORY)
            block[rows, positions[rows]] = 1.0
        return unknown

    return write
