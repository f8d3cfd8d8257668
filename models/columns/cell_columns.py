"""Columns of cells as a JSON parser gives them → features: a few array operations a column, no Python call a cell.

`models.columns.cells` decides what a cell means. This module asks it only about unusual cells, so that many rows take a
fraction of the time and have the same bits.
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

_NO_CATEGORY, _UNREAD = -1, -2  # beside the positions of categories
_NUMBERS = frozenset({float, int})
_NUMBERS_AND_GAPS = frozenset({float, int, type(None)})
_TEXTS_AND_GAPS = frozenset({str, type(None)})


def column_writer(column: Column) -> ColumnWriter:
    """Prepares what writes a column's cells into `(rows, width)` zeros and gives the number of unknown ones.

    It raises `Refused`.
    """
    if isinstance(column, NumericColumn):
        return _numeric_writer(column)
    return _date_writer(column) if isinstance(column, DateColumn) else _category_writer(column)


def _numeric_writer(column: NumericColumn) -> ColumnWriter:
    def write(cells: Sequence[Any], block: NDArray[np.float32]) -> int:
        kinds = set(map(type, cells))
        if str in kinds:  # one that says missing is a gap, and any other is refused
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
        except (DataError, OverflowError):  # a whole number beyond what a float holds
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
            # Numbers among texts, texts with blanks around them and those that say missing: few, and read one by one.
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
    except OverflowError:  # a whole number beyond what a float holds
        raise Refused from None
    if np.isnat(moments).any():
        raise Refused
    return moments


def _category_writer(column: CategoricalColumn) -> ColumnWriter:
    find = category_finder(column)
    known = {category: i for i, category in enumerate(column.categories)}
    is_one_hot = column.encoding == "one_hot"
    # The last one stands for no category, whose position is -1.
    numbers = None if is_one_hot else np.array([*category_numbers(column), 0.0], dtype=np.float32)

    def write(cells: Sequence[Any], block: NDArray[np.float32]) -> int:
        try:
            positions = np.fromiter(map(known.get, cells, repeat(_UNREAD)), dtype=np.intp, count=len(cells))
        except TypeError:  # a list or an object
            raise Refused from None
        unknown = 0
        read: dict[str, int | None] = {}  # each other spelling, and each unknown category, is asked for once
        for row in np.flatnonzero(positions == _UNREAD).tolist():
            cell = cells[row]
            if type(cell) is not str:
                position = find(cell)
            elif cell in read:
                position = read[cell]
            else:
                position = read[cell] = find(cell)
            unknown += position == UNKNOWN
            positions[row] = _NO_CATEGORY if position is None or position == UNKNOWN else position
        if numbers is not None:
            block[:, 0] = numbers[positions]
        else:
            rows = np.flatnonzero(positions != _NO_CATEGORY)
            block[rows, positions[rows]] = 1.0
        return unknown

    return write
