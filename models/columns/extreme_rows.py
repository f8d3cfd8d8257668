"""Rows whose answers are not finite, because of numbers far outside the range that training saw.

The weights of a checkpoint are finite, so an answer overflows because of the numbers that they are multiplied with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from models.columns.column import Column, NumericColumn
from models.errors import Fault

_MANY_SCALES = 1e6  # a number so many scales from the centre is at fault where the range of training is unknown


def extreme_cells(columns: Sequence[Column], features: NDArray[np.float32], row: int) -> Iterator[Fault]:
    """Yields a fault for each number outside the range of its column. Dates have bounded years and cannot overflow.

    Args:
        columns: columns of the model.
        features: `(width,)` encoded row whose answer is not finite.
        row: position of the row among those that were given.
    """
    starts = accumulate((column.width for column in columns), initial=0)
    for column, at in zip(columns, starts, strict=False):
        if not isinstance(column, NumericColumn):
            continue
        # Rounded to float32 as the cell was, so that the largest value of training is not above the limit.
        low, high = _range_of(column)
        least, most = np.float32(low - column.origin), np.float32(high - column.origin)
        if not least <= features[at] <= most:
            value = float(features[at]) + column.origin
            seen = "that training saw" if column.minimum is not None else "that is usual for this column"
            message = (
                f"{value:g} is outside the range from {low:g} to {high:g} {seen}, "
                "and the model's answer to this row is not finite"
            )
            yield Fault(row, column.name, message)


def overflow(columns: Sequence[Column], features: NDArray[np.float32], row: int) -> Fault:
    """Returns the first fault of a row whose answer is not finite, with the arguments of `extreme_cells`."""
    whole = Fault(row, None, "the model's answer to this row is not finite")
    return next(extreme_cells(columns, features, row), whole)


def _range_of(column: NumericColumn) -> tuple[float, float]:
    """Returns the range of training; if that is unknown, a million of the column's scale around the centre."""
    if column.minimum is not None and column.maximum is not None:
        return column.minimum, column.maximum
    reach = _MANY_SCALES * column.divisor
    return column.fill - reach, column.fill + reach
