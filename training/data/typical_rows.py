"""Typical rows: made-up rows that show what a table's columns hold, without copying a row of the table.

A number is the column's median and a date the middle one, both rounded; a category is the most common one. If half the
rows share a value, that value is not rounded, because it reveals no single row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from training.data.scratch import release_pages
from training.data.training_table import TrainingTable, as_json
from training.data.values import Values, missing_of

_LEAST_ROWS = 20  # rows of a class that gets a typical row: the medians of fewer rows are close to these rows
_STEPS = 10  # steps in the inter-quartile range; a median is rounded to a multiple of one

# Units to which a typical date is rounded down, each with the least inter-quartile range for this unit.
_DATE_STEPS = (("D", np.timedelta64(20, "D")), ("h", np.timedelta64(20, "h")), ("m", np.timedelta64(20, "m")))


def typical_rows(table: TrainingTable, rows: NDArray[np.int64], *, most: int) -> list[dict[str, Any]]:
    """Makes up rows as JSON objects: one for all rows, then one for each class that is not rare.

    Args:
        table: table to describe.
        rows: indices of the rows to summarise, those of the training part.
        most: greatest number of rows to make.

    Returns:
        One to `most` rows without gaps, all different.
    """
    groups = [rows]
    if table.labels:
        of_class = [rows[table.target[rows] == label] for label in range(len(table.labels))]
        groups += [group for group in of_class if len(group) >= _LEAST_ROWS]
    made: list[dict[str, Any]] = []
    for group in groups:
        if len(made) < most and (row := _typical_row(table, group, all_rows=rows)) not in made:
            made.append(row)
    return made


def _typical_row(table: TrainingTable, rows: NDArray[np.int64], *, all_rows: NDArray[np.int64]) -> dict[str, Any]:
    """Makes a row of the typical cells of `rows`; of `all_rows` for a column that has only gaps there."""
    row = {}
    for name, values in table.features.items():
        is_missing = missing_of(values)
        present = next(chosen for group in (rows, all_rows) if len(chosen := group[~is_missing[group]]))
        row[name] = _typical_cell(values, present)
        release_pages()
    return row


def _typical_cell(values: Values, rows: NDArray[np.int64]) -> Any:
    if isinstance(values, DictionaryColumn):
        counts = values.take(rows).counts()  # (names,)
        return min(values.names[i] for i in np.flatnonzero(counts == counts.max()))
    present = values[rows]
    if present.dtype.kind == "M":
        return as_json(_typical_moment(present))
    number = _typical_number(present)
    return as_json(np.float64(number)) if bool((np.trunc(present) == present).all()) else number


def _typical_number(present: NDArray[np.float64]) -> float:
    """Returns the median of `(rows,)` numbers, rounded to a tenth of their inter-quartile range, or a whole number."""
    low, center, high = np.quantile(present, (0.25, 0.5, 0.75), method="inverted_cdf")
    are_whole = bool((np.trunc(present) == present).all())
    if not high > low:
        return float(center)
    digits = -int(np.floor(np.log10(high - low) - np.log10(_STEPS)))
    rounded = round(float(center), min(digits, 0) if are_whole else digits)
    return float(np.clip(rounded, present.min(), present.max()))


def _typical_moment(present: NDArray[np.datetime64]) -> np.datetime64:
    """Returns the middle of `(rows,)` dates, rounded down to the day, hour or minute if these spread over many."""
    ordered = np.sort(present)
    low, center, high = (ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    units = (unit for unit, spread in _DATE_STEPS if high - low >= spread)
    moment: np.datetime64 = center.astype(f"datetime64[{next(units, 'us')}]").astype(present.dtype)
    return max(moment, ordered[0])
