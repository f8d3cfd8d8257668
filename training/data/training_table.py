"""A table fit to learn from: feature columns of known kind, a target of known task, nothing in them that is refused.

`read_training_table` decides what each column of a `Table` is and refuses what cannot be learned from, in one sentence
that names the column, and the row where it is one row's fault. Nothing is fitted here: that takes the training part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.config import Task
from models.errors import DataError
from training.data.cells import in_order, names_of, numbers_in, values_of
from training.data.table import Table

# From this share of numbers on, a column of texts is a numeric one in which a few words went astray.
NUMERIC_SHARE = 0.9
# A target of whole numbers with at most this many different ones is read as classes.
MAX_NUMBERED_CLASSES = 20

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class ColumnChoices:
    """What the user decides about columns, where the table alone does not.

    Attributes:
        categorical: columns to read as names, although they look like numbers (a postcode).
        numeric: columns to read as numbers, although most cells are not.
        drop: columns to leave out.
        unknown: what serving does with a category that training did not see: `refuse` it or `ignore` it.
        keep_constant: whether a feature of one value is kept (the black border of images) rather than refused.
    """

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    unknown: Literal["refuse", "ignore"] = "refuse"
    keep_constant: bool = False

    def __post_init__(self) -> None:
        for name in ("categorical", "numeric", "drop"):
            names = getattr(self, name)
            if isinstance(names, str) or not all(isinstance(column, str) for column in names):
                raise DataError(f"{name} must be a sequence of column names, got {names!r}.")
            object.__setattr__(self, name, tuple(names))
        if self.unknown not in ("refuse", "ignore"):
            raise DataError(f"unknown must be refuse or ignore, got {self.unknown!r}.")
        if both := sorted(set(self.categorical) & set(self.numeric)):
            raise DataError(f"column {both[0]!r} cannot be both categorical and numeric.")


@dataclass(frozen=True, kw_only=True)
class TrainingTable:
    """Typed features and a target.

    Attributes:
        name: what the data are called.
        features: `(rows,)` an array by column name: float64 with NaN for missing in a numeric column, strings with
            None for missing in a categorical one.
        target_name: the target column.
        labels: the classes in order; empty for regression.
        target: `(rows,)` int64 class indices, or float64 values for regression.
        choices: the user's decisions that the schema takes over.
    """

    name: str
    features: Mapping[str, NDArray[Any]]
    target_name: str
    labels: tuple[str, ...]
    target: NDArray[Any]
    choices: ColumnChoices = field(default_factory=ColumnChoices)

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return len(self.target)

    @property
    def task(self) -> Task:
        """`classification` or `regression`."""
        return "classification" if self.labels else "regression"

    def is_numeric(self, name: str) -> bool:
        """Whether a feature column holds numbers."""
        return bool(self.features[name].dtype == np.float64)

    def missing(self, name: str) -> NDArray[np.bool_]:
        """`(rows,)` whether a feature column lacks a value."""
        values = self.features[name]
        return np.isnan(values) if self.is_numeric(name) else np.array([value is None for value in values])

    def take(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The feature columns at some rows."""
        return {name: values[rows] for name, values in self.features.items()}

    def example(self, row: int) -> dict[str, Any]:
        """One row's features as a client would send them: JSON types by column name."""
        return {name: self._as_json(name, values[row]) for name, values in self.features.items()}

    def fingerprint(self) -> str:
        """SHA-256 over names, kinds and values: the same data in CSV and in Parquet have the same."""
        sha = hashlib.sha256()
        for name, values in (*self.features.items(), (self.target_name, self._target_column())):
            sha.update(f"{len(name)}:{name}:{values.dtype.kind}\n".encode())
            if values.dtype == np.float64:
                # One bit pattern for NaN and one for zero, whatever the file had.
                sha.update(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes())
            else:
                for cell in values:
                    sha.update(b"-" if cell is None else f"{len(cell)}:{cell}".encode())
        return f"sha256:{sha.hexdigest()}"

    def _target_column(self) -> NDArray[Any]:
        return np.array(self.labels, dtype=np.object_)[self.target] if self.labels else self.target

    def _as_json(self, name: str, value: Any) -> Any:
        if not self.is_numeric(name):
            return value
        if np.isnan(value):
            return None
        return int(value) if value.is_integer() and self._is_whole(name) else float(value)

    def _is_whole(self, name: str) -> bool:
        values = self.features[name][:1000]  # enough to tell, and an example is no contract
        return all(value.is_integer() for value in values[~np.isnan(values)])


def read_training_table(
    table: Table, *, name: str, target: str, task: Task | None = None, choices: ColumnChoices | None = None
) -> TrainingTable:
    """Decides what each column is and refuses what cannot be learned from.

    Numbers are numeric, strings and truth values categorical. A target of strings, truth values or at most
    `MAX_NUMBERED_CLASSES` different whole numbers is classes; other numbers are values.

    Args:
        table: as read.
        name: what the data are called.
        target: the column to predict.
        task: `classification` or `regression`; None infers it from the target.
        choices: the user's decisions about columns.

    Raises:
        DataError: one sentence that names the column at fault, the row where it is one, and the remedy.
    """
    choices = choices or ColumnChoices()
    for chosen in (target, *choices.drop, *choices.categorical, *choices.numeric):
        table.column(chosen)
    if target in choices.drop:
        raise DataError(f"column {target!r} is the target and cannot be dropped.")
    names = [column for column in table.columns if column != target and column not in choices.drop]
    if not names:
        raise DataError(f"{table.source} has no column to learn from beside the target {target!r}.")
    labels, values = _read_target(_Column(table, target, "target"), task)
    return TrainingTable(
        name=name,
        features={column: _read_feature(_Column(table, column, "column"), choices) for column in names},
        target_name=target,
        labels=labels,
        target=values,
        choices=choices,
    )


