"""Cells of logged rows: encoded rows become numbers, names and moments again.

A number is what the network's input was made of, rounded to float32. Of the moments that have the same encoded form,
the one with the roundest time of day is taken. A cell without a category is a gap, unless the log has its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.column_encoding import encode_dates
from models.columns.dates import FIRST_DAY, LAST_DAY, are_dates

LoggedCells = NDArray[Any] | list[str | None]

_MICROSECONDS_A_DAY = 86_400_000_000
Unit = Literal["D", "h", "m", "s", "us"]
# The first one whose moment has the same encoded form is taken.
_ROUND_UNITS: tuple[Unit, ...] = ("D", "h", "m", "s", "us")


def decoded_columns(columns: Sequence[Column], rows: NDArray[np.float32]) -> list[LoggedCells]:
    """Returns the cells of each column of encoded rows.

    Args:
        columns: columns of the rows.
        rows: `(rows, width)` encoded rows.

    Returns:
        A list for each column: `(rows,)` float32, or float64 if the column has an origin, NaN for a gap; texts, None
        for a gap or an unknown category; or datetime64, NaT for a gap.
    """
    starts = accumulate((column.width for column in columns), initial=0)
    return [
        _decoded(column, rows[:, start : start + column.width]) for column, start in zip(columns, starts, strict=False)
    ]


def _decoded(column: Column, block: NDArray[np.float32]) -> LoggedCells:
    if isinstance(column, CategoricalColumn):
        return _categories(column, block)
    if isinstance(column, DateColumn):
        return _moments(column, block)
    numbers = block[:, 0].copy() if not column.origin else block[:, 0].astype(np.float64) + column.origin
    numbers[_gaps(column, block)] = np.nan
    return numbers


def _gaps(column: NumericColumn | DateColumn, block: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns a mask of the gaps, `(rows,)`; a column that reads gaps as the mean cannot tell one from its mean."""
    if column.missing == "indicator":
        return np.asarray(block[:, -1] != 0)
    if column.missing == "mean":
        return np.asarray(block[:, 0] == np.float32(column.shift))
    return np.zeros(len(block), dtype=np.bool_)


def _categories(column: CategoricalColumn, block: NDArray[np.float32]) -> list[str | None]:
    names: list[str | None] = [None, *column.categories]
    if column.encoding == "one_hot":
        places = np.where(block.any(axis=1), block.argmax(axis=1) + 1, 0)
    elif column.encoding == "sign":
        places = np.where(block[:, 0] == 0, 0, np.where(block[:, 0] < 0, 1, 2))
    else:
        places = block[:, 0].astype(np.intp)
    return [names[place] for place in places.tolist()]


def _moments(column: DateColumn, block: NDArray[np.float32]) -> NDArray[np.datetime64]:
    gaps = _gaps(column, block)
    if column.missing == "mean" and column.parts:  # a gap is in the centre of each circle, where no moment is
        gaps &= ~block[:, 1:].any(axis=1)
    days = np.clip(block[:, 0].astype(np.float64) + column.origin, FIRST_DAY, LAST_DAY - 1e-5)
    exact = np.round(days * _MICROSECONDS_A_DAY).astype(np.int64).astype("datetime64[us]")
    moments = exact.copy()
    open_ = ~gaps
    for unit in _ROUND_UNITS:
        if not open_.any():
            break
        for candidate in _rounded(exact, unit):
            candidate = np.where(are_dates(candidate), candidate, exact)  # the day after the last one
            some = np.flatnonzero(open_)
            again = np.zeros((len(some), column.width), dtype=np.float32)
            encode_dates(column, candidate[some], again)
            same = some[(again == block[some]).all(axis=1)]
            moments[same] = candidate[same]
            open_[same] = False
    moments[gaps] = np.datetime64("NaT", "us")
    return moments


def _rounded(moments: NDArray[np.datetime64], unit: Unit) -> list[NDArray[np.datetime64]]:
    """Returns the moments rounded down to a unit, and the same moments one unit later."""
    before = moments.astype(f"datetime64[{unit}]")
    return [before.astype("datetime64[us]"), (before + np.timedelta64(1, unit)).astype("datetime64[us]")]
