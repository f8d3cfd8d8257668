"""Rows for the comparison of a foreign model with its network: drawn from a sample of the user's, or from the columns.

A drawn row has numbers around the centre of each column, now and then far from the centre, each category, and gaps
and unknown categories where the column takes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from conversion.importing.imported_model import Row, gaps_allowed
from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.schema import Schema

ROWS = 1_000
MOST_ROWS = 10_000  # of a sample: more take seconds, and hardly show more
_FAR = 8.0  # standard deviations of the farthest drawn numbers from the centre
_FAR_SHARE = 0.02
_GAP_SHARE = 0.1
_UNKNOWN_SHARE = 0.05
_UNKNOWN = "a category that the model does not know"


def sample_places(count: int, *, seed: int = 0) -> list[int]:
    """Returns the places in a sample of the rows to compare: all, of a large sample a part, of a small one some again.

    Args:
        count: number of rows in the sample.
        seed: seed of the choice.
    """
    generator = np.random.default_rng(seed)
    if count >= ROWS:
        return sorted(generator.permutation(count)[:MOST_ROWS].tolist())
    return [*range(count), *generator.integers(count, size=ROWS - count).tolist()]


def drawn_rows(schema: Schema, *, seed: int = 0) -> list[Row]:
    """Returns `ROWS` rows that the columns of a schema take."""
    generator = np.random.default_rng(seed)
    columns = [_cells(column, generator) for column in schema.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(column: Column, generator: np.random.Generator) -> list[Any]:
    if isinstance(column, NumericColumn):
        cells: list[Any] = _numbers(column, generator)
    elif isinstance(column, DateColumn):
        days = generator.uniform(column.minimum, column.maximum, ROWS)
        seconds = np.round(days * 86_400).astype("datetime64[s]")
        cells = np.datetime_as_string(seconds, timezone="UTC").tolist()
    else:
        cells = _categories(column, generator)
    if gaps_allowed(column):
        for place in np.flatnonzero(generator.random(ROWS) < _GAP_SHARE):
            cells[place] = None
    return cells


def _numbers(column: NumericColumn, generator: np.random.Generator) -> list[Any]:
    numbers = generator.normal(column.mean, column.std, ROWS)
    far = generator.random(ROWS) < _FAR_SHARE
    numbers[far] = column.mean + column.std * generator.uniform(-_FAR, _FAR, int(far.sum()))
    if column.minimum is not None and column.maximum is not None:  # the edges of the training part
        numbers[generator.random(ROWS) < _FAR_SHARE] = column.minimum
        numbers[generator.random(ROWS) < _FAR_SHARE] = column.maximum
    return list(numbers.tolist())


def _categories(column: CategoricalColumn, generator: np.random.Generator) -> list[Any]:
    count = len(column.categories)
    places = np.concatenate([np.arange(count)[:ROWS], generator.integers(count, size=max(ROWS - count, 0))])
    generator.shuffle(places)
    cells: list[Any] = [column.categories[place] for place in places]
    if column.unknown == "ignore":
        for place in np.flatnonzero(generator.random(ROWS) < _UNKNOWN_SHARE):
            cells[place] = _UNKNOWN
    return cells
