"""Turns a raw table into a training table: decides the kind of each column, the task, and the use of each row.

Data that cannot be learned from are refused, in one sentence that names the column, and the row if one is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from models.network.config import Task
from training.data.class_codes import class_codes_note
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import EqualRows, equal_rows_note
from training.data.features import as_kind, equal_rows_of, joined_features, read_features, read_same_features
from training.data.leaks import leak_notes
from training.data.listed_names import listed_names
from training.data.notation import Notation, Precedent
from training.data.raw_column import RawColumn
from training.data.row_roles import check_groups_apart, check_times_apart, read_group, read_time, read_weight
from training.data.split import MIN_CLASS_ROWS
from training.data.table import Table
from training.data.target_values import read_same_targets, read_target, read_targets
from training.data.targets import target_names
from training.data.training_table import TrainingTable
from training.data.values import Values, joined_names, kind_of

_LISTED = 3  # classes named in a note
_KINDS_OF_FEATURES = {
    "categorical": "--categorical is for columns to learn from: to predict classes, say --task classification",
    "numeric": "--numeric is for columns to learn from: to predict numbers, say --task regression",
    "date": "--date is for columns to learn from: a time is predicted as a number, such as days since a first day",
    "date_formats": "--date-format is for columns to learn from and for --time",
}


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
    beside = f"target{'s' if len(targets) > 1 else ''} {listed_names(targets)}"
    if not names:
        raise DataError(f"{table.source} has no column to learn from beside the {beside}.")
    target_columns = [RawColumn(table, name, "target") for name in targets]
    classes, values = read_targets(target_columns, task)
    for column in target_columns:
        notes += [f"The target {column.name!r} {remark}" for remark in column.remarks]
    date_forms: dict[str, str] = {}
    notations: dict[str, Notation] = {}
    features = read_features([RawColumn(table, column) for column in names], choices, notes, date_forms, notations)
    if classes is None:
        notations |= {column.name: column.notation for column in target_columns if column.notation is not None}
    if not features:
        raise DataError(f"{table.source} has no column to learn from beside the {beside}: {' '.join(notes)}")
    if classes is None and task is None and len(targets) == 1:
        notes += filter(None, [class_codes_note(targets[0], values)])
    equal = _find_equal_rows(
        features, _target_column(values, () if classes is None else classes.labels), targets, choices, notes
    )
    roles = {role: RawColumn(table, column, role) for role, column in choices.roles.items()}
    time = _read_time(roles["time"], choices, date_forms, notes) if "time" in roles else None
    group = _read_group(roles["group"], notes) if "group" in roles else None
    weight = read_weight(roles["weight"]) if "weight" in roles else None
    for column in (one for one in roles.values() if one.name not in features):
        notes += [f"The {column.role} {column.name!r} {remark}" for remark in column.remarks]
    read = TrainingTable(
        name=name,
        features=features,
        target_name=", ".join(targets),
        several_targets=targets if len(targets) > 1 else (),
        labels=() if classes is None else classes.labels,
        label_type="str" if classes is None else classes.type,
        target=values,
        choices=choices,
        weight=weight,
        group=None if group is None else group.codes,
        time=time,
        date_forms=date_forms,
        notations=notations,
        missing_values=table.missing,
        notes=tuple(notes),
        equal_rows=equal,
        row_numbers=table.row_numbers,
    )
    if test is None:
        return read
    notations |= {column.name: column.notation for column in roles.values() if column.notation is not None}
    return _with_test_part(read, table, test, rare, Precedent(source=table.source, notations=notations))


def _read_time(column: RawColumn, choices: ColumnChoices, date_forms: dict[str, str], notes: list[str]) -> NDArray[Any]:
    """Reads the times of the rows; adds the form of dates and a note, as for features."""
    time = read_time(column, choices)
    if column.date_form is not None and column.name not in date_forms:
        date_forms[column.name] = column.date_form
        notes += [] if column.remark is None else [f"Column {column.name!r} {column.remark}"]
    return time


def _read_group(column: RawColumn, notes: list[str]) -> DictionaryColumn:
    """Reads the groups of the rows; adds a note on a group with two spellings."""
    groups = read_group(column)
    notes += [] if column.spellings is None else [f"Column {column.name!r} {column.spellings}"]
    return groups


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
        for kind, remedy in _KINDS_OF_FEATURES.items():
            if target in getattr(choices, kind):
                raise DataError(f"column {target!r} is {article} target, and {remedy}.")
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
            f"a classification has one target, and there are {len(targets):,}, {listed_names(targets)}: train a "
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
        raise DataError(f"no row of {table.source} has a value of all targets, {listed_names(targets)}.")
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
            f"the targets {listed_names(targets)} are read as numbers, which have no rare classes "
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


def _joined_row_numbers(*tables: Table) -> NDArray[np.int64] | None:
    if all(table.row_numbers is None for table in tables):
        return None
    return np.concatenate(
        [np.arange(table.rows) if table.row_numbers is None else table.row_numbers for table in tables]
    )


def _left_out(rare: tuple[str, ...], rows: int, table: Table) -> str:
    shown = ", ".join(map(repr, rare[:_LISTED])) + (", …" if len(rare) > _LISTED else "")
    classes, counted = "class" if len(rare) == 1 else "classes", "1 row" if rows == 1 else f"{rows:,} rows"
    return f"{counted} of {table.source} left out, of rare {classes}: {shown}."


def _with_test_part(
    train: TrainingTable, train_raw: Table, test: Table, rare: tuple[str, ...], precedent: Precedent
) -> TrainingTable:
    """Appends the rows of a test part to those of `train`, read in the same way.

    Args:
        train: rows to train with.
        train_raw: table of the training rows as read from its source.
        test: table of the test part as read from its source.
        rare: classes whose rows are left out.
        precedent: notation of the training rows, as which the test part is read.
    """
    choices = train.choices
    for needed in (*train.target_names, *train.features, *choices.roles.values()):
        if needed not in test.columns:
            raise DataError(f"{test.source} has no column {needed!r}, which {train_raw.source} has.")
    extra = [name for name in test.columns if name not in train_raw.columns]
    notes = [f"Column {name!r} of {test.source} is not in {train_raw.source} and was passed over." for name in extra]
    notes += test.notes
    test = replace(with_target(test, train.target_names, choices, notes), precedent=precedent)
    if rare:
        names = RawColumn(test, train.target_name, "target").names()
        is_rare = np.isin(names.codes, [i for i, name in enumerate(names.names) if name in rare])
        if is_rare.any() and not is_rare.all():
            test = test.select(~is_rare)
            notes.append(_left_out(rare, int(is_rare.sum()), test))
    features = read_same_features(
        [RawColumn(test, name) for name in train.features], train.features, notes, train.date_forms
    )
    joint = replace(
        train,
        features=joined_features(train.features, features),
        target=np.concatenate((train.target, read_same_targets(test, train, train_raw, notes))),
        test_rows=test.rows,
        row_numbers=_joined_row_numbers(train_raw, test),
    )
    row_numbers = () if train.equal_rows is None else train.equal_rows.row_numbers
    equal = equal_rows_of(joint.features, _target_column(joint.target, joint.labels), row_numbers=row_numbers)
    notes += filter(None, [equal_rows_note(equal, choices, test_rows=test.rows, test=test.source)])
    joint = replace(joint, equal_rows=equal)
    if train.weight is not None and choices.weight is not None:
        column = RawColumn(test, choices.weight, "weight")
        weight = read_weight(column)
        notes += column.notes()
        joint = replace(joint, weight=np.concatenate((train.weight, weight)))
    if train.time is not None and choices.time is not None:
        column = RawColumn(test, choices.time, "time")
        kind = kind_of(train.time)
        time = read_time(column, as_kind(choices, choices.time, kind, train.date_forms))
        check_times_apart(train.time, time, column)
        notes += column.notes() if choices.time not in train.features else []
        joint = replace(joint, time=np.concatenate((train.time, time)))
    if choices.group is not None:
        column = RawColumn(test, choices.group, "group")
        groups, of_test = read_group(RawColumn(train_raw, choices.group, "group")), _read_group(column, notes)
        check_groups_apart(groups, of_test, column)
        joint = replace(joint, group=joined_names(groups, of_test).codes)
    return replace(joint, notes=(*train.notes, *notes), test_notes=tuple(notes))
