"""A table ready for training: feature columns of known kind, a target of known task, and no invalid cells.

`understanding` makes such a table from a raw one. No statistics are fitted here: that needs the training part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dates import iso_text
from models.columns.dictionary_column import DictionaryColumn
from models.columns.labels import Label, LabelType, typed_label
from models.network.config import Task
from training.data.class_balance import class_shares
from training.data.column_choices import ColumnChoices
from training.data.equal_rows import EqualRows
from training.data.missing_texts import MissingValues
from training.data.notation import Notation
from training.data.scratch import release_pages
from training.data.values import Kind, Values, content_of, kind_of, missing_of

__all__ = ["ColumnChoices", "TrainingTable"]


@dataclass(frozen=True, kw_only=True)
class TrainingTable:
    """Typed features and a target.

    Attributes:
        name: name of the data set.
        features: `(rows,)` values by column name: float64 with NaN for missing in a numeric column,
            `DictionaryColumn` in a categorical one, datetime64[us] in UTC with NaT for missing in one of dates.
        target_name: name of the target column; of several targets, all names, for people.
        labels: class labels in order, as texts; empty for regression.
        target: `(rows,)` int64 class indices, or float64 values for regression; `(rows, targets)` values of several
            targets.
        choices: the user's decisions, some of which the schema needs.
        weight: `(rows,)` float64 weight of each row; None for equal weights.
        group: `(rows,)` int32, equal for rows that have to be in one part of a split; None for no groups.
        time: `(rows,)` float64 or datetime64[us], by which rows are split; None for no split by time.
        test_rows: number of rows at the end that come from a test file; 0 if the split makes the test part.
        notes: sentences on columns and rows that the user should read.
        test_notes: those of `notes` that are about the test file.
        label_type: type of the labels in the table that was read.
        date_forms: form of the dates by column, if other than ISO 8601 (`models.columns.date_forms`).
        notations: notation of numbers by column, for columns of numbers; None if not known.
        missing_values: values that the user declared missing.
        equal_rows: rows that are equal; None if not searched.
        several_targets: names of the target columns, in order, if there are several; empty for one.
        row_numbers: `(rows,)` number of each row in the source that the row comes from, from 0; None if no row was
            left out.
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
    test_notes: tuple[str, ...] = ()
    label_type: LabelType = "str"
    date_forms: Mapping[str, str] = field(default_factory=dict)
    notations: Mapping[str, Notation] | None = None
    missing_values: MissingValues = field(default_factory=MissingValues)
    equal_rows: EqualRows | None = None
    several_targets: tuple[str, ...] = ()
    row_numbers: NDArray[np.int64] | None = None

    @property
    def classes(self) -> tuple[Label, ...]:
        """The labels in order, in the type that the source has; empty for regression."""
        return tuple(typed_label(text, self.label_type) for text in self.labels)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The names of the target columns, in the order of the columns of `target`."""
        return self.several_targets or (self.target_name,)

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return len(self.target)

    @property
    def task(self) -> Task:
        """`classification` or `regression`."""
        return "classification" if self.labels else "regression"

    @property
    def class_shares(self) -> tuple[float, ...]:
        """The shares of the classes in the rows' weight, without the rows of a test file; empty for regression."""
        if not self.labels:
            return ()
        known = slice(0, self.rows - self.test_rows)
        return tuple(class_shares(self.target[known], len(self.labels), self.weights_of(known)).tolist())

    def place(self, row: int) -> str:
        """Returns the place of a row in its source in words, such as `row 7`, counted from 1."""
        of_test_file = " of the test file" if row >= self.rows - self.test_rows else ""
        return f"row {self.row_number(row):,}{of_test_file}"

    def row_number(self, row: int) -> int:
        """Returns the number of a row in its source, counted from 1; rows that were left out count."""
        if self.row_numbers is not None:
            return 1 + int(self.row_numbers[row])
        first_of_test_file = self.rows - self.test_rows
        return 1 + row - (first_of_test_file if row >= first_of_test_file else 0)

    def weights_of(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float64] | None:
        """Returns the weights of some rows, `(rows,)`; None for equal weights."""
        return None if self.weight is None else self.weight[rows]

    def kind(self, name: str) -> Kind:
        """Returns the kind of a feature column: `numeric`, `categorical` or `date`."""
        return kind_of(self.features[name])

    def is_numeric(self, name: str) -> bool:
        """Returns True if a feature column holds numbers."""
        return self.kind(name) == "numeric"

    def missing(self, name: str) -> NDArray[np.bool_]:
        """Returns `(rows,)` True for a missing value of a feature column."""
        return missing_of(self.features[name])

    def take(self, name: str, rows: NDArray[np.int64]) -> Values:
        """Returns the values of a feature column at some rows."""
        values = self.features[name]
        return values.take(rows) if isinstance(values, DictionaryColumn) else values[rows]

    def example(self, row: int) -> dict[str, Any]:
        """Returns one row's features as a client would send the row: JSON types by column name."""
        return {name: self._as_json(name, row) for name in self.features}

    def fingerprint(self) -> str:
        """Returns the SHA-256 of names, kinds and values: the same data in CSV and in Parquet have the same.

        Weights, groups and times count too, because training depends on them.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        sha = hashlib.sha256()
        for name, values in self.features.items():
            sha.update(_with_name(name, content_of(values)))
            release_pages()
        if self.labels:
            target = DictionaryColumn(self.target.astype(np.int32), self.labels)
            sha.update(_with_name(self.target_name, content_of(target)))
        else:
            for name, values in zip(self.target_names, self.target.reshape(self.rows, -1).T, strict=True):
                sha.update(_with_name(name, content_of(values)))
        if self.several_targets:  # a feature of the last name has another fingerprint
            sha.update(f"targets:{len(self.several_targets)}".encode())
        for role in ("weight", "group", "time"):
            if (values := getattr(self, role)) is not None:
                sha.update(_with_name(role, content_of(values)))
        if self.test_rows:
            sha.update(f"test:{self.test_rows}".encode())
        if self.choices.equal_rows != "auto":  # decides which rows are trained on
            sha.update(f"equal rows:{self.choices.equal_rows}".encode())
        return f"sha256:{sha.hexdigest()}"

    def _as_json(self, name: str, row: int) -> Any:
        values = self.features[name]
        if isinstance(values, DictionaryColumn):
            return values[row]
        value = as_json(values[row])
        return float(value) if isinstance(value, int) and not _are_whole(values) else value


def as_json(value: np.float64 | np.datetime64) -> float | int | str | None:
    """Returns a number or a date as JSON has one: whole numbers as int, dates in ISO 8601, None for missing."""
    if np.isnan(value):
        return None
    if isinstance(value, np.datetime64):
        return iso_text(value)
    return int(value) if float(value).is_integer() else float(value)


def _with_name(name: str, content: tuple[str, bytes]) -> bytes:
    kind, digest = content
    return f"{len(name)}:{name}:{kind}\n".encode() + digest


def _are_whole(values: NDArray[np.float64]) -> bool:
    first = values[:1000]  # enough for an example, which promises nothing
    return bool((np.trunc(first) == first)[~np.isnan(first)].all())
