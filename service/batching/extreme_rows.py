"""Answers that are not finite: an error of the client if the row has extreme numbers, else a fault of the model.

The weights of a checkpoint are finite, so an answer overflows because of the numbers that they are multiplied with. If
a row has numbers outside the range that training saw, the client has to change the row. If the model overflows on a
row within that range, the model is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from models.columns.column import NumericColumn
from models.columns.encoding import MAX_FAULTS
from models.columns.schema import Schema
from models.errors import AxonError, Fault, RowError
from service.errors import ModelFault

_MANY_SCALES = 1e6  # a number so many scales from the centre is at fault where the range of training is unknown


def not_finite_rows(answers: NDArray[np.float32], start: int) -> list[int]:
    """Returns the positions in a request of the first rows whose answers are not finite.

    Args:
        answers: answers to some rows of the request, `(rows, width)`.
        start: position of the first of these rows.
    """
    bad: list[int] = (start + np.flatnonzero(~np.isfinite(answers).all(axis=1))).tolist()
    return bad[:MAX_FAULTS]


def error_of(schema: Schema, features: NDArray[np.float32], rows: Sequence[int]) -> AxonError:
    """Returns the error of a request with answers that are not finite.

    Args:
        schema: columns of the model.
        features: encoded rows whose answers are not finite, at least one, `(bad rows, schema.width)`.
        rows: positions of these rows in the request.

    Returns:
        `RowError` that names these rows and their columns outside the range; `ModelFault` if there is no such column.
    """
    faults = [fault for row, cells in zip(rows, features, strict=True) for fault in _extremes(schema, cells, row)]
    if faults:
        return RowError(faults[:MAX_FAULTS])
    return ModelFault(f"the model's answer to row {rows[0]} is not finite.")


def _extremes(schema: Schema, features: NDArray[np.float32], row: int) -> Iterator[Fault]:
    """Yields a fault for each number outside the range of its column. Dates have bounded years and cannot overflow."""
    starts = accumulate((column.width for column in schema.columns), initial=0)
    for column, at in zip(schema.columns, starts, strict=False):
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


def _range_of(column: NumericColumn) -> tuple[float, float]:
    """Returns the range of training; if that is unknown, a million of the column's scale around the centre."""
    if column.minimum is not None and column.maximum is not None:
        return column.minimum, column.maximum
    reach = _MANY_SCALES * column.divisor
    return column.fill - reach, column.fill + reach
