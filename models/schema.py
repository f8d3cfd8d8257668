"""The columns that a model was trained on, as data: features with their statistics, and the target.

The schema travels in the checkpoint, so that a client sends the raw columns that the training table had. Turning
rows into the network's input is `models.encoding`'s work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

MAX_COLUMNS = 1_000_000
MAX_NAME_LENGTH = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericColumn:
    """A column of numbers, one feature wide.

    Attributes:
        name: the column's name in the training table.
        mean, std: over the training part; the network sees `(x - mean) / std`. `std` is above 0.
        minimum, maximum: the range seen in the training part.
        missing: what a missing value gets: `refuse` (an error) or `mean` (the training mean).
        origin: subtracted in float64 before the value is rounded to float32. It is 0 but for columns whose
            mean is large against their spread (a timestamp): rounding those first would lose the spread.
    """

    kind: ClassVar[Literal["numeric"]] = "numeric"
    width: ClassVar[int] = 1
    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    missing: Literal["refuse", "mean"] = "refuse"
    origin: float = 0.0

    def __post_init__(self) -> None:
        _check_name(self.name)
        for field in ("mean", "std", "minimum", "maximum", "origin"):
            _check_finite(self.name, field, getattr(self, field))
        if self.std <= 0:
            raise DataError(f"column {self.name!r}: std must be above 0, got {self.std!r}.")
        _check_choice(self.name, "missing", self.missing, ("refuse", "mean"))


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalColumn:
    """A column of names, one-hot: one feature a category.

    Attributes:
        name: the column's name in the training table.
        categories: the names known from the training part, in the order of their features.
        unknown: what a category outside them gets: `refuse` (an error) or `ignore` (all features 0).
        missing: what a missing value gets, likewise.
    """

    kind: ClassVar[Literal["categorical"]] = "categorical"
    name: str
    categories: tuple[str, ...]
    unknown: Literal["refuse", "ignore"] = "refuse"
    missing: Literal["refuse", "ignore"] = "refuse"

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "categories", tuple(self.categories))
        if not self.categories or not all(isinstance(category, str) for category in self.categories):
            raise DataError(f"column {self.name!r}: categories must be one or more strings.")
        if len(set(self.categories)) != len(self.categories):
            raise DataError(f"column {self.name!r}: a category stands twice.")
        _check_choice(self.name, "unknown", self.unknown, ("refuse", "ignore"))
        _check_choice(self.name, "missing", self.missing, ("refuse", "ignore"))

    @property
    def width(self) -> int:
        """Features that this column becomes."""
        return len(self.categories)


Column = NumericColumn | CategoricalColumn


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTarget:
    """What a classifier predicts: one of `labels`, in the order of the network's outputs."""

    kind: ClassVar[Literal["class"]] = "class"
    name: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        object.__setattr__(self, "labels", tuple(self.labels))
        if len(self.labels) < 2 or not all(isinstance(label, str) for label in self.labels):
            raise DataError(f"target {self.name!r}: labels must be two or more strings, got {self.labels!r}.")
        if len(set(self.labels)) != len(self.labels):
            raise DataError(f"target {self.name!r}: a label stands twice.")


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericTarget:
    """What a regressor predicts: a value; the network gives `(y - mean) / std`."""

    kind: ClassVar[Literal["numeric"]] = "numeric"
    name: str
    mean: float
    std: float
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        for field in ("mean", "std", "minimum", "maximum"):
            _check_finite(self.name, field, getattr(self, field))
        if self.std <= 0:
            raise DataError(f"target {self.name!r}: std must be above 0, got {self.std!r}.")


Target = ClassTarget | NumericTarget


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Feature columns in order, and the target.

    Raises:
        DataError: no column, or two of one name.
    """

    columns: tuple[Column, ...]
    target: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise DataError(f"a schema needs 1 to {MAX_COLUMNS:,} feature columns, got {len(self.columns)}.")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"column {twice!r} stands twice.")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The feature columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def width(self) -> int:
        """Features after encoding: one a numeric column, one a category of a categorical column."""
        return sum(column.width for column in self.columns)

    def standardisation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each encoded feature, `(width,)` each; one-hot features pass as they are."""
        mean, std = np.zeros(self.width), np.ones(self.width)
        at = 0
        for column in self.columns:
            if isinstance(column, NumericColumn):
                mean[at], std[at] = column.mean - column.origin, column.std
            at += column.width
        return mean, std

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` reads it back."""
        return {
            "columns": [{"kind": column.kind, **asdict(column)} for column in self.columns],
            "target": {"kind": self.target.kind, **asdict(self.target)},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Schema:
        """Reads `to_dict`'s form.

        Raises:
            DataError: a field that is missing, unknown or out of range.
        """
        columns, target = raw.get("columns"), raw.get("target")
        if not isinstance(columns, Sequence) or isinstance(columns, str):
            raise DataError("a schema needs a list of columns.")
        return cls(
            columns=tuple(_build(column, (NumericColumn, CategoricalColumn)) for column in columns),
            target=_build(target, (ClassTarget, NumericTarget)),
        )


def _build(raw: object, types: tuple[type[Any], ...]) -> Any:
    by_kind = {type_.kind: type_ for type_ in types}
    if not isinstance(raw, Mapping) or raw.get("kind") not in by_kind:
        raise DataError(f"a column needs a kind out of {', '.join(by_kind)}.")
    try:
        return by_kind[raw["kind"]](**{key: value for key, value in raw.items() if key != "kind"})
    except TypeError as error:
        raise DataError(f"column {raw.get('name')!r}: {error}.") from error


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise DataError(f"a column's name must be a string of 1 to {MAX_NAME_LENGTH} characters, got {name!r:.80}.")


def _check_finite(column: str, field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"column {column!r}: {field} must be a finite number, got {value!r}.")


def _check_choice(column: str, field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"column {column!r}: {field} must be one of {', '.join(choices)}; got {value!r}.")
