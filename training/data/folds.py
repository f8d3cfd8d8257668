"""Folds: each row outside of the test part gets the number of the ensemble's member that does not learn from the row.

The folds follow the rule of the split. Each class has about the same share in each fold. Copies of a row are in one
fold, as are the rows of a group. If the split is by time, the folds are blocks of time of about equally many rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.split import Rows, assigned_groups, time_cuts
from training.data.training_table import TrainingTable

Folds = NDArray[np.int64]


def folds_of(table: TrainingTable, rows: Rows, count: int, *, rng: np.random.Generator) -> Folds:
    """Divides rows into folds.

    Args:
        table: table of the rows.
        rows: `(rows,)` indices of the rows to divide.
        count: number of folds.
        rng: source of the random order.

    Returns:
        `(rows,)` fold of each row, from 0 to `count` - 1.

    Raises:
        DataError: there are fewer rows, groups, times or different rows than folds.
    """
    if table.group is not None:
        classes = table.target[rows] if table.labels else np.zeros(len(rows), dtype=np.int64)
        _check_enough(len(np.unique(table.group[rows])), count, "groups")
        return assigned_groups(
            table.group[rows], classes, width=max(len(table.labels), 1), shares=np.full(count, 1 / count), rng=rng
        )
    if table.time is not None:
        _check_enough(len(np.unique(table.time[rows])), count, "different times")
        return time_cuts(table.time[rows], np.full(count, 1 / count))
    units = np.arange(len(rows))
    if table.equal_rows is not None and table.equal_rows.are_kept_together(table.choices):
        units = np.unique(table.equal_rows.code[rows], return_inverse=True)[1]
    return _dealt(table, rows, units, count, rng)


def _dealt(table: TrainingTable, rows: Rows, units: NDArray[np.int64], count: int, rng: np.random.Generator) -> Folds:
    """Deals units of rows to the folds in turn: class by class, large units first, else in random order."""
    _, first, sizes = np.unique(units, return_index=True, return_counts=True)
    _check_enough(len(first), count, "different rows")
    classes = table.target[rows][first] if table.labels else np.zeros(len(first), dtype=np.int64)
    order = np.lexsort((rng.permutation(len(first)), -sizes, classes))
    fold_of_unit = np.empty(len(first), dtype=np.int64)
    fold_of_unit[order] = np.arange(len(first)) % count
    return fold_of_unit[units]


def _check_enough(found: int, count: int, what: str) -> None:
    if found < count:
        raise DataError(f"there are {found} {what} to learn from, and {count} folds need as many (--members, --folds).")
