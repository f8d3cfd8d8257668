"""Preprocessing: the columns' statistics, fitted on the training part alone, and the matrices they lead to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.columns.dates import PARTS, elapsed_days, part_values
from models.columns.dictionary_column import DictionaryColumn
from models.columns.encoding import encode_columns
from models.columns.schema import (
    CategoricalColumn,
    ClassTarget,
    Column,
    DateColumn,
    NumericColumn,
    NumericTarget,
    Schema,
    Target,
)
from models.errors import ConfigError, DataError
from training.data.cells import in_order
from training.data.extremes import without_extremes
from training.data.split import Rows
from training.data.training_table import TrainingTable
from training.data.typed_options import typed

Scaling = Literal["standard", "robust"]
Values = NDArray[Any] | DictionaryColumn
_Measured = TypeVar("_Measured", NumericColumn, DateColumn)

# Beyond this many standard deviations from 0, float32's 24 bits would leave less than 14 of them for the spread.
_FAR_FROM_ZERO = 1_000
# Below it a weight divided by the spread leaves float32, and beyond its reciprocal one multiplied by the spread does.
_LEAST_SPREAD = 1e-30
_GREATEST_SPREAD = 1e30
# An inter-quartile range smaller than this part of the whole range is a rounding; dividing by it could overflow.
_NO_SPREAD = 1e-12
_FEW = 0.01  # up to this share, values beyond that are extremes
_BLOCK_ROWS = 65_536  # standardised at a time, so that float64 copies stay small


def fit_schema(
    table: TrainingTable,
    train: Rows,
    *,
    scaling: Scaling = "standard",
    max_one_hot: int | None = None,
    weights: NDArray[np.float64] | None = None,
) -> Schema:
    """The table's columns with the statistics of its training part.

    Whether a missing value is accepted is not a statistic but a property of the column, and so is asked of the whole
    table: a gap that fell into the test part must not be an error.

    Args:
        table: typed features and a target.
        train: the rows to fit on.
        scaling: `standard` centres numbers and dates at their mean and divides by their standard deviation; a missing
            one becomes the mean. `robust` takes the median and the inter-quartile range (where that is 0, half the
            range), marks a missing one by a feature of its own, and makes one feature of two categories; the way of
            RealMLP (Holzmüller et al. 2024, Better by default).
        max_one_hot: a column of more categories is encoded as an index to look up; None for no such limit.
        weights: `(rows,)` of the table, not negative: how much each row counts in a mean, a quantile and a deviation.
            What no row of weight is there for is taken without weights.

    Raises:
        DataError: a column without any value in the training part.
        ConfigError: no such scaling.
    """
    if scaling not in ("standard", "robust"):
        raise ConfigError(f"scaling must be standard or robust, got {scaling!r}.")
    fit = _Fit(
        train=train,
        robust=scaling == "robust",
        max_one_hot=max_one_hot,
        unknown=table.choices.unknown,
        weights=None if weights is None else weights[train],
    )
    return Schema(
        columns=tuple(_in_form(fit.column(name, values), table) for name, values in table.features.items()),
        target=fit.target(table),
    )


def encode(schema: Schema, table: TrainingTable, rows: Rows) -> NDArray[np.float32]:
    """Rows as the serving encoder gives them: `(len(rows), schema.width)` float32.

    A category that the training part does not have is encoded as none of those known, whatever serving will do.
    """
    lenient = Schema(columns=tuple(_lenient(column) for column in schema.columns), target=schema.target)
    return encode_columns(lenient, {name: _at(values, rows) for name, values in table.features.items()})


def standardise(schema: Schema, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encoded rows as the network sees them in training: `(rows, width)` float32."""
    shift, divisor = schema.standardisation()
    standardised = np.empty(x.shape, dtype=np.float32)
    for at in range(0, len(x), _BLOCK_ROWS):
        standardised[at : at + _BLOCK_ROWS] = (x[at : at + _BLOCK_ROWS].astype(np.float64) - shift) / divisor
    return standardised


