"""Turns a raw table into a training table: decides the kind of each column, the task, and the use of each row.

Data that cannot be learned from are refused, in one sentence that names the column, and the row if one is at fault.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from models.network.config import Task
from training.data.class_codes import MAX_NUMBERED_CLASSES, class_codes_note, is_numbered_classes
from training.data.class_labels import Classes, read_classes, read_same_classes
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import EqualRows, equal_rows_note
from training.data.features import as_kind, equal_rows_of, joined_features, read_features, read_same_features
from training.data.leaks import leak_notes
from training.data.raw_column import RawColumn
from training.data.row_roles import check_groups_apart, check_times_apart, read_group, read_time, read_weight
from training.data.split import MIN_CLASS_ROWS
from training.data.table import Table
from training.data.targets import listed_targets, target_names
from training.data.training_table import TrainingTable
from training.data.typed_options import typed
from training.data.values import Values, joined_names, kind_of

__all__ = ["MAX_NUMBERED_CLASSES", "read_training_table"]

_LISTED = 3  # classes named in a note
# The words in a regression target with at least this share of numbers are errors; with a smaller one it is categorical.
LEAST_SHARE_OF_NUMBERS = 0.5
_COMPLETE = "fill it in, remove the row, or leave such rows out (--drop-missing-target)"


def read_training_table(
    table: Table,
    *,
    name: str,
    target: str | Sequence[str],
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    test: Table | None = None,
) -> TrainingTable:
    """Decides the kind of each column, and refuses data that cannot be learned from.

    Numbers are numeric, ISO 8601 dates are dates, strings and booleans are categorical. A target is read as classes if
    it holds strings, booleans, two whole numbers, or at most `MAX_NUMBERED_CLASSES` whole numbers that each occur in
    enough rows for a class; other numbers are values. Columns without information (one value, a copy of another column,
    a different category in each row) are left out, with a note.

    Args:
        table: table as read from its source.
        name: name of the data set.
        target: name of the column to predict, or the names of several columns of numbers, as `target_names` reads them.
        task: `classification` or `regression`; None infers it from the target.
        choices: the user's decisions about columns.
        test: second table of the same columns, whose rows are the test part.

    Raises:
        DataError: the data cannot be used; the message names the column at fault, the row if any, and a remedy.
    """
    choices, targets = choices or ColumnChoices(), target_names(table, target)
    check_choices(table, targets, choices)
    check_task_of_targets(targets, task)
    notes = list(table.notes)
    table = with_target(table, targets, choices, notes)
    least = MIN_CLASS_ROWS if test is None else MIN_CLASS_ROWS - 1
    table, rare = without_rare_classes(table, targets, task, choices, notes, least=least)
    names = [column for column in table.columns if column not in targets and choices.is_feature(column)]
    beside = f"target{'s' if len(targets) > 1 else ''} {listed_targets(targets)}"
    if not names:
        raise DataError(f"{table.source} has no column to learn from beside the {beside}.")
    target_columns = [RawColumn(table, name, "target") for name in targets]
    classes, values = _read_targets(target_columns, task)
    for column in target_columns:
        notes += [f"The target {column.name!r} {remark}" for remark in column.remarks]
    date_forms: dict[str, str] = {}
    features = read_features([RawColumn(table, column) for column in names], choices, notes, date_forms)
    if not features:
        raise DataError(f"{table.source} has no column to learn from beside the {beside}: {' '.join(notes)}")
    if classes is None and task is None and len(targets) == 1:
        notes += filter(None, [class_codes_note(targets[0], values)])
    equal = _find_equal_rows(
        features, _target_column(values, () if classes is None else classes.labels), targets, choices, notes
    )
    roles = {role: RawColumn(table, column, role) for role, column in choices.roles.items()}
    time = _read_time(roles["time"], choices, date_forms, notes) if "time" in roles else None
    read = TrainingTable(
        name=name,
        features=features,
        target_name=", ".join(targets),
        several_targets=targets if len(targets) > 1 else (),
        labels=() if classes is None else classes.labels,
        label_type="str" if classes is None else classes.type,
        target=values,
        choices=choices,
        weight=read_weight(roles["weight"]) if "weight" in roles else None,
        group=read_group(roles["group"]).codes if "group" in roles else None,
        time=time,
        date_forms=date_forms,
        notes=tuple(notes),
        equal_rows=equal,
    )
    return read if test is None else _with_test_part(read, table, test, rare)


def _read_time(column: RawColumn, choices: ColumnChoices, date_forms: dict[str, str], notes: list[str]) -> NDArray[Any]:
    """Reads the times of the rows; adds the form of dates and a note, as for features."""
    time = read_time(column, choices)
    if column.date_form is not None and column.name not in date_forms:
        date_forms[column.name] = column.date_form
        notes += [] if column.remark is None else [f"Column {column.name!r} {column.remark}"]
    return time


def _target_column(values: NDArray[Any], labels: tuple[str, ...]) -> Values:
    """Returns the target as a column, categorical for a classification; several targets remain an array."""
    return DictionaryColumn(values.astype(np.int32), labels) if labels else values


def _find_equal_rows(
    features: Mapping[str, Values],
    target_values: Values,
    targets: Sequence[str],
    choices: ColumnChoices,
    notes: list[str],
) -> EqualRows:
    """Finds the equal rows; adds notes on these, and on features that leak the target."""
    equal = equal_rows_of(features, target_values)
    notes += leak_notes(features, target_values, equal, targets=targets)
    notes += filter(None, [equal_rows_note(equal, choices)])
    return equal


def check_choices(table: Table, targets: Sequence[str], choices: ColumnChoices) -> None:
    """Refuses choices that do not fit a table.

    Raises:
        DataError: a column is not in the table, or a target has another role as well.
    """
    for chosen in (*targets, *choices.named):
        table.column(chosen)
    article = "the" if len(targets) == 1 else "a"
    for target in targets:
        if target in choices.drop:
            raise DataError(f"column {target!r} is {article} target and cannot be dropped.")
    for role, column in choices.roles.items():
        if column in targets:
            raise DataError(f"column {column!r} is {article} target and cannot be the {role} too.")


def check_task_of_targets(targets: Sequence[str], task: Task | None) -> None:
    """Refuses a classification of several targets.

    Raises:
        DataError: there are several targets, and the task is classification.
    """
    if task == "classification" and len(targets) > 1:
        raise DataError(
            f"a classification has one target, and there are {len(targets):,}, {listed_targets(targets)}: train a "
            "model for each, or leave out --task classification and metrics of classes for targets of numbers."
        )


def with_target(table: Table, targets: Sequence[str], choices: ColumnChoices, notes: list[str]) -> Table:
    """Leaves out the rows that lack a target if the choices say so."""
    if not choices.drop_missing_target:
        return table
    missing = np.zeros(table.rows, dtype=np.bool_)
    for target in targets:
        of_target = RawColumn(table, target).missing()
        if of_target.all():
            raise DataError(f"target {target!r} of {table.source} has no value at all.")
        missing |= of_target
    count = int(missing.sum())
    if count == table.rows:
        raise DataError(f"no row of {table.source} has a value of all targets, {listed_targets(targets)}.")
    if count:
        without = "a target" if len(targets) == 1 else "one of the targets"
        notes.append(f"{count} row{'s' if count > 1 else ''} of {table.source} without {without} left out.")
    return table.select(~missing) if count else table


def without_rare_classes(
    table: Table, targets: Sequence[str], task: Task | None, choices: ColumnChoices, notes: list[str], *, least: int
) -> tuple[Table, tuple[str, ...]]:
    """Leaves out the rows of rare classes if the choices say so, and returns these classes too.

    Args:
        table: table as read from its source.
        targets: names of the target columns.
        task: `classification` or `regression`; None infers it from the target.
        choices: the user's decisions about columns.
        notes: list to which a note is appended.
        least: least number of rows of a class that stays.

    Raises:
        DataError: the target does not hold classes, or fewer than two classes have enough rows.
    """
    if not choices.drop_rare_classes:
        return table, ()
    if len(targets) > 1:
        raise DataError(
            f"the targets {listed_targets(targets)} are read as numbers, which have no rare classes "
            "(--drop-rare-classes): leave the option out."
        )
    column = RawColumn(table, targets[0], "target")
    classes, codes = read_target(column, task)
    if classes is None:
        raise DataError(
            f"{column.called} is read as numbers, which have no rare classes (--drop-rare-classes): to read it as "
            "classes, say --task classification."
        )
    counts = np.bincount(codes, minlength=len(classes.labels))
    rare = tuple(label for label, count in zip(classes.labels, counts, strict=True) if count < least)
    if len(classes.labels) - len(rare) < 2:
        raise DataError(f"{column.called} has fewer than two classes of {least} rows: there is nothing to tell apart.")
    keep = counts[codes] >= least
    if rare:
        notes.append(_left_out(rare, int((~keep).sum()), table))
    return (table.select(keep) if rare else table), rare


def _read_targets(columns: Sequence[RawColumn], task: Task | None) -> tuple[Classes | None, NDArray[Any]]:
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
    if numbers is None and (not column.is_string or column.share_of_numbers() < LEAST_SHARE_OF_NUMBERS):
        names = column.names()
        if set(names.names) != {"false", "true"}:
            raise DataError(
                f"{column.called} holds names ({names[0]!r} at {column.at(0)}), and each of several targets is of "
                f"numbers: write 0 and 1 for no and yes, or {alone}."
            )
        column.remarks.append("holds true and false, which are read as 1 and 0.")
        return np.array([name == "true" for name in names.names], dtype=np.float64)[names.codes]
    numbers = _target_numbers(column, "regression", remedy=alone)
    assert numbers is not None  # noqa: S101 -- a regression target without numbers is refused
    _check_values(column, numbers)
    if task is None and is_numbered_classes(numbers):
        column.remarks.append(
            f"holds {len(np.unique(numbers))} different whole numbers, which alone would be classes; it is read as "
            "values, as each of several targets is."
        )
    return numbers


def read_target(column: RawColumn, task: Task | None) -> tuple[Classes | None, NDArray[Any]]:
    """Reads the target as classes with `(rows,)` int64 indices of their labels, or as None with `(rows,)` float64.

    Raises:
        DataError: the target has a gap or one value only, or does not fit the task.
    """
    if task not in (None, "classification", "regression"):
        raise DataError(f"task must be classification or regression, got {task!r}.")
    column.check_complete(_COMPLETE)
    numbers = None
    if task != "classification":
        numbers = _target_numbers(column, task)
    if numbers is not None and (task == "regression" or not is_numbered_classes(numbers)):
        _check_values(column, numbers)
        return None, numbers
    classes = read_classes(column)
    column.remark_on_gap_names(classes.labels, np.bincount(classes.codes))
    return classes, classes.codes


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
    if numbers is None and task == "regression":
        if not column.is_string or column.share_of_numbers() < LEAST_SHARE_OF_NUMBERS:
            raise DataError(
                f"{column.called} holds names ({column.names()[0]!r} at {column.at(0)}), but regression is of numbers."
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


def _left_out(rare: tuple[str, ...], rows: int, table: Table) -> str:
    shown = ", ".join(map(repr, rare[:_LISTED])) + (", …" if len(rare) > _LISTED else "")
    classes, counted = "class" if len(rare) == 1 else "classes", "1 row" if rows == 1 else f"{rows:,} rows"
    return f"{counted} of {table.source} left out, of rare {classes}: {shown}."


def _with_test_part(train: TrainingTable, train_raw: Table, test: Table, rare: tuple[str, ...]) -> TrainingTable:
    """Appends the rows of a test part to those of `train`, read in the same way.

    Args:
        train: rows to train with.
        train_raw: table of the training rows as read from its source.
        test: table of the test part as read from its source.
        rare: classes whose rows are left out.
    """
    choices = train.choices
    for needed in (*train.target_names, *train.features, *choices.roles.values()):
        if needed not in test.columns:
            raise DataError(f"{test.source} has no column {needed!r}, which {train_raw.source} has.")
    extra = [name for name in test.columns if name not in train_raw.columns]
    notes = list(train.notes)
    notes += [f"Column {name!r} of {test.source} is not in {train_raw.source} and was passed over." for name in extra]
    # If the test file does not show its marks, the marks of the training file are used.
    test = replace(with_target(test, train.target_names, choices, notes), precedent=train_raw)
    if rare:
        names = RawColumn(test, train.target_name, "target").names()
        is_rare = np.isin(names.codes, [i for i, name in enumerate(names.names) if name in rare])
        if is_rare.any() and not is_rare.all():
            test = test.select(~is_rare)
            notes.append(_left_out(rare, int(is_rare.sum()), test))
    features = read_same_features(
        [RawColumn(test, name) for name in train.features], train.features, choices, train.date_forms
    )
    joint = replace(
        train,
        features=joined_features(train.features, features),
        target=np.concatenate((train.target, _same_targets(test, train))),
        test_rows=test.rows,
    )
    equal = equal_rows_of(joint.features, _target_column(joint.target, joint.labels))
    notes += filter(None, [equal_rows_note(equal, choices, test_rows=test.rows, test=test.source)])
    joint = replace(joint, equal_rows=equal, notes=tuple(notes))
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


def _same_targets(test: Table, train: TrainingTable) -> NDArray[Any]:
    """Returns the target of a test part, or several targets as `(rows, targets)`."""
    read = [_same_target(RawColumn(test, name, "target"), train) for name in train.target_names]
    return read[0] if len(read) == 1 else np.column_stack(read)


def _same_target(column: RawColumn, train: TrainingTable) -> NDArray[Any]:
    """Returns the target of a test part: `(rows,)` indices of the training part's labels, or values."""
    column.check_complete(_COMPLETE)
    if train.labels:
        return read_same_classes(column, train.labels, train.label_type)
    numbers = column.as_numbers("remove the row")
    column.check_range(numbers)
    return numbers
