"""Preprocessing: the columns' statistics, fitted on the training part alone, and the matrices they lead to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoding import encode_columns
from models.errors import DataError
from models.schema import CategoricalColumn, ClassTarget, Column, NumericColumn, NumericTarget, Schema, Target
from training.data.cells import in_order
from training.data.split import Rows
from training.data.training_table import TrainingTable

# Beyond this many standard deviations from 0, float32's 24 bits would leave less than 14 of them for the spread.
_FAR_FROM_ZERO = 1_000


def fit_schema(table: TrainingTable, train: Rows) -> Schema:
    """The table's columns with the statistics of its training part.

    Whether a missing value is accepted is not a statistic but a property of the column, and so is asked of the whole
    table: a gap that fell into the test part must not be an error.

    Raises:
        DataError: a column without any value in the training part.
    """
    return Schema(
        columns=tuple(_fit_column(table, name, train) for name in table.features),
        target=_fit_target(table, table.target[train]),
    )


def encode(schema: Schema, table: TrainingTable, rows: Rows) -> NDArray[np.float32]:
    """Rows as the serving encoder gives them: `(len(rows), schema.width)` float32.

    A category that the training part does not have is encoded as none of those known, whatever serving will do.
    """
    lenient = Schema(columns=tuple(_lenient(column) for column in schema.columns), target=schema.target)
    return encode_columns(lenient, table.take(rows))


def standardise(schema: Schema, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encoded rows as the network sees them in training: `(rows, width)` float32."""
    mean, std = schema.standardisation()
    return ((x.astype(np.float64) - mean) / std).astype(np.float32)


def scale_target(schema: Schema, y: NDArray[Any]) -> NDArray[Any]:
    """What the network learns: `(rows,)` class indices as they are, values standardised and float32."""
    target = schema.target
    return ((y - target.mean) / target.std).astype(np.float32) if isinstance(target, NumericTarget) else y


def unseen_categories(schema: Schema, table: TrainingTable) -> dict[str, int]:
    """How many categories of each column are outside the training part, where there are any."""
    counts = {
        column.name: len(set(table.features[column.name]) - {None, *column.categories})
        for column in schema.columns
        if isinstance(column, CategoricalColumn)
    }
    return {name: count for name, count in counts.items() if count}


def _fit_column(table: TrainingTable, name: str, train: Rows) -> Column:
    missing = table.missing(name)
    has_gaps = bool(missing.any())
    present = table.features[name][train][~missing[train]]
    if len(present) == 0:
        raise DataError(f"column {name!r} has no value in the training part: drop it (--drop {name}).")
    if not table.is_numeric(name):
        return CategoricalColumn(
            name=name,
            categories=in_order(set(present)),
            unknown=table.choices.unknown,
            missing="ignore" if has_gaps else "refuse",
        )
    mean, std = _mean_and_std(present)
    return NumericColumn(
        name=name,
        mean=mean,
        std=std,
        minimum=float(present.min()),
        maximum=float(present.max()),
        missing="mean" if has_gaps else "refuse",
        origin=mean if abs(mean) > _FAR_FROM_ZERO * std else 0.0,
    )


def _fit_target(table: TrainingTable, values: NDArray[Any]) -> Target:
    if table.labels:
        return ClassTarget(name=table.target_name, labels=table.labels)
    mean, std = _mean_and_std(values)
    return NumericTarget(
        name=table.target_name, mean=mean, std=std, minimum=float(values.min()), maximum=float(values.max())
    )


def _mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation; 1 for the latter where the training part has no spread, so that it divides nothing.

    The mean of equal values can miss them by a rounding, which would make their spread look like more than none.
    """
    if (values == values[0]).all():
        return float(values[0]), 1.0
    return float(values.mean()), float(values.std())


def _lenient(column: Column) -> Column:
    if not isinstance(column, CategoricalColumn):
        return column
    return CategoricalColumn(name=column.name, categories=column.categories, unknown="ignore", missing=column.missing)
