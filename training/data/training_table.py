"""A table fit to learn from: feature columns of known kind, a target of known task, nothing in them that is refused.

`understanding` makes one of a raw table. Nothing is fitted yet: that takes the training part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.columns.labels import Label, LabelType, typed_label
from models.network.config import Task
from training.data.cells import iso_text
from training.data.class_balance import class_shares
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import EqualRows
from training.data.values import Kind, Values, content_of, kind_of, missing_of

__all__ = ["ColumnChoices", "TrainingTable"]


@dataclass(frozen=True, kw_only=True)
class TrainingTable:
    """Typed features and a target.

    Attributes:
        name: what the data are called.
        features: `(rows,)` values by column name: float64 with NaN for missing in a numeric column,
            `DictionaryColumn` in a categorical one, datetime64[us] of UTC with NaT for missing in one of dates.
        target_name: the target column.
        labels: the classes in order, as texts; empty for regression.
        target: `(rows,)` int64 class indices, or float64 values for regression.
        choices: the user's decisions that the schema takes over.
        weight: `(rows,)` float64, how much each row counts; None for all the same.
        group: `(rows,)` int32, equal for rows that have to be in one part of a split; None for no groups.
        time: `(rows,)` float64 or datetime64[us], by which rows are split; None for a split by chance.
        test_rows: how many rows, the last ones, are the test part (a file of its own); 0 for a test part to be drawn.
        notes: sentences on columns and rows that the user should read.
        label_type: type that the labels have in the table that was read.
        date_forms: form of the dates of those columns that have another than ISO 8601 (`models.columns.date_forms`).
        equal_rows: which rows are equal; None where that was not asked.
    """

    name: str
    features: Mapping[str, Values]
    target_name: str
    labels: tuple[str, ...]
    target: NDArray[Any]
    choices: ColumnChoices = field(default_factory=ColumnChoices)
    weight: NDArray[np.float64] | None = None
    group: NDArray[np.int32] | None = None
    time: NDArray[Any] | None = None
    test_rows: int = 0
    notes: tuple[str, ...] = ()
    label_type: LabelType = "str"
    date_forms: Mapping[str, str] = field(default_factory=dict)
    equal_rows: EqualRows | None = None

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels in order, of the type that they have in the table; empty for regression."""
        return tuple(typed_label(text, self.label_type) for text in self.labels)

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.target)

    @property
    def task(self) -> Task:
        """`classification` or `regression`."""
        return "classification" if self.labels else "regression"

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Shares of the classes in the rows' weight, without the rows of a test file; none for regression."""
        if not self.labels:
            return ()
        known = slice(0, self.rows - self.test_rows)
        weight = None if self.weight is None else self.weight[known]
        return tuple(class_shares(self.target[known], len(self.labels), weight).tolist())

    def kind(self, name: str) -> Kind:
        """What a feature column holds: `numeric`, `categorical` or `date`."""
        return kind_of(self.features[name])

    def is_numeric(self, name: str) -> bool:
        """Whether a feature column holds numbers."""
        return self.kind(name) == "numeric"

    def missing(self, name: str) -> NDArray[np.bool_]:
        """`(rows,)` whether a feature column lacks a value."""
        return missing_of(self.features[name])

    def take(self, rows: NDArray[np.int64]) -> dict[str, Values]:
        """The feature columns at some rows."""
        return {
            name: values.take(rows) if isinstance(values, DictionaryColumn) else values[rows]
            for name, values in self.features.items()
        }

    def example(self, row: int) -> dict[str, Any]:
        """One row's features as a client would send them: JSON types by column name."""
        return {name: self._as_json(name, row) for name in self.features}

    def fingerprint(self) -> str:
        """SHA-256 over names, kinds and values: the same data in CSV and in Parquet have the same.

        Weights, groups and times count too, as what is learned depends on them.
        """
        sha = hashlib.sha256()
        for name, values in self.features.items():
            sha.update(_titled(name, content_of(values)))
        target = DictionaryColumn(self.target.astype(np.int32), self.labels) if self.labels else self.target
        sha.update(_titled(self.target_name, content_of(target)))
        for role in ("weight", "group", "time"):
            if (values := getattr(self, role)) is not None:
                sha.update(_titled(role, content_of(values)))
        if self.test_rows:
            sha.update(f"test:{self.test_rows}".encode())
        if self.choices.equal_rows != "auto":  # it decides which rows are learned from
            sha.update(f"equal rows:{self.choices.equal_rows}".encode())
        return f"sha256:{sha.hexdigest()}"

    def _as_json(self, name: str, row: int) -> Any:
        values = self.features[name]
        if isinstance(values, DictionaryColumn):
            return values[row]
        value = as_json(values[row])
        return float(value) if isinstance(value, int) and not _are_whole(values) else value


def as_json(value: np.float64 | np.datetime64) -> float | int | str | None:
    """A number or a date as a client would send it: whole numbers whole, dates as ISO 8601, None for missing."""
    if np.isnan(value):
        return None
    if isinstance(value, np.datetime64):
        return iso_text(value)
    return int(value) if float(value).is_integer() else float(value)


def _titled(name: str, content: tuple[str, bytes]) -> bytes:
    kind, digest = content
    return f"{len(name)}:{name}:{kind}\n".encode() + digest


def _are_whole(values: NDArray[np.float64]) -> bool:
    first = values[:1000]  # enough to tell, and an example is no contract
    return bool((np.trunc(first) == first)[~np.isnan(first)].all())
