"""Folds: each row outside of the test part gets the number of the ensemble's member that does not learn from the row.

The folds follow the rule of the split. Each class has about the same share in each fold. Copies of a row are in one
fold, as are the rows of a group. If the split is by time, the folds are blocks of time of about equally many rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.split import MIN_CLASS_ROWS, Rows, assigned_groups, time_cuts
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
        DataError: there are fewer rows, groups, times or different rows than folds, or all rows of a class lie in one
            fold, so that its member would answer a class that it never saw.
    """
    folds = _divided(table, rows, count, rng)
    _check_classes(table, rows, folds, count)
    return folds


def _divided(table: TrainingTable, rows: Rows, count: int, rng: np.random.Generator) -> Folds:
    """Divides rows into folds by the table's groups or times, if any, otherwise at random."""
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


def _check_classes(table: TrainingTable, rows: Rows, folds: Folds, count: int) -> None:
    """Refuses a class of which one fold has all rows."""
    if not table.labels:
        return
    classes = table.target[rows]
    present = np.zeros((len(table.labels), count), dtype=np.bool_)
    present[classes, folds] = True
    if not (alone := np.flatnonzero(present.sum(axis=1) == 1)).size:
        return
    code, others = int(alone[0]), len(alone) - 1
    place = f"fold {present[code].argmax() + 1} of {count}"
    beside = f" ({others} other class{'es are' if others > 1 else ' is'} in one fold too)" if others else ""
    raise DataError(
        f"class {table.labels[code]!r} of target {table.target_name!r} is in {place} only{beside}, and the member that "
        f"answers this fold learns from the others: it would never have seen the class. {_remedy(table, rows, code)}"
    )


def _remedy(table: TrainingTable, rows: Rows, code: int) -> str:
    """Returns the sentence on what helps a class that one fold has all rows of."""
    remedies = ["Merge it with another class"]
    of_class = rows[table.target[rows] == code]
    if (table.target[: table.rows - table.test_rows] == code).sum() < MIN_CLASS_ROWS - (table.test_rows > 0):
        remedies.append("leave its rows out (--drop-rare-classes)")
    if table.group is not None:
        if len(np.unique(table.group[of_class])) > 1:
            remedies.append("take fewer folds (--members)")
        remedies.append("name another group (--group)")
    elif table.time is not None:
        if len(np.unique(table.time[of_class])) > 1:
            remedies.append("take fewer folds (--members)")
    elif len(of_class) > 1:  # copies of one row
        remedies.append("divide equal rows by chance (--equal-rows scatter)")
    return f"{', '.join(remedies)}, or leave out --folds."
