"""The distributions of a model's columns and predictions in training, as data: counts by bin.

The checkpoint carries them as the section `distributions`, so that a server can compare what it is asked with what the
model learned from. `models.distributions.row_counter` counts rows in the same bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from models.columns.column import CategoricalColumn
from models.columns.fields import finite, shown
from models.columns.schema import ClassTarget, Column, Schema, ValuesTarget
from models.errors import DataError

MAX_COLUMNS = 1_000  # columns with a distribution; the header of a wider model stays below a megabyte
MAX_BINS = 20
_MAX_COUNT = 2**53


@dataclass(frozen=True, kw_only=True)
class NumberCounts:
    """Counts of numbers in bins.

    Attributes:
        edges: bounds between bins in the unit of the table (dates: days since 1970-01-01), ascending. Bin i holds the
            numbers above `edges[i - 1]` and up to `edges[i]`; the first and the last bin are open.
        counts: number of values in each bin, `(len(edges) + 1,)`.
        gaps: number of missing values.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    gaps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts as plain JSON types."""
        return {"edges": list(self.edges), "counts": list(self.counts), "gaps": self.gaps}


@dataclass(frozen=True, kw_only=True)
class CategoryCounts:
    """Counts of categories: the most frequent ones each, all others together.

    Attributes:
        categories: positions of the counted categories or classes, ascending.
        counts: number of values of each counted category; then one number for all others, if there are others.
        gaps: number of missing values.
        singletons: number of categories that occur once in all rows of training. Their share estimates the share of
            unknown categories.
    """

    categories: tuple[int, ...]
    counts: tuple[int, ...]
    gaps: int = 0
    singletons: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Returns the counts as plain JSON types."""
        return {
            "categories": list(self.categories),
            "counts": list(self.counts),
            "gaps": self.gaps,
            "singletons": self.singletons,
        }


Counts = NumberCounts | CategoryCounts


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """The distributions of the columns and of the predictions.

    Attributes:
        rows: number of rows of the training part, from which the range of each column comes.
        columns: counts of each column, in the order of the schema; of the first `MAX_COLUMNS` in a wider model.
        predictions: counts of the predictions for rows that training did not learn from (all rows if there are no
            others): `class` and `confidence` (the probability of the predicted class), or `value`; or those of each of
            several targets by its name.
    """

    rows: int
    columns: tuple[Counts, ...]
    predictions: Mapping[str, Counts]

    def to_dict(self) -> dict[str, Any]:
        """Returns the distributions as plain JSON types, for `from_dict`."""
        return {
            "rows": self.rows,
            "columns": [column.to_dict() for column in self.columns],
            "predictions": {name: counts.to_dict() for name, counts in self.predictions.items()},
        }

    @classmethod
    def from_dict(cls, raw: object, schema: Schema) -> Distributions:
        """Builds distributions from the result of `to_dict`.

        Args:
            raw: section of a header.
            schema: schema of the model.

        Raises:
            DataError: a field is missing or out of range, or does not fit the schema.
        """
        if not isinstance(raw, Mapping):
            raise DataError(f"distributions must be an object, got {shown(raw)}.")
        columns, predictions = raw.get("columns"), raw.get("predictions")
        if not isinstance(columns, list) or len(columns) != min(len(schema.columns), MAX_COLUMNS):
            raise DataError("distributions need one entry for each column.")
        expected = prediction_names(schema)
        if not isinstance(predictions, Mapping) or set(predictions) != set(expected):
            raise DataError(f"distributions need predictions of {' and '.join(expected)}.")
        labels = len(schema.target.labels) if isinstance(schema.target, ClassTarget) else 0
        return cls(
            rows=_count("rows", raw.get("rows")),
            columns=tuple(_column(column, given) for column, given in zip(schema.columns, columns, strict=False)),
            predictions={
                name: _categories(name, predictions[name], labels)
                if prediction_kind(schema, name) == "class"
                else _numbers(name, predictions[name])
                for name in expected
            },
        )


def prediction_names(schema: Schema) -> tuple[str, ...]:
    """Returns the names of the distributions of a model's predictions."""
    if isinstance(schema.target, ValuesTarget):
        return schema.target.names
    return ("class", "confidence") if isinstance(schema.target, ClassTarget) else ("value",)


def prediction_kind(schema: Schema, name: str) -> str:
    """Returns the kind of a distribution of predictions: `class`, `confidence` or `value`.

    Args:
        schema: schema of the model.
        name: name of the distribution, which may be the name of one of several targets.
    """
    return name if isinstance(schema.target, ClassTarget) else "value"


def _column(column: Column, given: object) -> Counts:
    what = f"column {column.name!r}"
    if isinstance(column, CategoricalColumn):
        return _categories(what, given, len(column.categories))
    return _numbers(what, given)


def _numbers(what: str, given: object) -> NumberCounts:
    fields = _fields(what, given)
    edges = tuple(finite(f"{what}: an edge", edge) for edge in _list(what, "edges", fields.get("edges")))
    if any(low >= high for low, high in pairwise(edges)):
        raise DataError(f"distribution of {what}: edges must ascend.")
    counts = _counts(what, fields.get("counts"), len(edges) + 1)
    return NumberCounts(edges=edges, counts=counts, gaps=_count(what, fields.get("gaps")))


def _categories(what: str, given: object, known: int) -> CategoryCounts:
    fields = _fields(what, given)
    categories = tuple(_count(what, place) for place in _list(what, "categories", fields.get("categories")))
    if sorted(set(categories)) != list(categories) or not categories or categories[-1] >= known:
        raise DataError(f"distribution of {what}: categories must be ascending positions below {known}.")
    return CategoryCounts(
        categories=categories,
        counts=_counts(what, fields.get("counts"), len(categories) + (len(categories) < known)),
        gaps=_count(what, fields.get("gaps")),
        singletons=_count(what, fields.get("singletons")),
    )


def _fields(what: str, given: object) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise DataError(f"distribution of {what} must be an object, got {shown(given)}.")
    return given


def _list(what: str, field: str, given: object) -> Sequence[Any]:
    if not isinstance(given, list) or len(given) > MAX_BINS:
        raise DataError(f"distribution of {what}: {field} must be a list of at most {MAX_BINS}, got {shown(given)}.")
    return given


def _counts(what: str, given: object, length: int) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) != length:
        raise DataError(f"distribution of {what}: counts must be a list of {length} numbers, got {shown(given)}.")
    return tuple(_count(what, count) for count in given)


def _count(what: str, given: object) -> int:
    if type(given) is not int or not 0 <= given < _MAX_COUNT:
        raise DataError(f"distribution of {what}: a count must be a whole number from 0 on, got {shown(given)}.")
    return given
