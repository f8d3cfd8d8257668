"""The columns that a model was trained on, as data: features with their statistics, and the target.

The schema travels in the checkpoint, so that a client sends the raw columns that the training table had. Turning
rows into the network's input is `models.encoding`'s work.
"""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

MAX_COLUMNS = 1_000_000
MAX_NAME_LENGTH = 1_000
# What is at or beyond this rounds to infinity in float32. A little above the largest float32, whose shortest decimal
# form, 3.4028235e38, is above it too, and has to pass.
FLOAT32_LIMIT = 2.0**128 - 2.0**103


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
            object.__setattr__(self, field, _finite(f"column {self.name!r}: {field}", getattr(self, field)))
        if self.std <= 0:
            raise DataError(f"column {self.name!r}: std must be above 0, got {self.std!r}.")
        # A missing value becomes mean - origin, so that has to be a float32 like any other cell.
        if not abs(self.mean - self.origin) < FLOAT32_LIMIT:
            raise DataError(f"column {self.name!r}: mean - origin is too large for 32-bit floating point.")
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
        categories = _distinct_strings(f"column {self.name!r}: categories", self.categories)
        object.__setattr__(self, "categories", categories)
        if not categories:
            raise DataError(f"column {self.name!r}: categories must be one or more.")
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
        labels = _distinct_strings(f"target {self.name!r}: labels", self.labels)
        object.__setattr__(self, "labels", labels)
        if len(labels) < 2:
            raise DataError(f"target {self.name!r}: labels must be two or more, got {list(labels)!r}.")


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
            object.__setattr__(self, field, _finite(f"target {self.name!r}: {field}", getattr(self, field)))
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
        _distinct_strings("the names of the columns", self.names)

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
        return {"columns": [_plain(column) for column in self.columns], "target": _plain(self.target)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Schema:
        """Reads `to_dict`'s form. Keys beside `columns` and `target` are left to others: the schema is a part of
        the checkpoint's header.

        Raises:
            DataError: a field that is missing, unknown or out of range.
        """
        columns = raw.get("columns") if isinstance(raw, Mapping) else None
        if not isinstance(columns, list | tuple):
            raise DataError("a schema needs a list of columns.")
        return cls(
            columns=tuple(_build("column", column, (NumericColumn, CategoricalColumn)) for column in columns),
            target=_build("target", raw.get("target"), (ClassTarget, NumericTarget)),
        )


def _plain(column: Column | Target) -> dict[str, Any]:
    fields = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(column).items()}
    return {"kind": column.kind, **fields}


def _build(what: str, raw: object, types: tuple[type[Any], ...]) -> Any:
    by_kind = {type_.kind: type_ for type_ in types}
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(kind, str) or kind not in by_kind:
        raise DataError(f"a {what} needs a kind out of {', '.join(by_kind)}.")
    known = {field.name: field for field in fields(by_kind[kind])}
    name = f"{what} {_shown(raw.get('name'))}"
    for key in raw:
        if key != "kind" and key not in known:
            raise DataError(f"{name}: unknown field {_shown(key)}; known: {', '.join(known)}.")
    for key, field in known.items():
        if key not in raw and field.default is MISSING:
            raise DataError(f"{name}: {key} is missing.")
    return by_kind[kind](**{key: value for key, value in raw.items() if key != "kind"})


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise DataError(f"a column's name must be a string of 1 to {MAX_NAME_LENGTH} characters, got {_shown(name)}.")
    _check_unicode("a column's name", name)


def _check_unicode(what: str, text: str) -> None:
    # JSON can write half of a surrogate pair; no response that repeats it could be sent as UTF-8.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} must be Unicode text, got {_shown(text)}.") from error


def _distinct_strings(what: str, values: object) -> tuple[str, ...]:
    # A lone string would pass for a sequence of letters, and a mapping for its keys.
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{what} must be a list of strings, got {_shown(values)}.")
    if len(set(values)) != len(values):
        twice, _ = Counter(values).most_common(1)[0]
        raise DataError(f"{what}: {_shown(twice)} stands twice.")
    for value in values:
        _check_unicode(what, value)
    return tuple(values)


def _finite(what: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number beyond what a float holds
            if math.isfinite(number := float(value)):
                return number
    raise DataError(f"{what} must be a finite number, got {_shown(value)}.")


def _check_choice(column: str, field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"column {column!r}: {field} must be one of {', '.join(choices)}; got {_shown(value)}.")


def _shown(value: object) -> str:
    """A value in a message, bounded: a hostile header may hold one of any size, depth or number of digits."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write out more than 4,300 digits
        return f"{type(value).__name__} of many digits"
