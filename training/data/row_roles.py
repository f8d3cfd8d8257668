"""Columns that are not features, but say how a row is used: its weight, its group, its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.raw_column import RawColumn
from training.data.values import missing_of


def read_weight(column: RawColumn) -> NDArray[np.float64]:
    """Returns `(rows,)` the weights of the rows.

    Raises:
        DataError: a weight is missing, not a number, infinite or negative, or all weights are 0.
    """
    column.check_complete("give every row a weight")
    weight = column.as_numbers("name another column as the weight")
    for is_wrong, why in ((~np.isfinite(weight), "infinite"), (weight < 0, "negative")):
        if is_wrong.any():
            raise DataError(f"{column.called}: the value at {column.at(int(is_wrong.argmax()))} is {why}.")
    if not weight.any():
        raise DataError(f"{column.called} is 0 in every row: no row would count.")
    return weight


def read_group(column: RawColumn) -> DictionaryColumn:
    """Returns `(rows,)` the group of each row, by the rule of categories: two spellings of a group are one group.

    Raises:
        DataError: a row has no group.
    """
    column.check_complete("give every row a group")
    groups = column.categories()
    if (is_none := groups.missing()).any():
        row = int(is_none.argmax())
        raise DataError(
            f"{column.called}: {str(column.cells[row].as_py())!a} at {column.at(row)} names no group: give every row "
            "one."
        )
    return groups


def read_time(column: RawColumn, choices: ColumnChoices) -> NDArray[Any]:
    """Returns `(rows,)` the times of the rows, float64 or datetime64[us].

    Raises:
        DataError: a row has no time, or the column holds categories, which have no order.
    """
    column.check_complete("give every row a time")
    time = column.read(choices)
    if (gaps := missing_of(time)).any():  # texts that stand for missing
        row = int(gaps.argmax())
        raise DataError(f"{column.called}: {column.cells[row].as_py()!r} at {column.at(row)} is not a time.")
    if isinstance(time, DictionaryColumn):
        raise DataError(
            f"{column.called} holds names ({time[0]!r} at {column.at(0)}), which have no order in time: it takes dates "
            "as in ISO 8601 (2024-05-31), or numbers."
        )
    return time


def check_groups_apart(train: DictionaryColumn, test: DictionaryColumn, column: RawColumn) -> None:
    """Refuses a test file that shares groups with the training file.

    Args:
        train: groups of the training rows.
        test: groups of the test file's rows.
        column: group column of the test file.

    Raises:
        DataError: both files have a group; the message names it and the first of its rows.
    """
    if both := set(train.distinct()) & set(test.distinct()):
        shared = np.isin(test.codes, [i for i, name in enumerate(test.names) if name in both])
        row = int(shared.argmax())
        raise DataError(
            f"{column.called}: {test[row]!r} at {column.at(row)} is a group of the training rows too: a group has to "
            "be in one part."
        )


def check_times_apart(train: NDArray[Any], test: NDArray[Any], column: RawColumn) -> None:
    """Refuses a test file with rows that are not newer than all training rows.

    Args:
        train: times of the training rows.
        test: times of the test file's rows.
        column: time column of the test file.

    Raises:
        DataError: a row is not newer, or one file has dates and the other numbers.
    """
    if train.dtype.kind != test.dtype.kind:
        kinds = {"M": "dates", "f": "numbers"}
        raise DataError(
            f"{column.called} holds {kinds[test.dtype.kind]}, and that of the training rows {kinds[train.dtype.kind]}."
        )
    is_early = test <= train.max()
    if is_early.any():
        raise DataError(
            f"{column.called}: the row at {column.at(int(is_early.argmax()))} is not newer than all training rows, as "
            "the test part of a split by time has to be."
        )