class _Column:
    """One raw column and how to speak of it."""

    def __init__(self, table: Table, name: str, role: str) -> None:
        self.table = table
        self.name = name
        self.called = f"{role} {name!r} of {table.source}"
        self.cells = table.columns[name]
        self.is_text = table.text

    def names(self) -> NDArray[np.object_]:
        return names_of(self.cells)

    def numbers(self, *, forced: bool, remedy: str) -> NDArray[np.float64] | None:
        """The column as numbers, or None where it is one of names.

        Args:
            forced: whether it must be numbers.
            remedy: what to advise where a few cells are words.
        """
        kind = self.cells.type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return values_of(self.cells)
        if pa.types.is_boolean(kind):
            return values_of(self.cells) if forced else None
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(f"{self.called} holds {kind}, which is neither numbers nor names: convert it or drop it.")
        if not self.is_text and not forced:
            return None
        values, is_number = numbers_in(self.cells, decimal=self.table.decimal)
        present = len(self.cells) - self.cells.null_count
        share = is_number.sum() / present
        if share == 1:
            return values
        if not forced and share < NUMERIC_SHARE:
            return None
        is_word = ~is_number & np.asarray(pc.is_valid(self.cells))
        row = int(is_word.argmax())
        raise DataError(
            f"{self.called}: {self.cells[row].as_py()[:60]!r} at {self.at(row)} is not a number, while "
            f"{is_number.sum()} of {present} cells are; correct it, or {remedy}."
        )

    def check_has_values(self) -> None:
        if self._count_missing() == len(self.cells):
            raise DataError(f"{self.called} has no value at all: drop it (--drop {self.name}).")

    def check_complete(self) -> None:
        if missing := self._count_missing():
            others = f" and {missing - 1} more" if missing > 1 else ""
            row = int(np.asarray(pc.is_null(self.cells, nan_is_null=True)).argmax())
            raise DataError(f"{self.called} has no value at {self.at(row)}{others}: fill it in or remove the row.")

    def check_range(self, values: NDArray[np.float64]) -> None:
        beyond = np.abs(values) > _FLOAT32_MAX  # False for NaN
        if beyond.any():
            row = int(beyond.argmax())
            reason = "infinite" if np.isinf(values[row]) else "too large for 32-bit floating point"
            raise DataError(f"{self.called}: the value at {self.at(row)} is {reason}.")

    def at(self, row: int) -> str:
        return self.table.locate(row)

    def _count_missing(self) -> int:
        return int(pc.sum(pc.is_null(self.cells, nan_is_null=True)).as_py())


def _read_feature(column: _Column, choices: ColumnChoices) -> NDArray[Any]:
    column.check_has_values()
    if column.name not in choices.categorical:
        numbers = column.numbers(
            forced=column.name in choices.numeric, remedy=f"read the column as names (--categorical {column.name})"
        )
        if numbers is not None:
            column.check_range(numbers)
            present = numbers[~np.isnan(numbers)]
            if not choices.keep_constant and (present == present[0]).all():
                raise _constant(column, f"{present[0]:g}")
            return numbers
    names = column.names()
    distinct = _distinct(names)
    if not choices.keep_constant and len(distinct) == 1:
        raise _constant(column, repr(distinct.pop()))
    if len(distinct) == len(names):
        raise DataError(
            f"{column.called} has another name in each of its {len(names)} rows, as an identifier has: "
            f"drop it (--drop {column.name})."
        )
    return names


def _read_target(column: _Column, task: Task | None) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The labels in order and `(rows,)` their indices, or no labels and `(rows,)` values."""
    if task not in (None, "classification", "regression"):
        raise DataError(f"task must be classification or regression, got {task!r}.")
    column.check_complete()
    numbers = None
    if task != "classification":
        numbers = column.numbers(forced=False, remedy="read the target as classes (--task classification)")
        if numbers is None and task == "regression":
            raise DataError(
                f"{column.called} holds names ({column.names()[0]!r} at {column.at(0)}), but regression is of numbers."
            )
    if numbers is not None and (task == "regression" or not _is_numbered_classes(numbers)):
        column.check_range(numbers)
        if (numbers == numbers[0]).all():
            raise DataError(f"{column.called} has one value only, {numbers[0]:g}: there is nothing to predict.")
        return (), numbers
    names = column.names()
    labels = in_order(_distinct(names))
    if len(labels) < 2:
        raise DataError(f"{column.called} has one class only, {labels[0]!r}: there is nothing to tell apart.")
    index = {label: i for i, label in enumerate(labels)}
    return labels, np.array([index[name] for name in names], dtype=np.int64)


def _is_numbered_classes(numbers: NDArray[np.float64]) -> bool:
    return bool((numbers == np.round(numbers)).all()) and len(np.unique(numbers)) <= MAX_NUMBERED_CLASSES


def _distinct(names: Iterable[str | None]) -> set[str]:
    return {name for name in names if name is not None}


def _constant(column: _Column, value: str) -> DataError:
    return DataError(
        f"{column.called} has one value only, {value}, and so tells nothing: drop it (--drop {column.name}), "
        "or keep such columns (--keep-constant)."
    )
