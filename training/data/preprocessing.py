"""Preprocessing: fits statistics of the columns on the training part alone, and computes network inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

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
    ValuesTarget,
)
from models.errors import ConfigError, DataError
from training.data.cells import in_order
from training.data.declared_gaps import with_declared_gaps
from training.data.extremes import is_ordinary
from training.data.scratch import large_array, release_pages
from training.data.split import Rows
from training.data.training_table import TrainingTable
from training.data.typed_options import typed

Scaling = Literal["standard", "robust"]
Values = NDArray[Any] | DictionaryColumn

# A mean beyond this many standard deviations leaves less than 14 of float32's 24 bits for the spread.
_FAR_FROM_ZERO = 1_000
# With a smaller spread, a weight divided by the spread overflows float32; beyond the reciprocal, a product does.
_LEAST_SPREAD = 1e-30
_GREATEST_SPREAD = 1e30
_WITHOUT_EFFECT = _GREATEST_SPREAD  # scale of a column that has one value only in training: any number becomes 0
# An inter-quartile range below this share of the whole range is rounding error; dividing by it could overflow.
_NO_SPREAD = 1e-12
_FEW = 0.01  # up to this share, values far outside the inter-quartile range are extremes
_BLOCK_ROWS = 65_536  # rows standardised at a time, so that float64 copies stay small
_BLOCK_CELLS = 1_000_000  # cells encoded at a time, for the same reason: 8 MB
# Columns from which rows are gathered at a time, which memory should hold: the reads are at random.
_GATHERED_BYTES = 1 << 28
_VALUE_BYTES = 8  # of a float64 or a date


def fit_schema(
    table: TrainingTable,
    train: Rows,
    *,
    scaling: Scaling = "standard",
    max_one_hot: int | None = None,
    weights: NDArray[np.float64] | None = None,
    target_scaling: Literal["standard", "mean", "none"] = "standard",
) -> Schema:
    """Fits the schema of a table: the columns with the statistics of the training part.

    Whether a column accepts missing values is a property of the column and not a statistic, so the whole table decides:
    a gap that is only in the test part must not be an error. It becomes the centre, without an input that marks it.
    Numbers and dates with one value only in the training part get a scale under which no value has an effect.

    Args:
        table: typed features and a target.
        train: indices of the rows to fit on.
        scaling: `standard` centres numbers and dates at their mean and divides by their standard deviation; a missing
            value becomes the mean. `robust` uses the median and the inter-quartile range (half the range if that is
            0), adds an input that marks missing values, and encodes two categories as one input, as RealMLP does
            (Holzmüller et al. 2024, Better by default).
        max_one_hot: greatest number of categories of a one-hot encoded column; a column with more gets an embedding
            index. None for no limit.
        weights: `(rows,)` weights of all rows of the table in means, quantiles and deviations, not negative. Statistics
            of values whose rows all have weight 0 are computed without weights.
        target_scaling: `standard` centres the target's values at their mean and divides by their standard deviation;
            `mean` divides values of 0 or more by their mean; `none` leaves them as they are.

    Raises:
        DataError: a column has no value in the training part.
        ConfigError: there is no such scaling.
    """
    if scaling not in ("standard", "robust"):
        raise ConfigError(f"scaling must be standard or robust, got {scaling!r}.")
    fit = _Fit(
        train=train,
        robust=scaling == "robust",
        max_one_hot=max_one_hot,
        unknown=table.choices.unknown,
        weights=None if weights is None else weights[train],
        target_scaling=target_scaling,
    )
    columns = []
    for name, values in table.features.items():
        column = _with_date_form(fit.column(name, values), table)
        notation = None if table.notations is None else table.notations.get(name)
        columns.append(with_declared_gaps(column, values, table.missing_values.of(name), notation))
        release_pages()
    return Schema(columns=tuple(columns), target=fit.target(table))


def encode(schema: Schema, table: TrainingTable, rows: Rows) -> NDArray[np.float32]:
    """Encodes rows as serving does: `(len(rows), schema.width)` float32.

    A category that is not in the training part is encoded as unknown, even if serving will refuse such a category.

    Raises:
        DataError: the rows are many, and the disk has no room for their features.
    """
    lenient = Schema(columns=tuple(_ignoring_unknown(column) for column in schema.columns), target=schema.target)
    if len(rows) * schema.width <= _BLOCK_CELLS:
        return _encoded(lenient, table, rows)
    x = large_array((len(rows), schema.width), np.float32)
    at, most = 0, max(_GATHERED_BYTES // (_VALUE_BYTES * table.rows), 1)
    for first in range(0, len(lenient.columns), most):
        part = Schema(columns=lenient.columns[first : first + most], target=schema.target)
        step = max(_BLOCK_CELLS // part.width, 1)
        for begin in range(0, len(rows), step):
            some = slice(begin, begin + step)
            x[some, at : at + part.width] = _encoded(part, table, rows[some])
        at += part.width
        release_pages()
    return x


def _encoded(schema: Schema, table: TrainingTable, rows: Rows) -> NDArray[np.float32]:
    columns = {column.name: table.features.get(column.name) for column in schema.columns}
    return encode_columns(schema, {name: _at(values, rows) for name, values in columns.items() if values is not None})


def standardise(schema: Schema, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standardises encoded rows as the network does: `(rows, width)` float32.

    Raises:
        DataError: the rows are many, and the disk has no room for the result.
    """
    shift, divisor = schema.standardisation()
    standardised = large_array(x.shape, np.float32)
    for at in range(0, len(x), _BLOCK_ROWS):
        standardised[at : at + _BLOCK_ROWS] = (x[at : at + _BLOCK_ROWS].astype(np.float64) - shift) / divisor
        release_pages()
    return standardised


