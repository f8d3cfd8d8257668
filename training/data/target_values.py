"""Reads the columns to predict, as the classes of one or as the numbers of one or several."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from models.network.config import Task
from training.data.class_codes import MAX_NUMBERED_CLASSES, is_numbered_classes
from training.data.class_labels import Classes, read_classes, read_same_classes
from training.data.number_texts import code_as_number
from training.data.raw_column import RawColumn
from training.data.table import Table
from training.data.training_table import TrainingTable
from training.data.typed_options import typed

# The words in a regression target with at least this share of numbers are errors; with a smaller one it is categorical.
LEAST_SHARE_OF_NUMBERS = 0.5
_COMPLETE = "fill it in, remove the row, or leave such rows out (--drop-missing-target)"


def read_targets(columns: Sequence[RawColumn], task: Task | None) -> tuple[Classes | None, NDArray[Any]]:
    """Reads the target, as `read_target` does, or several targets as `(rows, targets)` float64."""
    if len(columns) == 1:
        return read_target(columns[0], task)
    return None, np.column_stack([read_one_of_targets(column, task) for column in columns])


def read_one_of_targets(column: RawColumn, task: Task | None) -> NDArray[np.float64]:
    """Reads one of several targets: `(rows,)` numbers; true and false are 1 and 0.

    Raises:
        DataError: the target holds names, has a gap or one value only.
    """
    column.check_complete(_COMPLETE)
    alone = f"predict it alone, as classes ({typed('--target', column.name)})"
    numbers = column.numbers(forced=False, remedy=alone)
    if numbers is None:
        _check_is_no_date(column, "each of several targets is of numbers")
    if numbers is None and (not column.is_string or column.share_of_numbers() < LEAST_SHARE_OF_NUMBERS):
        names = column.names()
        truth = _truth_values(names)
        if truth is None or len(names.names) < 2:
            raise DataError(
                f"{column.called} holds names ({names[0]!r} at {column.at(0)}), and each of several targets is of "
                f"numbers: write 0 and 1 for no and yes, or {alone}."
            )
        column.remarks.append("holds true and false, which are read as 1 and 0.")
        return truth
    column.remarks.clear()  # the same reading follows, which remarks again
    numbers = _target_numbers(column, "regression", remedy=alone)
    assert numbers is not None  # noqa: S101 -- a regression target without numbers is refused
    _check_values(column, numbers)
    if task is None and is_numbered_classes(numbers):
        column.remarks.append(
            f"holds {len(np.unique(numbers))} different whole numbers, which alone would be classes; it is read as "
            "values, as each of several targets is."
        )
    elif task is None and column.code is not None:
        column.remarks.append(
            f"{code_as_number(column.code)}, as each of several targets is; to learn classes, {alone}."
        )
    return numbers


def _truth_values(names: DictionaryColumn) -> NDArray[np.float64] | None:
    """Returns 1 for true and 0 for false, `(rows,)`; None if there are other names."""
    if not set(names.names) <= {"false", "true"}:
        return None
    return np.array([name == "true" for name in names.names], dtype=np.float64)[names.codes]


def read_target(column: RawColumn, task: Task | None) -> tuple[Classes | None, NDArray[Any]]:
    """Reads the target as classes with `(rows,)` int64 indices of their labels, or as None with `(rows,)` float64.

    Raises:
        DataError: the target has a gap or one value only, or does not fit the task.
    """
    if task not in (None, "classification", "regression"):
        raise DataError(f"task must be classification or regression, got {task!r}.")
    column.check_complete(_COMPLETE)
    numbers = None
    if task is None and column.is_declared_categorical:
        task = "classification"
    if task != "classification":
        numbers = _target_numbers(column, task)
    if numbers is not None and (task == "regression" or not is_numbered_classes(numbers)):
        _check_values(column, numbers)
        if task is None and column.code is not None:
            column.remarks.append(f"{code_as_number(column.code)}: --task classification reads them as classes.")
        return None, numbers
    if numbers is not None:
        column.remarks.clear()  # on a reading as numbers, where the labels stay texts
    classes = read_classes(column)
    column.remark_on_gap_names(classes.labels, np.bincount(classes.codes))
    return classes, classes.codes


def _check_is_no_date(column: RawColumn, reason: str) -> None:
    """Refuses a target of dates, which are neither values nor likely to be classes."""
    if column.holds_dates():
        raise DataError(
            f"{column.called} holds dates ({str(column.cells[0].as_py())!r} at {column.at(0)}), and {reason}: write "
            "each as a number, such as the days since a first day, or predict them as classes (--task classification)."
        )


def _check_values(column: RawColumn, numbers: NDArray[np.float64]) -> None:
    """Refuses a regression target of one value, or of values that float32 cannot hold; remarks on extremes."""
    column.check_range(numbers)
    column.check_resolution(numbers)
    if (numbers == numbers[0]).all():
        raise DataError(f"{column.called} has one value only, {numbers[0]:g}: there is nothing to predict.")
    column.remark_on_extremes(numbers)


def _target_numbers(
    column: RawColumn, task: Task | None, *, remedy: str = "read the target as classes (--task classification)"
) -> NDArray[np.float64] | None:
    """Returns the target as numbers; None for a categorical one.

    Args:
        column: target column.
        task: `classification` or `regression`; None infers it from the target.
        remedy: remedy for a target that is not of numbers, as the end of a sentence.

    Raises:
        DataError: a regression target holds categories; texts stand for missing values; or a typed table holds
            numbers as texts, and too many different ones for classes.
    """
    numbers = column.numbers(forced=False, remedy=remedy)
    if numbers is None:
        _check_is_no_date(column, "regression is of numbers" if task else "a time is predicted as a number")
    if numbers is None and task == "regression":
        if not column.is_string or column.share_of_numbers() < LEAST_SHARE_OF_NUMBERS:
            names = column.names()
            hint = "" if _truth_values(names) is None else ": write 1 and 0 for true and false"
            raise DataError(
                f"{column.called} holds names ({names[0]!r} at {column.at(0)}), but regression is of numbers{hint}."
            )
        column.remarks.clear()
        numbers = column.numbers(forced=True, remedy=remedy)
    elif numbers is None and column.looks_numeric is not None:
        as_numbers = column.numbers(forced=True, remedy=remedy)
        column.remarks.clear()
        if as_numbers is not None and not is_numbered_classes(as_numbers):
            raise DataError(
                f"{column.called} holds numbers as texts, such as {column.looks_numeric!r}: read them as numbers "
                "(--task regression), or as classes (--task classification)."
            )
        column.remarks.append(
            f"holds numbers as texts, such as {column.looks_numeric!r}, and is read as classes: --task regression "
            "reads them as numbers."
        )
    elif numbers is None and column.is_string:
        _check_is_of_names(column, remedy)
    if numbers is not None and (gaps := np.isnan(numbers)).any():
        texts = list(dict.fromkeys(column.cells.filter(pa.array(gaps)).to_pylist()))
        options = " ".join(shlex.quote(f"{column.name}={text}") for text in texts)
        raise DataError(
            f"{column.called}: {texts[0]!r} at {column.at(int(gaps.argmax()))} is not a number, while the other cells "
            f"are: leave such rows out (--missing-values {options} --drop-missing-target), or {remedy}."
        )
    return numbers


def _check_is_of_names(column: RawColumn, remedy: str) -> None:
    """Refuses a target of words and many different numbers, which are too many to be classes."""
    words, numbers = column.words()
    if numbers <= MAX_NUMBERED_CLASSES or column.share_of_numbers() < LEAST_SHARE_OF_NUMBERS:
        return
    listed = ", ".join(repr(word[:40]) for word in words[:3]) + ", …" * (len(words) > 3)
    options = " ".join(shlex.quote(f"{column.name}={word}") for word in words)
    leave_out = f"leave such rows out (--missing-values {options} --drop-missing-target)" if len(words) <= 10 else ""
    raise DataError(
        f"{column.called} holds {numbers} different numbers, and {listed}: {leave_out or 'correct these'}, or {remedy}."
    )


def read_same_targets(test: Table, train: TrainingTable, train_raw: Table, notes: list[str]) -> NDArray[Any]:
    """Returns the target of a test part, or several targets as `(rows, targets)`.

    Args:
        test: table of the test part as read from its source.
        train: rows to train with.
        train_raw: table of these rows as read from its source.
        notes: list to which notes on how cells are read are appended.

    Raises:
        DataError: a cell is none of the classes or no number, with its row.
    """
    columns = [RawColumn(test, name, "target") for name in train.target_names]
    read = [_same_target(column, train, RawColumn(train_raw, column.name, "target")) for column in columns]
    notes += [note for column in columns for note in column.notes()]
    return read[0] if len(read) == 1 else np.column_stack(read)


def _same_target(column: RawColumn, train: TrainingTable, of_train: RawColumn) -> NDArray[Any]:
    """Returns the target of a test part: `(rows,)` indices of the training part's labels, or values."""
    column.check_complete(_COMPLETE)
    if train.labels:
        return read_same_classes(column, train.labels, train.label_type)
    if train.several_targets and column.is_string and _truth_values(of_train.names()) is not None:
        names = column.names()
        if (truth := _truth_values(names)) is not None:
            return truth
        if column.share_of_numbers() < 1:  # 1 and 0 for all rows are numbers as any
            row = next(row for row in range(len(names)) if str(names[row]).lower() not in ("false", "true"))
            raise DataError(
                f"{column.called}: {names[row]!r} at {column.at(row)} is neither true nor false, which are what the "
                "rows to train with hold: write one of the two, or remove the row."
            )
    numbers = column.as_numbers("remove the row")
    column.check_range(numbers)
    column.remark_on_extremes(numbers)
    return numbers
