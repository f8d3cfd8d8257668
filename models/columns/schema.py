"""The schema of a model, as data: feature columns with statistics of the training part, and the target.

The schema is stored in the checkpoint, so a client can send the raw columns of the training table.
`models.columns.encoding` encodes such rows for the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, Feature, NumericColumn
from models.columns.fields import check_column_name, distinct_strings, finite, shown
from models.columns.labels import Label, checked_labels
from models.errors import DataError

__all__ = [
    "MAX_COLUMNS",
    "CategoricalColumn",
    "ClassTarget",
    "Column",
    "DateColumn",
    "Feature",
    "NumericColumn",
    "NumericTarget",
    "Schema",
    "Target",
    "ValuesTarget",
]

MAX_COLUMNS = 1_000_000
MAX_TARGETS = 1_000
_LATER_FIELDS = ("fill", "gaps")  # of format versions 3 and 6, written where they say something


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassTarget:
    """The target of a classifier: one of several labels.

    Attributes:
        name: name of the target column in the training table.
        labels: labels in the order of the network's outputs, of the type in the training table.
    """

    kind: ClassVar[Literal["class"]] = "class"
    name: str
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        check_column_name(self.name)
        object.__setattr__(self, "labels", checked_labels(f"target {self.name!r}: labels", self.labels))

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the target column, as `ValuesTarget.names` has several."""
        return (self.name,)


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericTarget:
    """The target of a regressor: a value y, for which the network's answer is `(y - mean) / std`.

    Attributes:
        name: name of the target column in the training table.
        mean, std: mean and standard deviation of the training part; for a network with an exponential output, 0 and the
            mean of the training part. `std` is above 0.
        minimum, maximum: range of the training part; None in both if the range is unknown, as of an imported model.
        origin: number that is subtracted from a served network's float32 answers; the reader of the answers adds it in
            float64. It is 0 except for targets with a mean much larger than the spread (a timestamp), which float32
            would round to a few values.
    """

    kind: ClassVar[Literal["numeric"]] = "numeric"
    name: str
    mean: float
    std: float
    minimum: float | None
    maximum: float | None
    origin: float = 0.0

    def __post_init__(self) -> None:
        check_column_name(self.name)
        known = () if self.minimum is None and self.maximum is None else ("minimum", "maximum")
        for field in ("mean", "std", *known, "origin"):
            object.__setattr__(self, field, finite(f"target {self.name!r}: {field}", getattr(self, field)))
        if self.std <= 0:
            raise DataError(f"target {self.name!r}: std must be above 0, got {self.std!r}.")
        # The network's bias is `mean - origin`, and its clamp `minimum - origin` to `maximum - origin`, in float32.
        for field in ("mean", *known):
            if self.origin and not abs(getattr(self, field) - self.origin) < FLOAT32_LIMIT:
                raise DataError(f"target {self.name!r}: {field} - origin is too large for 32-bit floating point.")

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the target column, as `ValuesTarget.names` has several."""
        return (self.name,)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValuesTarget:
    """The targets of a regressor that answers several values for a row.

    Attributes:
        targets: targets in the order of the network's outputs.
    """

    kind: ClassVar[Literal["values"]] = "values"
    targets: tuple[NumericTarget, ...]

    def __post_init__(self) -> None:
        targets = tuple(self.targets) if isinstance(self.targets, list | tuple) else ()
        targets = tuple(_numeric_target(target) for target in targets)
        if not 2 <= len(targets) <= MAX_TARGETS:
            raise DataError(f"several targets are 2 to {MAX_TARGETS:,}, got {len(targets)}.")
        distinct_strings("the names of the targets", tuple(target.name for target in targets))
        object.__setattr__(self, "targets", targets)

    @property
    def name(self) -> str:
        """The names of all targets, for people."""
        return ", ".join(target.name for target in self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the target columns in the training table."""
        return tuple(target.name for target in self.targets)