def scale_target(schema: Schema, y: NDArray[Any]) -> NDArray[Any]:
    """Scales a target for training: `(rows,)` class indices unchanged, values standardised to float32.

    Args:
        schema: schema with the statistics of the target.
        y: `(rows,)` class indices or values, or `(rows, targets)` values.
    """
    values = schema.values
    if not values:
        return y
    if len(values) == 1:
        scaled: NDArray[np.float32] = ((y - values[0].mean) / values[0].std).astype(np.float32)
        return scaled
    mean, std = (np.array([getattr(target, name) for target in values]) for name in ("mean", "std"))
    return np.asarray((y - mean) / std, dtype=np.float32)


def unseen_categories(schema: Schema, table: TrainingTable) -> dict[str, int]:
    """Counts, by column, the categories that are not in the training part; columns without any are left out."""
    counts = {
        column.name: len(set(_names(table.features[column.name]).distinct()).difference(column.categories))
        for column in schema.columns
        if isinstance(column, CategoricalColumn)
    }
    return {name: count for name, count in counts.items() if count}


def columns_without_effect(schema: Schema) -> dict[str, float]:
    """Returns the value of each column of numbers or dates that has one value only in the training part, by name."""
    return {
        column.name: column.fill
        for column in schema.columns
        if not isinstance(column, CategoricalColumn) and column.scale == _WITHOUT_EFFECT
    }


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
    """The settings with which the columns of a table are fitted.

    Attributes:
        train: indices of the rows to fit on.
        robust: True for `robust` scaling.
        max_one_hot: greatest number of categories that are one-hot encoded; None for no limit.
        unknown: treatment of unknown categories in serving.
        weights: `(len(train),)` weights of the rows to fit on; None for equal weights.
        target_scaling: scaling of a target's values.
    """

    train: Rows
    robust: bool
    max_one_hot: int | None
    unknown: Literal["refuse", "ignore"]
    weights: NDArray[np.float64] | None
    target_scaling: Literal["standard", "mean", "none"]

    def column(self, name: str, values: Values) -> Column:
        if isinstance(values, DictionaryColumn) or values.dtype.kind == "O":
            return self._categorical(name, _names(values))
        return self._dates(name, values) if values.dtype.kind == "M" else self._numeric(name, values)

    def target(self, table: TrainingTable) -> Target:
        if table.labels:
            return ClassTarget(name=table.target_name, labels=table.classes)
        values = table.target[self.train]
        if not table.several_targets:
            return self._values(table.target_name, values)
        return ValuesTarget(
            targets=tuple(self._values(name, own) for name, own in zip(table.several_targets, values.T, strict=True))
        )

    def _values(self, name: str, values: NDArray[np.float64]) -> NumericTarget:
        """Returns a target with the statistics of its values, `(len(train),)`."""
        mean, std = _mean_and_std(values, self._weights_of(np.isfinite(values)))
        if self.target_scaling == "mean":
            if mean <= 0:
                raise DataError(f"target {name!r} is 0 in every row of the training part.")
            mean, std = 0.0, mean
        if self.target_scaling == "none":
            mean, std = 0.0, 1.0
        spread = "mean" if self.target_scaling == "mean" else "standard deviation"
        if not _LEAST_SPREAD <= std <= _GREATEST_SPREAD:
            raise DataError(
                f"target {name!r} has a {spread} of {std:.3g}, too "
                f"{'little' if std < 1 else 'much'} for 32-bit floating point: give it another unit."
            )
        return NumericTarget(
            name=name,
            mean=mean,
            std=std,
            minimum=float(values.min()),
            maximum=float(values.max()),
            origin=mean if _is_far(mean, std) else 0.0,
        )

    def _categorical(self, name: str, names: DictionaryColumn) -> CategoricalColumn:
        # Rows of weight 0 teach nothing: a category that only they have would keep its random initial weights.
        learned = self.train if self.weights is None else self.train[self.weights > 0]
        categories = in_order(set(names.take(learned).distinct()) or set(names.take(self.train).distinct()))
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
        column = NumericColumn(name=name, missing=self._missing(np.isnan(values), spread), **vars(spread))
        if column.divisor < _LEAST_SPREAD:
            raise DataError(
                f"column {name!r} varies by {column.divisor:.3g} only, too little for 32-bit floating point: give it "
                f"another unit, or drop it ({typed('--drop', name)})."
            )
        return replace(column, origin=column.fill) if _is_far(column.fill, column.divisor) else column

    def _dates(self, name: str, values: NDArray[np.datetime64]) -> DateColumn:
        moments = values[self.train]
        spread = self._spread(name, elapsed_days(moments))
        learned = moments[self._counted(~np.isnat(moments))]
        column = DateColumn(
            name=name,
            missing=self._missing(np.isnat(values), spread),
            parts=tuple(part for part in PARTS if np.ptp(part_values(part, learned)) > 0),
            **vars(spread),
        )
        return replace(column, origin=column.fill)  # dates always have an origin: one more float64 subtraction

    def _missing(self, is_missing: NDArray[np.bool_], spread: _Spread) -> Literal["refuse", "mean", "indicator"]:
        """Returns the treatment of missing values of a column, given as a mask of all rows of the table."""
        if not is_missing.any():
            return "refuse"
        # Without a gap among the rows of training, the weights of an indicator would stay the random initial ones.
        learned = is_missing[self.train] if self.weights is None else is_missing[self.train] & (self.weights > 0)
        if not learned.any():
            return "mean"
        # In a column of one value and gaps, the gaps are the only information.
        return "indicator" if self.robust or spread.scale == _WITHOUT_EFFECT else "mean"

    def _spread(self, name: str, values: NDArray[np.float64]) -> _Spread:
        """Returns the statistics of `(len(train),)` values, NaN for missing."""
        is_present = ~np.isnan(values)
        present = values[is_present]
        _check_any(name, len(present))
        weights = self._weights_of(is_present)
        mean, std = _mean_and_std(present, weights)
        low, high = float(present.min()), float(present.max())
        learned = values[self._counted(is_present)]
        if (learned == learned[0]).all():
            # Training sees 0 in every row, so the first layer's weights for the column stay the random initial ones.
            # With this scale, the network sees 0 for any other value too, instead of an arbitrary shift.
            center = mean if self.robust else None
            return _Spread(mean=mean, std=std, minimum=low, maximum=high, center=center, scale=_WITHOUT_EFFECT)
        if not self.robust:
            return _Spread(mean=mean, std=std, minimum=low, maximum=high)
        # Extreme values (fill values, typing errors) do not count in the scale, however many there are.
        is_kept = is_ordinary(present)
        counted = weights is None or weights[is_kept].any()
        if not is_kept.all() and counted:
            present, weights = present[is_kept], None if weights is None else weights[is_kept]
        center, scale = _center_and_scale(present, weights)
        return _Spread(mean=mean, std=std, minimum=low, maximum=high, center=center, scale=scale)

    def _counted(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns a mask without the rows of weight 0; the same mask if all of its rows have weight 0."""
        return rows if self.weights is None or self._weights_of(rows) is None else rows & (self.weights > 0)

    def _weights_of(self, rows: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Returns the weights of training rows given as a mask; None if weights are equal or all 0."""
        weights = None if self.weights is None else self.weights[rows]
        return weights if weights is not None and weights.any() else None


def _is_far(center: float, spread: float) -> bool:
    """Returns True if float32 would round values around `center` to steps that are large relative to the spread."""
    return abs(center) > _FAR_FROM_ZERO * spread


def _with_date_form(column: Column, table: TrainingTable) -> Column:
    """Returns the column, with the form of the table's dates if the column holds dates."""
    return replace(column, form=table.date_forms.get(column.name)) if isinstance(column, DateColumn) else column


def _names(values: Values) -> DictionaryColumn:
    return values if isinstance(values, DictionaryColumn) else DictionaryColumn.from_strings(values.tolist())


def _at(values: Values, rows: Rows) -> Values:
    return values.take(rows) if isinstance(values, DictionaryColumn) else values[rows]


def _check_any(name: str, values: int) -> None:
    if not values:
        raise DataError(f"column {name!r} has no value in the training part: drop it ({typed('--drop', name)}).")


def _mean_and_std(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> tuple[float, float]:
    """Returns the mean and the standard deviation; 1 for the latter if the values have no spread, to divide by.

    The computed mean of equal values can differ from them by a rounding error, so equal values are handled apart: their
    spread would not be 0 otherwise.
    """
    counted = values if weights is None else values[weights > 0]
    if (counted == counted[0]).all():
        return float(counted[0]), 1.0
    if weights is None:
        return float(values.mean()), float(values.std())
    mean = np.average(values, weights=weights)
    return float(mean), float(np.sqrt(np.average(np.square(values - mean), weights=weights)))


def _center_and_scale(values: NDArray[np.float64], weights: NDArray[np.float64] | None) -> tuple[float, float]:
    """Returns the median and the inter-quartile range; half the range if that is 0, and 1 if there is no range."""
    if weights is None:
        low, center, high = np.quantile(values, (0.25, 0.5, 0.75))
    else:  # NumPy has weighted quantiles only without interpolation: the first value that reaches the share
        low, center, high = np.quantile(values, (0.25, 0.5, 0.75), weights=weights, method="inverted_cdf")
    whole, middle = float(values.max() - values.min()), float(high - low)
    if middle > _NO_SPREAD * whole:
        return float(center), middle
    # With few extremes the small range is real; if many values are that far away, it is rounding error.
    beyond = np.abs(values - center) > middle / _NO_SPREAD
    scale = middle if middle > 0 and beyond.mean() < _FEW else whole / 2
    return float(center), scale or 1.0


def _ignoring_unknown(column: Column) -> Column:
    return replace(column, unknown="ignore") if isinstance(column, CategoricalColumn) else column
