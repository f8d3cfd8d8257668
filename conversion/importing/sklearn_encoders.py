"""Encoders of categories in scikit-learn, as affine features that the encoder's own answers define.

`OneHotEncoder` drops categories, joins infrequent ones and knows three ways with unknown ones, and the rules change
with the versions. The encoder itself is the best description: it transforms one row for each category, in which all
other cells stay the same, and the difference to the first row is the weight of the category's flag.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.importing.affine_features import AffineFeature, Element, Feature, RawFeature, TableColumns
from conversion.importing.imported_model import Float64Array, ImportRefused

UNKNOWN_TEXT = "a category that the model does not know"


@dataclass(frozen=True, kw_only=True)
class _Column:
    """One input of an encoder.

    Attributes:
        feature: column of the table.
        values: categories without the mark of a gap.
        mark: value by which the encoder knows a gap.
    """

    feature: RawFeature
    values: tuple[Any, ...]
    mark: Any


def encoded(encoder: Any, features: Sequence[Feature], columns: TableColumns, step: str) -> list[AffineFeature]:
    """Returns the features that an encoder makes.

    Args:
        encoder: fitted encoder with `categories_`.
        features: inputs of the encoder.
        columns: columns of the table.
        step: path of the encoder, for messages.

    Raises:
        ImportRefused: An input is not a column as it is, or categories cannot be told apart.
    """
    given = [_column(feature, values, step) for feature, values in zip(features, encoder.categories_, strict=True)]
    base = [column.values[0] for column in given]
    constant = _transformed(encoder, [base])
    if constant is None:
        raise ImportRefused(f"{step} fails on a row of its own categories.")
    unknown = _transformed(encoder, [[unknown_value(column.values) for column in given]])
    refuses_unknown = unknown is None or bool(np.isnan(unknown).any())
    zero = constant[0] if refuses_unknown or unknown is None else unknown[0]  # (out,) the row without any flag
    weights: list[dict[Element, float]] = [{} for _ in zero]
    gaps: list[str | None] = [None] * len(zero)
    for place, column in enumerate(given):
        # (values, out): each value of this column beside the first values of the others
        rows = _transformed(encoder, [[*base[:place], value, *base[place + 1 :]] for value in column.values])
        if rows is None:
            raise ImportRefused(f"{step} fails on its own categories of column {column.feature.column!r}.")
        without = _without(encoder, base, place, column, refuses_unknown)
        name = column.feature.column
        texts = columns.categories(name, column.values, step=step, refuses_unknown=refuses_unknown)
        for text, difference in zip(texts, rows - without, strict=True):
            _add(weights, Element(name, "category", text), difference)
        columns.note_gap_mark(name, column.mark)
        filled = column.mark if column.feature.fill is None else column.feature.fill
        at_gap = _transformed(encoder, [[*base[:place], filled, *base[place + 1 :]]])
        if at_gap is None:
            columns.refuse_gaps(RawFeature(column=name))
            continue
        for out in np.flatnonzero(np.isnan(at_gap[0])):
            gaps[out] = name
        _add(weights, Element(name, "gap"), np.nan_to_num(at_gap[0] - without))
    return [
        AffineFeature(constant=float(value), weights=own, gap=gap)
        for value, own, gap in zip(zero, weights, gaps, strict=True)
    ]


def unknown_value(values: Sequence[Any]) -> Any:
    """Returns a value that is not one of the categories, and of their type."""
    if all(isinstance(value, bool | np.bool_) for value in values) or any(isinstance(value, str) for value in values):
        return UNKNOWN_TEXT
    return max(values) + 1


def is_gap(value: Any) -> bool:
    """Returns True if a value stands for a gap: None, NaN, pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def _column(feature: Feature, categories: Any, step: str) -> _Column:
    if not isinstance(feature, RawFeature):
        raise ImportRefused(f"{step} encodes features that another step has made, which is not affine.")
    values = tuple(value for value in list(categories) if not is_gap(value))
    if not values:
        raise ImportRefused(f"{step}: column {feature.column!r} has no category.")
    own = [value for value in list(categories) if is_gap(value)]
    return _Column(feature=feature, values=values, mark=own[0] if own and feature.fill is None else feature.mark)


def _without(encoder: Any, base: list[Any], place: int, column: _Column, refuses_unknown: bool) -> Float64Array:
    """Returns the row in which one column has no flag, (out,): an unknown category, or the first one if that fails."""
    value = column.values[0] if refuses_unknown else unknown_value(column.values)
    row = _transformed(encoder, [[*base[:place], value, *base[place + 1 :]]])
    return np.zeros(0) if row is None else row[0]


def _add(weights: list[dict[Element, float]], element: Element, differences: Float64Array) -> None:
    for out in np.flatnonzero(differences):
        weights[out][element] = float(differences[out])


def _transformed(encoder: Any, rows: list[list[Any]]) -> Float64Array | None:
    """Returns an encoder's features of rows, (rows, out) float64; None if the encoder refuses the rows."""
    cells = np.empty((len(rows), len(rows[0])), dtype=object)
    for place, row in enumerate(rows):
        cells[place] = row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that a matrix lacks, and of unknown categories
        try:
            answer = encoder.transform(cells)
        except (ValueError, TypeError):
            return None
    dense = answer.toarray() if hasattr(answer, "toarray") else answer
    return np.asarray(dense, dtype=np.float64)
