"""What a raw table is understood as: the kind of each column, the task, and what each row is used for.

What cannot be learned from is refused, in one sentence that names the column, and the row where it is one row's fault.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.cell_text import tidy
from models.config import Task
from models.errors import DataError
from training.data.class_labels import Classes, read_classes, read_same_classes
from training.data.column_choices import ColumnChoices
from training.data.features import as_kind, read_features, read_same_features
from training.data.raw_column import RawColumn
from training.data.row_roles import check_groups_apart, check_times_apart, read_group, read_time, read_weight
from training.data.split import MIN_CLASS_ROWS
from training.data.table import Table
from training.data.training_table import TrainingTable
from training.data.values import joined, joined_names, kind_of

# A target of whole numbers with at most this many different ones, none of them rare, is read as classes: a count may
# have few values too, but then some are.
MAX_NUMBERED_CLASSES = 20


def read_training_table(
    table: Table,
    *,
    name: str,
    target: str,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    test: Table | None = None,
) -> TrainingTable:
    """Decides what each column is and refuses what cannot be learned from.

    Numbers are numeric, ISO 8601 dates dates, strings and truth values categorical. A target of strings, truth values,
    two whole numbers, or at most `MAX_NUMBERED_CLASSES` of which each stands in enough rows to be a class, is classes;
    other numbers are values. Columns that tell nothing (one value, those of another column, another name in each row)
    are left out, with a note.

    Args:
        table: as read.
        name: what the data are called.
        target: the column to predict.
        task: `classification` or `regression`; None infers it from the target.
        choices: the user's decisions about columns.
        test: a second table of the same columns, whose rows are the test part.

    Raises:
        DataError: one sentence that names the column at fault, the row where it is one, and the remedy.
    """
    choices, target = choices or ColumnChoices(), tidy(target)
    check_choices(table, target, choices)
    notes = list(table.notes)
    table = with_target(table, target, choices, notes)
    names = [column for column in table.columns if column != target and choices.is_feature(column)]
    if not names:
        raise DataError(f"{table.source} has no column to learn from beside the target {target!r}.")
    classes, values = read_target(RawColumn(table, target, "target"), task)
    date_forms: dict[str, str] = {}
    features = read_features([RawColumn(table, column) for column in names], choices, notes, date_forms)
    if not features:
        raise DataError(f"{table.source} has no column to learn from beside the target {target!r}: {' '.join(notes)}")
    roles = {role: RawColumn(table, column, role) for role, column in choices.roles.items()}
    time = _read_time(roles["time"], choices, date_forms, notes) if "time" in roles else None
    read = TrainingTable(
        name=name,
        features=features,
        target_name=target,
        labels=() if classes is None else classes.labels,
        label_type="str" if classes is None else classes.type,
        target=values,
        choices=choices,
        weight=read_weight(roles["weight"]) if "weight" in roles else None,
        group=read_group(roles["group"]).codes if "group" in roles else None,
        time=time,
        date_forms=date_forms,
        notes=tuple(notes),
    )
    return read if test is None else _with_test_part(read, table, test)


def _read_time(column: RawColumn, choices: ColumnChoices, date_forms: dict[str, str], notes: list[str]) -> NDArray[Any]:
    """Reads the times of the rows; the form of dates and its note go where those of features are."""
    time = read_time(column, choices)
    if column.date_form is not None and column.name not in date_forms:
        date_forms[column.name] = column.date_form
        notes += [] if column.remark is None else [f"Column {column.name!r} {column.remark}"]
    return time


def check_choices(table: Table, target: str, choices: ColumnChoices) -> None:
    """Refuses choices that do not go with a table.

    Raises:
        DataError: a column that is not there, or a target that is to be something else as well.
    """
    for chosen in (target, *choices.named):
        table.column(chosen)
    if target in choices.drop:
        raise DataError(f"column {target!r} is the target and cannot be dropped.")
    for role, column in choices.roles.items():
        if column == target:
            raise DataError(f"column {column!r} is the target and cannot be the {role} too.")


def with_target(table: Table, target: str, choices: ColumnChoices, notes: list[str]) -> Table:
    """The rows that have a target, where the choices leave out those without."""
    if not choices.drop_missing_target:
        return table
    missing = RawColumn(table, target).missing()
    count = int(missing.sum())
    if count == table.rows:
        raise DataError(f"target {target!r} of {table.source} has no value at all.")
    if count:
        notes.append(f"{count} row{'s' if count > 1 else ''} of {table.source} without a target left out.")
    return table.select(~missing) if count else table


def read_target(column: RawColumn, task: Task | None) -> tuple[Classes | None, NDArray[Any]]:
    """The classes and `(rows,)` int64 indices of their labels, or None and `(rows,)` float64 values.

    Raises:
        DataError: a gap, one value only, or cells that the task does not go with.
    """
    if task not in (None, "classification", "regression"):
        raise DataError(f"task must be classification or regression, got {task!r}.")
    column.check_complete("fill it in, remove the row, or leave such rows out (--drop-missing-target)")
    numbers = None
    if task != "classification":
        numbers = column.numbers(forced=False, remedy="read the target as classes (--task classification)")
        if numbers is None and task == "regression":
            raise DataError(
                f"{column.called} holds names ({column.names()[0]!r} at {column.at(0)}), but regression is of numbers."
            )
    if numbers is not None and (task == "regression" or not _is_numbered_classes(numbers)):
        column.check_range(numbers)
        column.check_resolution(numbers)
        if (numbers == numbers[0]).all():
            raise DataError(f"{column.called} has one value only, {numbers[0]:g}: there is nothing to predict.")
        return None, numbers
    classes = read_classes(column)
    return classes, classes.codes


def _with_test_part(train: TrainingTable, train_raw: Table, test: Table) -> TrainingTable:
    """The rows of `train`, and after them those of a test part, read the way that `train` was."""
    choices = train.choices
    for needed in (train.target_name, *train.features, *choices.roles.values()):
        if needed not in test.columns:
            raise DataError(f"{test.source} has no column {needed!r}, which {train_raw.source} has.")
    extra = [name for name in test.columns if name not in train_raw.columns]
    notes = list(train.notes)
    notes += [f"Column {name!r} of {test.source} is not in {train_raw.source} and was passed over." for name in extra]
    test = with_target(test, train.target_name, choices, notes)
    features = read_same_features(
        [RawColumn(test, name) for name in train.features], train.features, choices, train.date_forms
    )
    joint = replace(
        train,
        features={name: joined(values, features[name]) for name, values in train.features.items()},
        target=np.concatenate((train.target, _same_target(RawColumn(test, train.target_name, "target"), train))),
        test_rows=test.rows,
        notes=tuple(notes),
    )
    if train.weight is not None and choices.weight is not None:
        weight = read_weight(RawColumn(test, choices.weight, "weight"))
        joint = replace(joint, weight=np.concatenate((train.weight, weight)))
    if train.time is not None and choices.time is not None:
        column = RawColumn(test, choices.time, "time")
        kind = kind_of(train.time)
        time = read_time(column, as_kind(choices, choices.time, kind, train.date_forms))
        check_times_apart(train.time, time, column)
        joint = replace(joint, time=np.concatenate((train.time, time)))
    if choices.group is not None:
        column = RawColumn(test, choices.group, "group")
        groups, of_test = read_group(RawColumn(train_raw, choices.group, "group")), read_group(column)
        check_groups_apart(groups, of_test, column)
        joint = replace(joint, group=joined_names(groups, of_test).codes)
    return joint


def _same_target(column: RawColumn, train: TrainingTable) -> NDArray[Any]:
    """The target of a test part: `(rows,)` indices of the training part's labels, or values."""
    column.check_complete("fill it in, remove the row, or leave such rows out (--drop-missing-target)")
    if train.labels:
        return read_same_classes(column, train.labels, train.label_type)
    numbers = column.as_numbers("remove the row")
    column.check_range(numbers)
    return numbers


def _is_numbered_classes(numbers: NDArray[np.float64]) -> bool:
    if (numbers != np.round(numbers)).any():
        return False
    counts = np.unique(numbers, return_counts=True)[1]
    return len(counts) <= 2 or (len(counts) <= MAX_NUMBERED_CLASSES and int(counts.min()) >= MIN_CLASS_ROWS)
