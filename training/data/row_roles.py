"""Columns that are not features, but say how a row is used: its weight, its group, its time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.date_columns import option
from training.data.raw_column import RawColumn
from training.data.values import missing_of

# Forms of dates with the year at the end, by the number of digits, and the years of those with four digits.
_YEAR_LAST = {8: ("%d%m%Y", "%m%d%Y"), 6: ("%d%m%y", "%m%d%y")}
_YEARS = (1900, 2100)


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
    if time.dtype.kind == "f":
        _check_no_dates(column, time)
    return time


def _check_no_dates(column: RawColumn, time: NDArray[np.float64]) -> None:
    """Refuses numbers that are dates with the year at the end, whose order is not that of time.

    Raises:
        DataError: all numbers are dates of one such form; the message has the options that read the column.
    """
    texts = column.texts()
    some = [] if texts is None else pc.unique(texts).dictionary_decode().drop_null().to_pylist()
    is_code = len(set(map(len, some))) == 1 and all(map(str.isdecimal, some)) and any(one[0] == "0" for one in some)
    digits = len(some[0]) if is_code else 8
    form = next((form for form in _YEAR_LAST.get(digits, ()) if _are_dates(time, form)), None)
    if form is None:
        return
    first = f"{(column.cells if texts is None else texts)[0].as_py()!r} at {column.at(0)}"
    remedy = f"say the form ({option(column.name, form)})" if is_code else "write them as in ISO 8601 (2024-05-31)"
    raise DataError(
        f"{column.called} holds dates of the form {form}, such as {first}, whose numbers are not in the order of time: "
        f"{remedy}."
    )


def _are_dates(time: NDArray[np.float64], form: str) -> bool:
    """Returns True if all numbers are dates of a form of day, month and year at the end."""
    year_digits = 4 if form.endswith("%Y") else 2
    rest, year = np.divmod(time, 10**year_digits)
    first, second = np.divmod(rest, 100)
    day, month = (first, second) if form.startswith("%d") else (second, first)
    is_date = (day >= 1) & (day <= 31) & (month >= 1) & (month <= 12) & (time == np.floor(time))
    is_year = (year >= _YEARS[0]) & (year <= _YEARS[1]) if year_digits == 4 else np.ones(len(time), dtype=np.bool_)
    return bool((is_date & is_year).all())


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
