"""Inspects a table: reports how each column is read, before anything is trained.

A column that `fit` would refuse is listed with the reason; the inspection continues.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import tidy
from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from models.network.config import Task
from training.data.class_codes import class_codes_note
from training.data.column_choices import ColumnChoices
from training.data.column_facts import ColumnFacts, described, facts_of
from training.data.equal_rows import EqualRows, RowHashes, equal_rows_note
from training.data.leaks import LeakSearch, leak_remark
from training.data.preprocessing import Scaling
from training.data.raw_column import RawColumn
from training.data.split import MIN_CLASS_ROWS, rare_class
from training.data.table import Table
from training.data.understanding import (
    check_choices,
    read_target,
    read_training_table,
    with_target,
    without_rare_classes,
)
from training.data.values import Values

RARE_CLASS = 0.05
SKEWED = 2.0


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        source: name of the table's source.
        rows: number of rows of the table, without rows left out because their target is missing.
        target: name of the column to predict; None if none is given.
        task: task for the target; None if there is no target, or the target cannot be used.
        classes: label and number of rows of each class, in the order of the classes; empty for a regression.
        columns: facts about the columns, in the order of the table.
        notes: sentences on the table as a whole.
        problem: reason for which `fit` would refuse the table although each column is valid: the test part is not.
    """

    source: str
    rows: int
    target: str | None
    task: Task | None
    classes: tuple[tuple[str, int], ...]
    columns: tuple[ColumnFacts, ...]
    notes: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def problems(self) -> tuple[str, ...]:
        """The reasons for which `fit` would refuse the table; empty for none."""
        problems = (*(column.problem for column in self.columns), self.problem)
        return tuple(problem for problem in problems if problem is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the inspection as plain JSON types."""
        plain = asdict(self)
        return {
            **plain,
            "classes": [{"label": label, "rows": rows} for label, rows in self.classes],
            "columns": [
                {**column, "top": [{"name": name, "rows": rows} for name, rows in column["top"]]}
                for column in plain["columns"]
            ],
            "problems": list(self.problems),
        }


def inspect_table(
    table: Table,
    *,
    target: str | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    test: Table | None = None,
    scaling: Scaling = "robust",
    max_one_hot: int | None = 9,
) -> Inspection:
    """Reads every column as `fit` would.

    Args:
        table: table as read from its source.
        target: name of the column to predict; None for no target.
        task: task of the target, as for `fit`.
        choices: the user's decisions about columns.
        test: second table, whose rows are the test part.
        scaling: scaling of numbers, as for `fit_schema`.
        max_one_hot: greatest number of categories that are one-hot encoded, as for `fit_schema`.

    Raises:
        DataError: a named column is not in the table, or the choices do not fit the table.
    """
    choices = choices or ColumnChoices()
    notes = list(table.notes)
    target = None if target is None else tidy(target)
    if target is None:
        for name in choices.named:
            table.column(name)
    else:
        check_choices(table, target, choices)
        table = with_target(table, target, choices, notes)
        table = _without_rare_classes(table, target, task, choices, notes, has_test_part=test is not None)
    values: Values | None = None
    facts: dict[str, ColumnFacts] = {}
    if target is not None:
        values, facts[target] = _target_facts(RawColumn(table, target, "target"), task)
    seen: dict[tuple[str, bytes], str] = {}
    candidates = sum(name != target and choices.is_feature(name) for name in table.columns)
    leaks = None if values is None else LeakSearch(values, columns=candidates)
    hashes = RowHashes(table.rows)
    for name in table.columns:
        if name != target:
            facts[name] = facts_of(RawColumn(table, name), choices, leaks, hashes, seen, scaling, max_one_hot)
    if values is not None and leaks is not None:
        equal = hashes.equal_rows(values)
        _add_leaks(facts, leaks, equal)
        notes += filter(None, [equal_rows_note(equal, choices)])
    if target is not None and values is not None and not any(column.role == "feature" for column in facts.values()):
        notes.append(f"There is no column to learn from beside the target {target!r}.")
    found: Task | None = None if values is None else "regression"
    classes: tuple[tuple[str, int], ...] = ()
    if isinstance(values, DictionaryColumn):
        found, classes = "classification", tuple(zip(values.names, values.counts().tolist(), strict=True))
    inspection = Inspection(
        source=table.source,
        rows=table.rows,
        target=target,
        task=found,
        classes=classes,
        columns=tuple(facts[name] for name in table.columns),
        notes=tuple(notes),
    )
    if test is None or target is None or inspection.problems:
        return inspection
    try:
        read = read_training_table(table, name="", target=target, task=task, choices=choices, test=test)
    except DataError as error:
        return replace(inspection, problem=str(error))
    if read.equal_rows is not None:
        shared = equal_rows_note(read.equal_rows, choices, test_rows=read.test_rows, test=test.source)
        notes += filter(None, [shared])
    return replace(inspection, notes=tuple(notes))


def _add_leaks(facts: dict[str, ColumnFacts], leaks: LeakSearch, equal: EqualRows) -> None:
    """Adds a remark to each column that leaks the target."""
    for name, leak in leaks.found(equal).items():
        remark = leak_remark(name, leak, can_drop=leaks.columns > 1)
        facts[name] = replace(facts[name], remarks=(*facts[name].remarks, remark))


def _without_rare_classes(
    table: Table, target: str, task: Task | None, choices: ColumnChoices, notes: list[str], *, has_test_part: bool
) -> Table:
    """Returns the rows that `fit` would use; all rows if `fit` would refuse the target, which is reported elsewhere."""
    least = MIN_CLASS_ROWS - 1 if has_test_part else MIN_CLASS_ROWS
    try:
        return without_rare_classes(table, target, task, choices, notes, least=least)[0]
    except DataError:
        return table


def _target_facts(column: RawColumn, task: Task | None) -> tuple[Values | None, ColumnFacts]:
    """Returns the target's values (None if the column cannot be a target), and the facts about the column."""
    missing = column.count_missing()
    try:
        classes, target = read_target(column, task)
    except DataError as error:
        return None, ColumnFacts(name=column.name, role="target", missing=missing, problem=str(error))
    if classes is None:
        codes = class_codes_note(column.name, target) if task is None else None
        remarks = (*_as_sentences(column), *_skew(target), *([] if codes is None else [codes]))
        return target, ColumnFacts(name=column.name, role="target", **described(target), remarks=remarks)
    values = DictionaryColumn(target.astype(np.int32), classes.labels)
    counts = values.counts()
    few = [label for label, count in zip(values.names, counts, strict=True) if count < MIN_CLASS_ROWS]
    problem = None
    if few:
        problem = rare_class(few[0], column.called, int(counts[values.names.index(few[0])]), parts=MIN_CLASS_ROWS)
    facts = ColumnFacts(
        name=column.name,
        role="target",
        **described(values),
        remarks=(*_as_sentences(column), *_imbalance(values)),
        problem=problem,
    )
    return values, facts


def _as_sentences(column: RawColumn) -> tuple[str, ...]:
    return tuple(f"The target {column.name!r} {remark}" for remark in column.remarks)


def _imbalance(target: DictionaryColumn) -> tuple[str, ...]:
    counts = target.counts()
    rarest = int(counts.argmin())
    share = counts[rarest] / len(target)
    if share >= RARE_CLASS or share >= 0.5 / len(target.names):
        return ()
    return (
        f"Class {target.names[rarest]!r} of the target has {share:.2%} of the rows: look at more than accuracy, and "
        "consider --class-weight balanced.",
    )


def _skew(target: NDArray[np.float64]) -> tuple[str, ...]:
    spread = target.std()
    skew = float(np.mean(((target - target.mean()) / spread) ** 3)) if spread > 0 else 0.0
    if abs(skew) <= SKEWED:
        return ()
    are_counts = target.min() >= 0 and (target == np.rint(target)).all()
    remedy = "its logarithm may be learned better."
    if skew > 0 and are_counts:
        remedy = "counts are learned better with --metric poisson."
    elif skew > 0 and target.min() > 0:
        remedy = "durations and amounts are learned better with --metric gamma."
    return (f"The target is skewed ({skew:+.1f}): a few large values weigh most, and {remedy}",)