Target = ClassTarget | NumericTarget | ValuesTarget


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The schema of a model.

    Attributes:
        columns: feature columns, in order.
        target: target column.

    Raises:
        DataError: There is no column, or two columns have the same name.
    """

    columns: tuple[Column, ...]
    target: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not 1 <= len(self.columns) <= MAX_COLUMNS:
            raise DataError(f"a schema needs 1 to {MAX_COLUMNS:,} feature columns, got {len(self.columns)}.")
        distinct_strings("the names of the columns", self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the feature columns, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def categorical(self) -> frozenset[str]:
        """Names of the columns of categories."""
        return frozenset(column.name for column in self.columns if isinstance(column, CategoricalColumn))

    @cached_property
    def numeric(self) -> frozenset[str]:
        """Names of the columns of numbers."""
        return frozenset(column.name for column in self.columns if isinstance(column, NumericColumn))

    @cached_property
    def values(self) -> tuple[NumericTarget, ...]:
        """Target of each value that the model answers; empty for a classifier."""
        target = self.target
        if isinstance(target, ValuesTarget):
            return target.targets
        return (target,) if isinstance(target, NumericTarget) else ()

    @property
    def origin(self) -> float | NDArray[np.float64]:
        """Number to add to the float32 answers of the network: of several targets, one for each, unless all are 0."""
        origins = [target.origin for target in self.values]
        if not any(origins):
            return 0.0
        return origins[0] if len(origins) == 1 else np.array(origins)

    @cached_property
    def width(self) -> int:
        """Number of features of an encoded row."""
        return sum(column.width for column in self.columns)

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features of an encoded row, `(width,)`, in order."""
        return tuple(chain.from_iterable(column.features for column in self.columns))

    def standardisation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns shift and divisor of each encoded feature, `(width,)` each, for `(x - shift) / divisor`.

        Only numbers are standardised: flags and indices get 0 and 1, which leaves them unchanged.
        """
        shift, divisor = np.zeros(self.width), np.ones(self.width)
        at = 0
        for column in self.columns:
            if not isinstance(column, CategoricalColumn):  # the number is the first feature of its column
                shift[at], divisor[at] = column.shift, column.divisor
            at += column.width
        return shift, divisor

    def to_dict(self) -> dict[str, Any]:
        """Returns the schema as plain JSON types, for `from_dict`."""
        return {"columns": list(self.plain_columns()), "target": self.plain_target()}

    def plain_columns(self) -> Iterator[dict[str, Any]]:
        """Yields the columns as plain JSON types, one by one."""
        return map(plain_fields, self.columns)

    def plain_target(self) -> dict[str, Any]:
        """Returns the target as plain JSON types."""
        return plain_fields(self.target)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Schema:
        """Builds a schema from the result of `to_dict`.

        Other keys than `columns` and `target` are ignored, because the schema is a part of the checkpoint's header.

        Raises:
            DataError: A field is missing, unknown or out of range.
        """
        columns = raw.get("columns") if isinstance(raw, Mapping) else None
        if not isinstance(columns, list | tuple):
            raise DataError("a schema needs a list of columns.")
        return cls(columns=tuple(map(build_column, columns)), target=build_target(raw.get("target")))


def build_column(raw: object) -> Column:
    """Builds one column from its plain JSON types.

    Raises:
        DataError: A field is missing, unknown or out of range.
    """
    column: Column = _build("column", raw, (NumericColumn, CategoricalColumn, DateColumn))
    return column


def build_target(raw: object) -> Target:
    """Builds a target from its plain JSON types.

    Raises:
        DataError: A field is missing, unknown or out of range.
    """
    target: Target = _build("target", raw, (ClassTarget, NumericTarget, ValuesTarget))
    return target


def _numeric_target(raw: object) -> NumericTarget:
    if isinstance(raw, NumericTarget):
        return raw
    target: NumericTarget = _build("target", raw, (NumericTarget,))
    return target


def plain_fields(column: Column | Target) -> dict[str, Any]:
    """Returns the fields of a column or a target as plain JSON types."""
    plain: dict[str, Any] = {"kind": column.kind}
    if isinstance(column, ValuesTarget):
        return plain | {"targets": [plain_fields(target) for target in column.targets]}
    for name in column.__slots__:  # the fields; `asdict` makes deep copies and takes ten times as long
        value = getattr(column, name)
        if value or name not in _LATER_FIELDS:
            plain[name] = list(value) if isinstance(value, tuple) else value
    return plain


def _build(what: str, raw: object, types: tuple[type[Any], ...]) -> Any:
    by_kind = {type_.kind: type_ for type_ in types}
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if not isinstance(raw, Mapping) or not isinstance(kind, str) or kind not in by_kind:
        raise DataError(f"a {what} needs a kind out of {', '.join(by_kind)}.")
    known = {field.name: field for field in fields(by_kind[kind])}
    name = f"{what} {shown(raw.get('name'))}"
    for key in raw:
        if key != "kind" and key not in known:
            raise DataError(f"{name}: unknown field {shown(key)}; known: {', '.join(known)}.")
    for key, field in known.items():
        if key not in raw and field.default is MISSING:
            raise DataError(f"{name}: {key} is missing.")
    return by_kind[kind](**{key: value for key, value in raw.items() if key != "kind"})
