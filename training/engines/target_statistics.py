"""Target statistics: numbers that are known of a category before training, beside its learned embedding.

A column of many categories gets two kinds of numbers for each category: the mean of the target over its rows, and the
logarithm of their number. A network then knows a category of few rows, whose embedding has hardly been learned. The
numbers are fixed columns of the embedding table, so a served network looks them up with the embedding.

A row must not see its own target, or the network would learn to trust a number that new rows do not have. So in
training, a row has the mean over those rows of its category that come before it in a random order (ordered target
statistics: Prokhorenkova et al. 2018, CatBoost: unbiased boosting with categorical features). The mean is drawn towards
the mean of all rows by some rows of the latter (Micci-Barreca 2001, A preprocessing scheme for high-cardinality
categorical attributes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from training.data.scratch import large_array, release_pages
from training.engines.engine import Matrices

PRIOR_ROWS = 10.0  # rows of average target that are added to each category
MOST_TARGETS = 10  # with more classes or values, the count alone: a column for each would outgrow the embedding
_STREAM = 0x7A26E7  # of random numbers, apart from those of a run with the same seed


@dataclass(frozen=True, eq=False)
class TargetStatistics:
    """The statistics of all categories, and those that each row of training sees.

    With folds, there is one set for each fold, of the rows outside the fold; otherwise there is one set.

    Attributes:
        tables: `(folds, table rows, targets + 1)` float32 means of the targets in units of their deviations, and the
            standardised logarithm of the number of rows; 0 for a cell without category.
        rows: `(folds, rows, indices, targets)` float32 means of the targets before each row of training; None if a row
            sees the table.
    """

    tables: NDArray[np.float32]
    rows: NDArray[np.float32] | None


def statistics_size(out_features: int, *, has_classes: bool = True) -> int:
    """Returns the number of statistics of a category.

    Args:
        out_features: number of classes or of values.
        has_classes: False for values.
    """
    return _targets(out_features, has_classes=has_classes) + 1


def target_statistics(architecture: MLPConfig, data: Matrices, *, seed: int) -> TargetStatistics | None:
    """Computes the statistics of embedded categories; returns None if no column is embedded.

    A student learns the answers of a teacher, in which a row's own target has no more part than the teacher learned
    from it: the statistics are those of the answers, and its rows see the table.

    Args:
        architecture: architecture of the networks.
        data: rows and targets.
        seed: seed of the random order.

    Raises:
        DataError: the rows are many, and the disk has no room for their statistics.
    """
    inputs = architecture.inputs
    if inputs is None or not inputs.indices:
        return None
    targets = _target_columns(architecture, data)  # (rows, targets)
    places = _places(inputs, data.x)
    weight = np.ones(len(targets)) if data.weight is None else data.weight / data.weight.mean()
    folds = data.folds
    learned = (
        [np.arange(len(targets))] if folds is None else [np.flatnonzero(folds != fold) for fold in _numbers(folds)]
    )
    tables = np.zeros((len(learned), inputs.table_rows, targets.shape[1] + 1), np.float32)
    seen = None
    if data.taught is None:
        seen = large_array((len(learned), len(targets), len(inputs.indices), targets.shape[1]), np.float32)
    rng = np.random.default_rng([seed, _STREAM])
    for at, rows in enumerate(learned):
        scaled = _standardised(targets[rows], weight[rows])
        for index, of_column in enumerate(places):
            column = of_column[rows]
            tables[at] += _table(column, scaled, weight[rows], inputs.table_rows)
            if seen is not None:
                seen[at, rows, index] = ordered_means(column, scaled, weight[rows], rng.permutation(len(rows)))
                release_pages()
    tables[:, list(inputs.table_offsets())] = 0
    tables[..., -1] = _standardised_counts(tables[..., -1], inputs)
    return TargetStatistics(tables, seen)


def ordered_means(
    column: NDArray[np.int64], targets: NDArray[np.float64], weight: NDArray[np.float64], order: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Returns the mean of the targets over the rows of the same category that come before each row, `(rows, targets)`.

    Args:
        column: `(rows,)` category of each row, as any whole number.
        targets: `(rows, targets)` targets with mean 0.
        weight: `(rows,)` weights of the rows.
        order: `(rows,)` row numbers in the order that decides which rows come before.
    """
    by_category = order[np.argsort(column[order], kind="stable")]  # rows by category, and in the order within each
    categories, weights = column[by_category], weight[by_category]
    starts = np.flatnonzero(np.r_[True, categories[1:] != categories[:-1]])
    lengths = np.diff(np.r_[starts, len(categories)])
    means = np.empty(targets.shape, np.float32)
    rows_before = _sums_before(weights, starts, lengths)
    for number in range(targets.shape[1]):
        sums = _sums_before(targets[by_category, number] * weights, starts, lengths)
        means[by_category, number] = sums / (rows_before + PRIOR_ROWS)
    return means


