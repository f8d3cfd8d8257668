"""Features of a foreign pipeline as affine functions of a table's columns, followed symbolically through each step.

A cell of a table counts through a few elements: a number `x` (0 for a gap), a flag for each category, and a flag for a
gap. A feature is `constant + Σ weight·element`. Scalers multiply and add, encoders make features out of flags, an
imputer sets the weight of the gap, a projection mixes features. In the end the first Linear of the network is composed
with all features, in float64, and takes Axon's encoded columns instead: no preprocessing is left.

A cell that is neither a known category nor a gap has no element, so the constant alone stands for an unknown category.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np

from conversion.importing.imported_model import Float64Array, ImportRefused
from models.columns.cell_text import NoCategory, category_of
from models.columns.column import CategoricalColumn, Column, NumericColumn

# Names for a category of gaps; the first that is no category of the column is taken.
GAP_NAMES = ("(missing)", "(missing cell)", "(no value)", "(gap)")
_ROUNDING = 1e-9  # relative difference below which two fills of a gap are one


@dataclass(frozen=True, slots=True)
class Element:
    """One of the numbers into which a cell is taken apart.

    Attributes:
        column: name of the cell's column.
        kind: `number` (the cell's value, 0 for a gap), `category` (1 if the cell names it) or `gap` (1 for a gap).
        category: text of the category; empty for the other kinds.
    """

    column: str
    kind: Literal["number", "category", "gap"]
    category: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AffineFeature:
    """A feature: `constant + Σ weight·element`.

    Attributes:
        constant: value without any element.
        weights: factor of each element.
        gap: column whose gap makes the feature NaN; None if a gap has a value, or makes none.
    """

    constant: float = 0.0
    weights: Mapping[Element, float] = field(default_factory=dict)
    gap: str | None = None

    def scaled(self, factor: float, shift: float) -> AffineFeature:
        """Returns `factor·feature + shift`."""
        weights = {element: factor * weight for element, weight in self.weights.items()}
        return replace(self, constant=factor * self.constant + shift, weights=weights)

    def filled(self, value: float) -> AffineFeature:
        """Returns the feature with a value instead of NaN; an unchanged feature if NaN cannot occur."""
        if self.gap is None:
            return self
        weights = {**self.weights, Element(self.gap, "gap"): value - self.constant}
        return AffineFeature(constant=self.constant, weights=weights)


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFeature:
    """An unchanged column of the table; the first step that reads the cells decides on numbers or categories.

    Attributes:
        column: name of the column.
        fill: value for which a gap stands, after an imputer; None for no value.
        mark: value by which the foreign model knows a gap, as an imputer says: NaN or None.
    """

    column: str
    fill: Any = None
    mark: Any = math.nan


Feature = AffineFeature | RawFeature


@dataclass(slots=True)
class _NumberUse:
    center: float | None = None
    scale: float | None = None
    range: tuple[float, float] | None = None


@dataclass(slots=True)
class _CategoryUse:
    values: dict[str, Any] = field(default_factory=dict)  # the foreign model's value by category
    only: set[str] | None = None  # categories that every encoder without a rule for unknown ones takes
    mark: Any = math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberStatistics:
    """Statistics of a column of numbers.

    Attributes:
        mean, std: mean and standard deviation; `std` is above 0.
        minimum, maximum: least and greatest number; None in both if they are unknown.
    """

    mean: float
    std: float
    minimum: float | None
    maximum: float | None


class TableColumns:
    """The columns of a table, as far as a pipeline's steps have shown the content."""

    def __init__(
        self,
        names: Sequence[str],
        sample: Mapping[str, NumberStatistics] | None = None,
        truth: Collection[str] = (),
    ) -> None:
        """Begins with columns of which nothing is known but what the user's sample shows.

        Args:
            names: names of the columns.
            sample: statistics of the columns with numbers in the sample; none if None.
            truth: columns with true and false in the sample, which a pipeline may read as the numbers 1 and 0.
        """
        self._truth = frozenset(truth)
        self.names = tuple(names)
        self._sample = dict(sample or {})
        self._flagged: set[str] = set()  # columns with a flag for gaps
        self._without_gaps: set[str] = set()  # columns whose gaps the foreign model refuses
        self._numbers: dict[str, _NumberUse] = {}
        self._categories: dict[str, _CategoryUse] = {}

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the columns that some step reads, in the order of the table."""
        return tuple(name for name in self.names if self.kind_of(name) != "unused")

    def number(self, feature: Feature, step: str) -> AffineFeature:
        """Returns a feature whose cells are numbers.

        Args:
            feature: feature of a step's input.
            step: path of the step, for messages.

        Raises:
            ImportRefused: The cells were read as categories before, or a gap stands for a text.
        """
        if isinstance(feature, AffineFeature):
            return feature
        if feature.column in self._categories:
            raise ImportRefused(f"{step} reads column {feature.column!r} as numbers, and another step as categories.")
        self._numbers.setdefault(feature.column, _NumberUse())
        number = AffineFeature(weights={Element(feature.column, "number"): 1.0}, gap=feature.column)
        if feature.fill is None:
            return number
        if isinstance(feature.fill, str):
            raise ImportRefused(f"{step} reads column {feature.column!r} as numbers, where a gap is a text.")
        return number.filled(float(feature.fill))

    def gap_flag(self, feature: Feature) -> AffineFeature:
        """Returns the feature that is 1 where a column has a gap, else 0."""
        column = feature.column if isinstance(feature, RawFeature) else feature.gap
        if column is None:
            return AffineFeature()
        self._flagged.add(column)
        return AffineFeature(weights={Element(column, "gap"): 1.0})

    def seen(self, feature: Feature, *, center: float, scale: float, limits: tuple[float, float] | None = None) -> None:
        """Notes the statistics of the training part that a step knows of a column; the first step's count.

        Args:
            feature: input of the step; a feature that is not one column as it is tells nothing.
            center: number in the middle of the column's numbers.
            scale: size of the numbers' spread.
            limits: least and greatest number.
        """
        if not isinstance(feature, AffineFeature) or feature.constant != 0:
            return
        numbers = [element for element in feature.weights if element.kind == "number"]
        if len(numbers) != 1 or feature.weights[numbers[0]] != 1 or numbers[0].column not in self._numbers:
            return
        use = self._numbers[numbers[0].column]
        if use.center is None and np.isfinite([center, scale]).all() and scale > 0:
            use.center, use.scale = float(center), float(scale)
        if limits is not None and use.range is None and np.isfinite(limits).all():
            use.range = (float(limits[0]), float(limits[1]))

    def refuse_gaps(self, feature: Feature) -> None:
        """Records that the foreign model fails on a gap of a feature, so Axon refuses the gap too."""
        column = feature.gap if isinstance(feature, AffineFeature) else feature.column
        if column is None or (isinstance(feature, RawFeature) and feature.fill is not None):
            return
        self._without_gaps.add(column)

    def categories(self, column: str, values: Sequence[Any], *, step: str, refuses_unknown: bool) -> list[str]:
        """Notes the categories of a column, and returns the text of each.

        Args:
            column: name of the column.
            values: categories as the foreign model has them, without the one of gaps.
            step: path of the step, for messages.
            refuses_unknown: True if the step fails on any other category.

        Raises:
            ImportRefused: Two categories are one for Axon, a category has no text, or another step reads numbers.
        """
        if column in self._numbers:
            raise ImportRefused(f"{step} reads column {column!r} as categories, and another step as numbers.")
        use = self._categories.setdefault(column, _CategoryUse())
        texts: dict[str, Any] = {}
        for value in values:
            text = _text(value, column, step)
            if text in texts:
                raise ImportRefused(
                    f"{step}: the categories {texts[text]!r} and {value!r} of column {column!r} are one for Axon "
                    f"({text!r}), and two for the original: clean the column, and train again."
                )
            texts[text] = value
            use.values.setdefault(text, value)
        if refuses_unknown:
            use.only = set(texts) if use.only is None else use.only & set(texts)
        return list(texts)

    def kind_of(self, column: str) -> Literal["number", "category", "unused"]:
        """Returns how the steps read a column."""
        if column in self._categories:
            return "category"
        return "number" if column in self._numbers or column in self._flagged else "unused"

    def note_gap_mark(self, column: str, mark: Any) -> None:
        """Notes the value by which the foreign model knows a gap in a column of categories.

        Args:
            column: name of the column.
            mark: None, NaN or pandas' NA.
        """
        self._categories[column].mark = mark

    def gap_mark(self, column: str) -> Any:
        """Returns the value by which the foreign model knows a gap in a column of categories."""
        return self._categories[column].mark

    def values(self, column: str) -> dict[str, Any]:
        """Returns the foreign model's value of each category of a column, by text."""
        return dict(self._categories[column].values)

    def composed(self, features: Sequence[AffineFeature]) -> ComposedColumns:
        """Describes the columns for Axon, and the map from their encoded features to a pipeline's last features.

        Args:
            features: features that the pipeline's last step takes, in order.

        Raises:
            ImportRefused: No column is used, or only the gaps of one whose kind is unknown.
        """
        for feature in features:
            if feature.gap is not None:
                self.refuse_gaps(feature)  # the last step fails on NaN
        constant = np.array([feature.constant for feature in features])  # (features,)
        columns: list[Column] = []
        blocks: list[Float64Array] = []
        for name in self.used:
            self._check_flagged(name)
            if self.kind_of(name) == "number" and name not in self._truth:
                column, block, shift = self._number_block(name, features)
                constant = constant + shift
                columns.append(column)
                blocks.append(block)
            else:
                described = self._category_block(name, features)
                columns.append(described[0])
                blocks.append(described[1])
        if not columns:
            raise ImportRefused("no column of the table reaches the model.")
        return ComposedColumns(columns=tuple(columns), weight=np.hstack(blocks), constant=constant)

    def _check_flagged(self, name: str) -> None:
        """Refuses a column of which the model reads the gaps alone, unless the sample shows the kind of the cells.

        Raises:
            ImportRefused: The cells may be texts or numbers.
        """
        if name in self._numbers or name in self._categories or name in self._sample or name in self._truth:
            return
        raise ImportRefused(
            f"the model reads of column {name!r} only whether a cell is missing, which does not show whether the cells "
            "are numbers or texts. If they are numbers, give rows= with the column; if they are texts, write the flag "
            "as a column of 0 and 1 of the table, and train again."
        )

    def _number_block(
        self, name: str, features: Sequence[AffineFeature]
    ) -> tuple[NumericColumn, Float64Array, Float64Array]:
        """Returns the column, the weights of its encoded features, (features, width), and what is added to the rest."""
        use, sample = self._numbers.get(name, _NumberUse()), self._sample.get(name)
        refuses_gaps = name in self._without_gaps
        slope = _weights(features, Element(name, "number"))
        at_gap = _weights(features, Element(name, "gap"))
        mean = sample.mean if sample else 0.0 if use.center is None else use.center
        std = sample.std if sample else 1.0 if use.scale is None else use.scale
        limits = (sample.minimum, sample.maximum) if sample else use.range or (None, None)
        # A gap has the value of `at_gap`, the number c has c·slope: if one c gives both, the gap stands for c.
        steepest = int(np.abs(slope).argmax())
        fill = float(at_gap[steepest] / slope[steepest]) if slope[steepest] else mean
        size = np.abs(at_gap) + np.abs(fill * slope) + np.abs(std * slope)
        is_mean = bool((np.abs(at_gap - fill * slope) <= _ROUNDING * size).all())
        # The pipeline's own centre and spread: a mean that a few far numbers drag away would cost digits of the bias.
        center = fill if is_mean and not refuses_gaps else mean if use.center is None else use.center
        scale = std if use.scale is None else use.scale
        if sample is None and use.center is None:
            mean = center
        column = NumericColumn(
            name=name,
            mean=mean,
            std=std,
            minimum=limits[0],
            maximum=limits[1],
            missing="refuse" if refuses_gaps else "mean" if is_mean else "indicator",
            center=None if center == mean else center,
            scale=None if scale == std else scale,
        )
        block = (slope * scale)[:, None]
        if column.missing == "indicator":
            block = np.column_stack([block, at_gap - center * slope])
        return column, block, slope * center

    def _category_block(self, name: str, features: Sequence[AffineFeature]) -> tuple[CategoricalColumn, Float64Array]:
        """Returns the column, and the weights of its encoded features, (features, categories)."""
        use, refuses_gaps = self._categories.get(name, _CategoryUse()), name in self._without_gaps
        texts = [text for text in use.values if use.only is None or text in use.only]
        weights = [_weights(features, Element(name, "category", text)) for text in texts]
        if name not in self._categories:  # true and false as the numbers 1 and 0
            texts, slope = ["false", "true"], _weights(features, Element(name, "number"))
            weights = [0 * slope, slope]
        at_gap = _weights(features, Element(name, "gap"))
        fill: str | None = None
        if not refuses_gaps and at_gap.any():
            size = _ROUNDING * np.abs(at_gap)
            same = (text for text, own in zip(texts, weights, strict=True) if (np.abs(own - at_gap) <= size).all())
            fill = next(same, None)
            if fill is None:
                fill = next(text for text in GAP_NAMES if text not in texts)
                texts.append(fill)
                weights.append(at_gap)
        if not texts:
            raise ImportRefused(f"column {name!r} has no category that every step knows.")
        column = CategoricalColumn(
            name=name,
            categories=tuple(texts),
            unknown="ignore" if use.only is None and name in self._categories else "refuse",
            missing="refuse" if refuses_gaps or fill is not None else "ignore",
            fill=fill,
        )
        return column, np.column_stack(weights)


@dataclass(frozen=True, kw_only=True)
class ComposedColumns:
    """Axon's columns, and the affine map from their encoded, standardised features to a pipeline's features.

    Attributes:
        columns: columns of a row.
        weight: `(features, encoded width)` float64 weights of the map.
        constant: `(features,)` float64 constants of the map.
    """

    columns: tuple[Column, ...]
    weight: Float64Array
    constant: Float64Array

    def first_linear(self, weight: Float64Array, bias: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Composes a Linear on the pipeline's features with the map: weight and bias on the encoded columns.

        Args:
            weight: `(out, features)` weights.
            bias: `(out,)` biases.
        """
        return weight @ self.weight, bias + weight @ self.constant


def mixed(matrix: Float64Array, shift: Float64Array, features: Sequence[AffineFeature]) -> list[AffineFeature]:
    """Returns the features `matrix·features + shift`; none of the given ones can be NaN.

    Args:
        matrix: `(out, features)` factors.
        shift: `(out,)` constants.
        features: features that the matrix takes.
    """
    elements = list(dict.fromkeys(element for feature in features for element in feature.weights))
    weights = np.array([[feature.weights.get(element, 0.0) for element in elements] for feature in features])
    constants = matrix @ np.array([feature.constant for feature in features]) + shift
    rows = matrix @ weights.reshape(len(features), len(elements))
    return [
        AffineFeature(constant=float(constant), weights=dict(zip(elements, row.tolist(), strict=True)))
        for constant, row in zip(constants, rows, strict=True)
    ]


def _weights(features: Sequence[AffineFeature], element: Element) -> Float64Array:
    return np.array([feature.weights.get(element, 0.0) for feature in features])


def _text(value: Any, column: str, step: str) -> str:
    """Returns the text of a category in the spelling of training: a short float by its shortest digits."""
    if isinstance(value, np.datetime64 | np.timedelta64 | date | timedelta):
        raise ImportRefused(
            f"{step}: the category {value!r} of column {column!r} is a moment or a duration, and a category of Axon's "
            "is a text, a number or a truth value: write the column as texts, and train again."
        )
    if isinstance(value, np.floating) and value.dtype.itemsize < 8:
        value = float(str(np.float32(value)))  # training reads 16 bits as 32
    try:
        text = category_of(value.item() if isinstance(value, np.generic) else value)
    except NoCategory:
        text = None
    if text is None:
        raise ImportRefused(
            f"{step}: the category {value!r} of column {column!r} is a missing value, or no category, for Axon: write "
            "the column as texts without it, and train again."
        )
    return text
