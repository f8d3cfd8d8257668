"""Inspects a table: reports how each column is read, before anything is trained.

A column that `fit` would refuse is listed with the reason; the inspection continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from models.network.config import Task
from training.data.class_codes import class_codes_note
from training.data.column_choices import ColumnChoices
from training.data.column_facts import ColumnFacts, described, facts_of
from training.data.equal_rows import EqualRows, RowHashes, equal_rows_note
from training.data.leaks import LeakSearch, leak_remark
from training.data.listed_names import listed_names
from training.data.preprocessing import Scaling
from training.data.raw_column import RawColumn
from training.data.split import MIN_CLASS_ROWS, rare_class
from training.data.table import Table
from training.data.target_values import read_one_of_targets, read_target
from training.data.targets import target_names
from training.data.understanding import (
    check_choices,
    check_task_of_targets,
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
        target: name of the column to predict, or names of several; None if none is given.
        task: task for the target; None if there is no target, or the target cannot be used.
        classes: label and number of rows of each class, in the order of the classes; empty for a regression.
        columns: facts about the columns, in the order of the table.
        notes: sentences on the table as a whole.
        problem: reason for which `fit` would refuse the table although each column is valid: the test part is not.
    """

    source: str
    rows: int
    target: str | tuple[str, ...] | None
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
    target: str | Sequence[str] | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    test: Table | None = None,
    scaling: Scaling = "robust",
    max_one_hot: int | None = 9,
) -> Inspection:
    """Reads every column as `fit` would.

    Args:
        table: table as read from its source.
        target: name of the column to predict, or names of several, as `target_names` reads them; None for no target.
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
    targets = () if target is None else target_names(table, target)
    if not targets:
        for name in choices.named:
            table.column(name)
    else:
        check_choices(table, targets, choices)
        check_task_of_targets(targets, task)
        table = with_target(table, targets, choices, notes)
        table = _without_rare_classes(table, targets, task, choices, notes, has_test_part=test is not None)
    values: Values | None = None
    facts: dict[str, ColumnFacts] = {}
    if len(targets) == 1:
        values, facts[targets[0]] = _target_facts(RawColumn(table, targets[0], "target"), task)
    elif targets:
        of_targets = [_value_facts(RawColumn(table, name, "target"), task) for name in targets]
        facts |= {name: fact for name, (_, fact) in zip(targets, of_targets, strict=True)}
        found_values = [own for own, _ in of_targets if own is not None]
        values = np.column_stack(found_values) if len(found_values) == len(targets) else None
    seen: dict[tuple[str, bytes], str] = {}
    candidates = sum(name not in targets and choices.is_feature(name) for name in table.columns)
    leaks = None if values is None else LeakSearch(values, columns=candidates, targets=targets)
    hashes = RowHashes(table.rows)
    for name in table.columns:
        if name not in targets:
            column = RawColumn(table, name, choices.role_of(name) or "column")
            facts[name] = facts_of(column, choices, leaks, hashes, seen, scaling, max_one_hot)
    if values is not None and leaks is not None:
        equal = hashes.equal_rows(values)
        _add_leaks(facts, leaks, equal)
        notes += filter(None, [leaks.note(), equal_rows_note(equal, choices)])
    if values is not None and not any(column.role == "feature" for column in facts.values()):
        beside = f"target{'s' if len(targets) > 1 else ''} {listed_names(targets)}"
        notes.append(f"There is no column to learn from beside the {beside}.")
    found: Task | None = None if values is None else "regression"
    classes: tuple[tuple[str, int], ...] = ()
    if isinstance(values, DictionaryColumn):
        found, classes = "classification", tuple(zip(values.names, values.counts().tolist(), strict=True))
    inspection = Inspection(
        source=table.source,
        rows=table.rows,
        target=targets if len(targets) > 1 else next(iter(targets), None),
        task=found,
        classes=classes,
        columns=tuple(facts[name] for name in table.columns),
        notes=tuple(notes),
    )
    if test is None or not targets or inspection.problems:
        return inspection
    try:
        read = read_training_table(table, name="", target=targets, task=task, choices=choices, test=test)
    except DataError as error:
        return replace(inspection, problem=str(error))
    return replace(inspection, notes=(*notes, *read.test_notes))


def _add_leaks(facts: dict[str, ColumnFacts], leaks: LeakSearch, equal: EqualRows) -> None:
    """Adds a remark to each column that leaks the target."""
    for name, leak in leaks.found(equal).items():
        remark = leak_remark(name, leak, can_drop=leaks.columns > 1)
        facts[name] = replace(facts[name], remarks=(*facts[name].remarks, remark))


def _without_rare_classes(
    table: Table,
    targets: Sequence[str],
    task: Task | None,
    choices: ColumnChoices,
    notes: list[str],
    *,
    has_test_part: bool,
) -> Table:
    """Returns the rows that `fit` would use; all rows if `fit` would refuse the target, which is reported elsewhere."""
    least = MIN_CLASS_ROWS - 1 if has_test_part else MIN_CLASS_ROWS
    try:
        return without_rare_classes(table, targets, task, choices, notes, least=least)[0]
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


def _value_facts(column: RawColumn, task: Task | None) -> tuple[NDArray[np.float64] | None, ColumnFacts]:
    """Returns the values of one of several targets and the facts about the column; no values of a refused column."""
    try:
        values = read_one_of_targets(column, task)
    except DataError as error:
        missing = column.count_missing()
        return None, ColumnFacts(name=column.name, role="target", missing=missing, problem=str(error))
    remarks = (*_as_sentences(column), *_skew(values, f"The target {column.name!r}", may_choose_metric=False))
    return values, ColumnFacts(name=column.name, role="target", **described(values), remarks=remarks)


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


def _skew(
    target: NDArray[np.float64], called: str = "The target", *, may_choose_metric: bool = True
) -> tuple[str, ...]:
    spread = target.std()
    skew = float(np.mean(((target - target.mean()) / spread) ** 3)) if spread > 0 else 0.0
    if abs(skew) <= SKEWED:
        return ()
    are_counts = target.min() >= 0 and (target == np.rint(target)).all()
    remedy = "its logarithm may be learned better."
    if not may_choose_metric:  # the metrics of counts and amounts are for one target
        pass
    elif skew > 0 and are_counts:
        remedy = "counts are learned better with --metric poisson."
    elif skew > 0 and target.min() > 0:
        remedy = "durations and amounts are learned better with --metric gamma."
    return (f"{called} is skewed ({skew:+.1f}): a few large values weigh most, and {remedy}",)