def _sums_before(
    values: NDArray[np.float64], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns the sum of the values before each value within its group; groups follow each other."""
    before = np.cumsum(values) - values
    return before - np.repeat(before[starts], lengths)


def _table(
    column: NDArray[np.int64], targets: NDArray[np.float64], weight: NDArray[np.float64], table_rows: int
) -> NDArray[np.float64]:
    """Returns the mean targets and the number of rows of each category of a column, `(table rows, targets + 1)`."""
    rows = np.bincount(column, weight, table_rows)
    sums = [np.bincount(column, of_target * weight, table_rows) for of_target in targets.T]
    return np.stack(
        [*(of_target / (rows + PRIOR_ROWS) for of_target in sums), np.bincount(column, minlength=table_rows)], 1
    )


def _standardised_counts(counts: NDArray[np.float32], inputs: InputConfig) -> NDArray[np.float64]:
    """Returns the logarithms of the counts, `(folds, table rows)`, with mean 0 and variance 1 over a column's rows."""
    logarithms = np.log1p(counts.astype(np.float64))
    for begin, categories in zip(inputs.table_offsets(), inputs.categories, strict=True):
        of_column = slice(begin + 1, begin + 1 + categories)
        for found, rows in zip(logarithms[:, of_column], counts[:, of_column], strict=True):
            if rows.any():
                found -= np.average(found, weights=rows)
                found /= np.sqrt(np.average(found**2, weights=rows)) or 1.0
    return logarithms


def _standardised(targets: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns targets with mean 0 and variance 1 over the weighted rows; a target without variance becomes 0."""
    if not weight.any():
        weight = np.ones(len(weight))
    centred = targets - np.average(targets, axis=0, weights=weight)
    deviation = np.sqrt(np.average(centred**2, axis=0, weights=weight))
    return np.asarray(centred / np.where(deviation > 0, deviation, 1.0))


def _target_columns(architecture: MLPConfig, data: Matrices) -> NDArray[np.float64]:
    """Returns the targets of each row, `(rows, targets)`: values; or a column for each class, or for one of two."""
    if architecture.task == "regression":
        values = (data.y if data.taught is None else data.taught).astype(np.float64).reshape(len(data.x), -1)
        return values[:, : _targets(architecture.out_features, has_classes=False)]
    columns = _targets(architecture.out_features, has_classes=True)
    classes = range(architecture.out_features - columns, architecture.out_features) if columns else ()
    if data.taught is not None:
        return data.taught[:, list(classes)].astype(np.float64)
    return _one_hot(data.y, classes)


def _one_hot(y: NDArray[Any], classes: Sequence[int]) -> NDArray[np.float64]:
    return np.asarray(y[:, None] == np.asarray(classes, dtype=np.int64), dtype=np.float64)


def _targets(out_features: int, *, has_classes: bool) -> int:
    """Returns the number of target columns: one for two classes, one for each of more classes, and for each value."""
    if has_classes and out_features <= 2:
        return 1
    return out_features if out_features <= MOST_TARGETS else 0


def _places(inputs: InputConfig, x: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """Returns the place of each row's category in the embedding table, `(rows,)` for each index."""
    return [
        x[:, at].astype(np.int64) + offset for at, offset in zip(inputs.indices, inputs.table_offsets(), strict=True)
    ]


def _numbers(folds: NDArray[np.int64]) -> range:
    return range(int(folds.max()) + 1)