def scale_target(schema: Schema, y: NDArray[Any]) -> NDArray[Any]:
    """What the network learns: `(rows,)` class indices as they are, values standardised and float32."""
    target = schema.target
    return ((y - target.mean) / target.std).astype(np.float32) if isinstance(target, NumericTarget) else y


def unseen_categories(schema: Schema, table: TrainingTable) -> dict[str, int]:
    """How many categories of each column are outside the training part, where there are any."""
    counts = {
        column.name: len(set(_names(table.features[column.name]).distinct()).difference(column.categories))
        for column in schema.columns
        if isinstance(column, CategoricalColumn)
    }
    return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """Statistics of a column's values in the training part, as the fields of its column."""

    mean: float
    std: float
    minimum: float
    maximum: float
    center: float | None = None
    scale: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One fitting: what is fitted on, and how.

    Attributes:
        train: the rows to fit on.
        weights: `(len(train),)` what each of them counts; None: all the same.
    """

    train: Rows
    robust: bool
    max_one_hot: int | None
    unknown: Literal["refuse", "ignore"]
    weights: NDArray[np.float64] | None

    def column(self, name: str, values: Values) -> Column:
        if isinstance(values, DictionaryColumn) or values.dtype.kind == "O":
            return self._categorical(name, _names(values))
        return self._dates(name, values) if values.dtype.kind == "M" else self._numeric(name, values)

    def target(self, table: TrainingTable) -> Target:
        if table.labels:
            return ClassTarget(name=table.target_name, labels=table.classes)
        values = table.target[self.train]
        mean, std = _mean_and_std(values, self._weights_of(np.isfinite(values)))
        if not _LEAST_SPREAD <= std <= _GREATEST_SPREAD:
            raise DataError(
                f"target {table.target_name!r} has a standard deviation of {std:.3g}, too "
                f"{'little' if std < 1 else 'much'} for 32-bit floating point: give it another unit."
            )
        return NumericTarget(
            name=table.target_name,
            mean=mean,
            std=std,
            minimum=float(values.min()),
            maximum=float(values.max()),
            origin=mean if _is_far(mean, std) else 0.0,
        )

    def _categorical(self, name: str, names: DictionaryColumn) -> CategoricalColumn:
        categories = in_order(set(names.take(self.train).distinct()))
        _check_any(name, len(categories))
        return CategoricalColumn(
            name=name,
            categories=categories,
            unknown=self.unknown,
            missing="ignore" if names.missing().any() else "refuse",
            encoding=self._encoding(len(categories)),
        )

    def _encoding(self, categories: int) -> Literal["one_hot", "sign", "index"]:
        if self.robust and categories == 2:
            return "sign"
        return "index" if self.max_one_hot is not None and categories > self.max_one_hot else "one_hot"

    def _numeric(self, name: str, values: NDArray[np.float64]) -> NumericColumn:
        spread = self._spread(name, values[self.train])
        missing = self._missing(bool(np.isnan(values).any()), spread)
        column = _without_effect(NumericColumn(name=name, missing=missing, **vars(spread)))
        if column.divisor < _LEAST_SPREAD:
            raise DataError(
                f"column {name!r} varies by {column.divisor:.3g} only, too little for 32-bit floating point: give it "
                f"another unit, or drop it ({typed('--drop', name)})."
            )
        return replace(column, origin=column.fill) if _is_far(column.fill, column.divisor) else column

    def _dates(self, name: str, values: NDArray[np.datetime64]) -> DateColumn:
        moments = values[self.train]
        spread = self._spread(name, elapsed_days(moments))
        present = moments[~np.isnat(moments)]
        column = DateColumn(
            name=name,
            missing=self._missing(bool(np.isnat(values).any()), spread),
            parts=tuple(part for part in PARTS if np.ptp(part_values(part, present)) > 0),
            **vars(spread),
        )
        column = _without_effect(column)
        return replace(column, origin=column.fill)  # a subtraction of float64 more, and no precision to worry about

    def _missing(self, has_gaps: bool, spread: _Spread) -> Literal["refuse", "mean", "indicator"]:
        if not has_gaps:
            return "refuse"
        # Beside one value only, the gaps are all that the column tells.
        return "indicator" if self.robust or spread.minimum == spread.maximum else "mean"

    def _spread(self, name: str, values: NDArray[np.float64]) -> _Spread:
        """Of `(len(train),)` values, NaN for missing."""
        is_present = ~np.isnan(values)
        present = values[is_present]
        _check_any(name, len(present))
        weights = self._weights_of(is_present)
        mean, std = _mean_and_std(present, weights)
        low, high = float(present.min()), float(present.max())
        if not self.robust:
            return _Spread(mean=mean, std=std, minimum=low, maximum=high)
        # What stands apart (a fill value, a slip) is no measure of the others, however many there are of it.
        is_near = without_extremes(present)
        counted = weights is None or weights[is_near].any()
        if not is_near.all() and counted:
            present, weights = present[is_near], None if weights is None else weights[is_near]
        center, scale = _center_and_scale(present, weights)
        return _Spread(mean=mean, std=std, minimum=low, maximum=high, center=center, scale=scale)

    def _weights_of(self, rows: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """What each of some training rows counts, given as a mask; None where all the same, or none anything."""
        weights = None if self.weights is None else self.weights[rows]
        return weights if weights is not None and weights.any() else None


def _without_effect(column: _Measured) -> _Measured:
    """Scales a column of one value and gaps so that the network sees 0 for any value.

    Its weights are never trained beside 0, so that another value would be answered by chance.
    """
    if column.missing != "indicator" or column.minimum < column.maximum:
        return column
    return replace(column, scale=_GREATEST_SPREAD)


def _is_far(center: float, spread: float) -> bool:
    """Whether float32 would round values about `center` to steps that are wide beside their spread."""
    return abs(center) > _FAR_FROM_ZERO * spread


def _in_form(column: Column, table: TrainingTable) -> Column:
    """Gives a column of dates the form that they have in the table."""
    return replace(column, form=table.date_forms.get(column.name)) if isinstance(column, DateColumn) else column


def _names(values: Values) -> DictionaryColumn:
    return values if isinstance(values, DictionaryColumn) else DictionaryColumn.from_strings(values.tolist())


def _at(values: Values, rows: Rows) -> Values:
    return values.take(rows) if isinstance(values, DictionaryColumn) else values[rows]


def _check_any(name: str, values: int) -> None:
    if not values:
        raise DataError(f"column {name!r} has no value in the training part: drop it ({typed('--drop', name)}).")


def _mean_and_std(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> tuple[float, float]:
    """Mean and standard deviation; 1 for the latter where the values have no spread, so that it divides nothing.

    The mean of equal values can miss them by a rounding, which would make their spread look like more than none.
    """
    counted = values if weights is None else values[weights > 0]
    if (counted == counted[0]).all():
        return float(counted[0]), 1.0
    if weights is None:
        return float(values.mean()), float(values.std())
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average(np.square(values - mean), weights=weights)))


def _center_and_scale(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> tuple[float, float]:
    """Median and inter-quartile range; half the range where that is 0, and 1 where there is no range."""
    if weights is None:
        low, center, high = np.quantile(values, (0.25, 0.5, 0.75))
    else:  # NumPy has the weighted quantile without interpolation only: the first value that its share reaches
        low, center, high = np.quantile(values, (0.25, 0.5, 0.75), weights=weights, method="inverted_cdf")
    whole, middle = float(values.max() - values.min()), float(high - low)
    if middle > _NO_SPREAD * whole:
        return float(center), middle
    # Beside a few extremes a range is what it is; where many values lie so far off, it is a rounding.
    beyond = np.abs(values - center) > middle / _NO_SPREAD
    scale = middle if middle > 0 and beyond.mean() < _FEW else whole / 2
    return float(center), scale or 1.0


def _lenient(column: Column) -> Column:
    return replace(column, unknown="ignore") if isinstance(column, CategoricalColumn) else column
