"""Facts about a column: how its cells are read, its role, and remarks for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import RowHashes
from training.data.features import add_feature, reason_to_drop, remark_on
from training.data.leaks import LeakSearch
from training.data.preprocessing import Scaling, fit_schema
from training.data.raw_column import RawColumn
from training.data.row_roles import read_group, read_time, read_weight
from training.data.training_table import TrainingTable, as_json
from training.data.values import Kind, Values, content_of, kind_of, missing_of

TOP = 3  # categories shown for a column
MANY_NAMES = 1_000
MUCH_MISSING = 0.5

Role = Literal["feature", "target", "weight", "group", "time", "left out", "refused"]


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """Facts about one column of a table.

    Attributes:
        name: name of the column.
        role: use of the column.
        kind: kind of the cells; None if they cannot be read.
        missing: number of rows without a value.
        distinct: number of different values, missing ones aside; None if they cannot be read.
        minimum, maximum: least and greatest number, or date as ISO 8601; None for categories.
        top: most frequent categories, and the number of rows of each.
        becomes: encoding by the default recipe, in words; empty for a column that is not a feature.
        remarks: sentences on what the user should look at.
        problem: reason for which `fit` would refuse the column.
    """

    name: str
    role: Role
    kind: Kind | None = None
    missing: int = 0
    distinct: int | None = None
    minimum: float | str | None = None
    maximum: float | str | None = None
    top: tuple[tuple[str, int], ...] = ()
    becomes: str = ""
    remarks: tuple[str, ...] = ()
    problem: str | None = None


def facts_of(
    column: RawColumn,
    choices: ColumnChoices,
    leaks: LeakSearch | None,
    hashes: RowHashes,
    first_with_content: dict[tuple[str, bytes], str],
    scaling: Scaling,
    max_one_hot: int | None,
) -> ColumnFacts:
    """Returns the facts about a column that is not the target.

    Args:
        column: column to describe.
        choices: the user's decisions.
        leaks: search for features that leak the target, to which a feature is added; None without a target.
        hashes: hashes of the rows over the features so far, to which a feature is added.
        first_with_content: name of the first feature so far with each content, to which a feature is added.
        scaling: scaling of numbers, as for `inspect_table`.
        max_one_hot: greatest number of categories that are one-hot encoded, as for `inspect_table`.
    """
    name, missing = column.name, column.count_missing()
    role = choices.role_of(name)
    if missing == len(column) and role is None:
        return ColumnFacts(
            name=name,
            role="left out",
            missing=missing,
            distinct=0,
            remarks=(f"Column {name!r} has no value at all: it is left out.",),
        )
    try:
        values = _values(column, choices, role)
    except DataError as error:
        # A column that the user leaves out is never refused.
        is_dropped = name in choices.drop
        return ColumnFacts(
            name=name,
            role="left out" if is_dropped else "refused",
            missing=missing,
            problem=None if is_dropped else str(error),
        )
    counted = described(values)
    if role is not None or name in choices.drop:
        spelled = column.spellings if role == "group" else None
        remarks = () if spelled is None else (f"Column {name!r} {spelled}",)
        return ColumnFacts(name=name, role=role or "left out", **counted, remarks=remarks)  # type: ignore[arg-type]  # a key of roles
    reason = reason_to_drop(values)
    if reason is None or choices.keep_constant:
        twin = first_with_content.setdefault(content_of(values), name)
        reason = f"equals {twin!r} in every row" if twin != name and not choices.keep_constant else None
    if reason is not None:
        remark = f"Column {name!r} {reason.rstrip(',')}: it is left out."
        return ColumnFacts(name=name, role="left out", **counted, remarks=(remark,))
    add_feature(hashes, name, values)
    if leaks is not None:
        leaks.add(name, values)
    return ColumnFacts(
        name=name,
        role="feature",
        **counted,
        becomes=_becomes(_fitted(name, values, scaling, max_one_hot)),
        remarks=_remarks(column, values, counted, choices),
    )


def _values(column: RawColumn, choices: ColumnChoices, role: str | None) -> Values:
    if role == "weight":
        return read_weight(column)
    if role == "group":
        return read_group(column)
    return read_time(column, choices) if role == "time" else column.read(choices)


def described(values: Values) -> dict[str, Any]:
    """Returns the kind, gaps, distinct values, and range or top categories, as fields of `ColumnFacts`."""
    kind, missing = kind_of(values), int(missing_of(values).sum())
    if isinstance(values, DictionaryColumn):
        counts = values.counts()
        order = np.argsort(-counts, kind="stable")[:TOP]
        top = tuple((values.names[i], int(counts[i])) for i in order)
        return {"kind": kind, "missing": missing, "distinct": int((counts > 0).sum()), "top": top}
    distinct = np.unique(values[~missing_of(values)])
    if not len(distinct):
        return {"kind": kind, "missing": missing, "distinct": 0}
    low, high = as_json(distinct[0]), as_json(distinct[-1])
    return {"kind": kind, "missing": missing, "distinct": len(distinct), "minimum": low, "maximum": high}


def _remarks(column: RawColumn, values: Values, counted: Mapping[str, Any], choices: ColumnChoices) -> tuple[str, ...]:
    name, rows = column.name, len(values)
    remarks = [*([] if column.spellings is None else [column.spellings]), *column.remarks]
    if remark := column.remark or remark_on(name, values, choices):
        remarks.append(remark)
    if isinstance(values, DictionaryColumn) and counted["distinct"] > min(MANY_NAMES, max(rows // 2, 20)):
        remarks.append(
            f"has {counted['distinct']:,} names in {rows:,} rows: many of them are seen too rarely to learn."
        )
    if counted["missing"] > MUCH_MISSING * rows:
        remarks.append(f"is missing in {counted['missing'] / rows:.0%} of the rows.")
    return tuple(f"Column {name!r} {remark}" for remark in remarks)


def _fitted(name: str, values: Values, scaling: Scaling, max_one_hot: int | None) -> Column:
    rows = np.arange(len(values), dtype=np.int64)
    alone = TrainingTable(name=name, features={name: values}, target_name="target", labels=("a", "b"), target=rows)
    return fit_schema(alone, rows, scaling=scaling, max_one_hot=max_one_hot).columns[0]


def _becomes(column: Column) -> str:
    """Returns the network inputs that a column becomes, in words."""
    if isinstance(column, CategoricalColumn):
        return {
            "one_hot": f"{len(column.categories)} one-hot",
            "sign": "one of -1 and 1",
            "index": f"a learned embedding of {len(column.categories):,}",
        }[column.encoding]
    if column.minimum == column.maximum and column.missing == "indicator":
        return "missing flag"
    parts = ["time elapsed", *column.parts] if isinstance(column, DateColumn) else ["scaled number"]
    return ", ".join(parts) + (" + missing flag" if column.missing == "indicator" else "")
