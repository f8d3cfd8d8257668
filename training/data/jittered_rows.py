"""Jittered rows: copies of encoded rows with other cells, near the rows of the table, for which a model makes labels.

Numbers move by a part of the spread of their column, and some cells are replaced by those of another row, column by
column, so that a row of one-hot features stays one and a gap stays a gap. The idea is MUNGE's (Bucilă, Caruana &
Niculescu-Mizil 2006, Model compression), which takes the cells of the nearest row; a random row needs no search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import NumericColumn, Schema

JITTER = 0.2  # standard deviation of the noise, as a share of the standard deviation of the column
SWAP = 0.1  # share of the cells that are those of another row


def jittered_rows(
    schema: Schema,
    x: NDArray[np.float32],
    rows: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    jitter: float = JITTER,
    swap: float = SWAP,
) -> NDArray[np.float32]:
    """Makes a jittered copy of some rows.

    Args:
        schema: schema of the encoded rows.
        x: `(all rows, width)` encoded rows, from which other cells come.
        rows: `(n,)` numbers of the rows to copy.
        rng: source of random numbers.
        jitter: standard deviation of the noise of a number, as a share of the column's standard deviation.
        swap: probability of a cell to be that of another row.

    Returns:
        `(n, width)` encoded rows. Numbers stay within the range of their column; dates move with no noise, since their
        features belong together.
    """
    made = x[rows]
    at = 0
    for column in schema.columns:
        block = slice(at, at + column.width)
        at += column.width
        swapped = np.flatnonzero(rng.random(len(rows)) < swap)
        made[swapped, block] = x[rng.integers(0, len(x), len(swapped)), block]
        if isinstance(column, NumericColumn):
            _move(column, made[:, block], x[:, block], jitter, rng)
    return made


def _move(
    column: NumericColumn,
    made: NDArray[np.float32],
    x: NDArray[np.float32],
    jitter: float,
    rng: np.random.Generator,
) -> None:
    """Adds noise to the numbers of a column in place, (n, column width), but not to the gaps."""
    values = made[:, 0]
    is_gap = np.zeros(len(values), dtype=bool)
    if column.missing == "indicator":
        is_gap = made[:, 1] != 0
    elif column.missing == "mean":
        is_gap = values == np.float32(column.shift)
    known = x[:, 0].astype(np.float64)
    moved = values + rng.standard_normal(len(values)) * (jitter * known.std())
    values[:] = np.where(is_gap, values, np.clip(moved, known.min(), known.max()))
