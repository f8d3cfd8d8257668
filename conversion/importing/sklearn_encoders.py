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
class _Input:
    """One input of an encoder.

    Attributes:
        column: name of the table's column.
        values: categories without the mark of a gap.
        at_gap: value that the encoder gets for a gap.
        mark: value by which the model's first step knows a gap: NaN or None.
        other_marks: further marks of a gap that the encoder knows.
        is_flag: True for a flag of gaps, which another step has made, in place of the column itself.
    """

    column: str
    values: tuple[Any, ...]
    at_gap: Any = math.nan
    mark: Any = math.nan
    other_marks: tuple[Any, ...] = ()
    is_flag: bool = False


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
    inputs = [_input(feature, values, step) for feature, values in zip(features, encoder.categories_, strict=True)]
    return _Encoding(encoder, inputs, step).features(columns)


class _Encoding:
    """The questions to one encoder: a row in which one input has a certain value, and all others their first.

    Args:
        encoder: fitted encoder.
        inputs: inputs of the encoder.
        step: path of the encoder, for messages.
    """

    def __init__(self, encoder: Any, inputs: Sequence[_Input], step: str) -> None:
        self._encoder = encoder
        self._inputs = inputs
        self._step = step
        self._first = [given.values[0] for given in inputs]
        unknown = _transformed(encoder, [[self._unknown(given) for given in inputs]])
        self._refuses_unknown = unknown is None or bool(np.isnan(unknown).any())
        if self._refuses_unknown or unknown is None:
            unknown = self._asked([self._first])
        self._constant: Float64Array = unknown[0]  # (out,) the row without any flag
        self._weights: list[dict[Element, float]] = [{} for _ in self._constant]
        self._gaps: list[str | None] = [None] * len(self._constant)

    def features(self, columns: TableColumns) -> list[AffineFeature]:
        """Returns the features, and tells the columns their categories."""
        for place, given in enumerate(self._inputs):
            answers = self._asked([self._with(place, value) for value in given.values])  # (values, out)
            if given.is_flag:
                self._add_flag(place, given, answers)
            else:
                self._add_categories(place, given, answers, columns)
        return [
            AffineFeature(constant=float(constant), weights=weights, gap=gap)
            for constant, weights, gap in zip(self._constant, self._weights, self._gaps, strict=True)
        ]

    def _add_categories(self, place: int, given: _Input, answers: Float64Array, columns: TableColumns) -> None:
        without = answers[0] if self._refuses_unknown else self._asked([self._with(place, self._unknown(given))])[0]
        texts = columns.categories(given.column, given.values, step=self._step, refuses_unknown=self._refuses_unknown)
        for text, difference in zip(texts, answers - without, strict=True):
            self._add(Element(given.column, "category", text), difference)
        columns.note_gap_mark(given.column, given.mark)
        at_gap = _transformed(self._encoder, [self._with(place, given.at_gap)])
        for other in given.other_marks:
            if not _are_equal(at_gap, _transformed(self._encoder, [self._with(place, other)])):
                raise ImportRefused(
                    f"{self._step} knows two kinds of gaps in column {given.column!r}: {given.mark!r} and {other!r}, "
                    f"with a category each. Axon knows one: write {given.mark!r} for both in the table, and train "
                    "again."
                )
        if at_gap is None:
            columns.refuse_gaps(RawFeature(column=given.column))
            return
        for out in np.flatnonzero(np.isnan(at_gap[0])):
            self._gaps[out] = given.column
        self._add(Element(given.column, "gap"), np.nan_to_num(at_gap[0] - without))

    def _add_flag(self, place: int, given: _Input, answers: Float64Array) -> None:
        """Adds what the encoder makes of a flag, which is one of two values and never unknown."""
        by_value = {bool(value): answer for value, answer in zip(given.values, answers, strict=True)}
        off, on = by_value.get(False), by_value.get(True)
        if off is None or on is None:
            raise ImportRefused(f"{self._step} encodes the gaps of column {given.column!r}, and knows one case only.")
        without = answers[0] if self._refuses_unknown else self._asked([self._with(place, self._unknown(given))])[0]
        self._constant = self._constant + (off - without)
        self._add(Element(given.column, "gap"), on - off)

    def _with(self, place: int, value: Any) -> list[Any]:
        return [*self._first[:place], value, *self._first[place + 1 :]]

    def _unknown(self, given: _Input) -> Any:
        return unknown_value(given.values)

    def _asked(self, rows: list[list[Any]]) -> Float64Array:
        answers = _transformed(self._encoder, rows)
        if answers is None:
            raise ImportRefused(f"{self._step} fails on rows of its own categories.")
        return answers

    def _add(self, element: Element, differences: Float64Array) -> None:
        for out in np.flatnonzero(differences):
            self._weights[out][element] = float(differences[out])


def unknown_value(values: Sequence[Any]) -> Any:
    """Returns a value that is not one of the categories, and of their type; a text where the type has no other."""
    known = {value.item() if isinstance(value, np.generic) else value for value in values}
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return UNKNOWN_TEXT  # also for dates and other objects, which are no categories of Axon's
    least, most = min(known), max(known)
    inside = range(int(least), int(most))[: len(known) + 1]
    candidates = (most + 1, least - 1, 2 * abs(most) + 1, -2 * abs(least) - 1, *inside)
    # The encoder converts to the type of its categories, in which 255 + 1 may be 0, and 2^24 + 1 be 2^24.
    dtype = np.array(list(values)).dtype
    return next((value for value in candidates if value not in known and _is_of(dtype, value)), UNKNOWN_TEXT)


def _is_of(dtype: np.dtype[Any], value: float) -> bool:
    """Returns True if a type has a number exactly."""
    try:
        with np.errstate(all="ignore"):
            return bool(dtype.type(value).item() == value)
    except (OverflowError, ValueError):
        return False


def is_gap(value: Any) -> bool:
    """Returns True if a value stands for a gap: None, NaN, pandas' NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def _input(feature: Feature, categories: Any, step: str) -> _Input:
    values = tuple(value for value in list(categories) if not is_gap(value))
    if isinstance(feature, AffineFeature):
        ((element, weight), *others) = feature.weights.items() or [(None, 0.0)]
        if element is None or element.kind != "gap" or weight != 1 or others or feature.constant:
            raise ImportRefused(f"{step} encodes features that another step has made, which is not affine.")
        return _Input(column=element.column, values=values, is_flag=True)
    if not values:
        raise ImportRefused(f"{step}: column {feature.column!r} has no category.")
    own = [value for value in list(categories) if is_gap(value)]
    if feature.fill is not None and own and feature.fill in values:
        raise ImportRefused(
            f"{step} knows two kinds of gaps in column {feature.column!r}: {feature.mark!r}, which an imputer fills, "
            f"and {own[0]!r}, a category of its own. Axon knows one: write {feature.mark!r} for both in the table, and "
            "train again."
        )
    if feature.fill is not None and not own:
        return _Input(column=feature.column, values=values, at_gap=feature.fill, mark=feature.mark)
    # An imputer of NaN lets None pass: an encoder with a category None has seen the table's gaps itself.
    mark = own[0] if own else feature.mark
    return _Input(column=feature.column, values=values, at_gap=mark, mark=mark, other_marks=tuple(own[1:]))


def _are_equal(one: Float64Array | None, other: Float64Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)


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
