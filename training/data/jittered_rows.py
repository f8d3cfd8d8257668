"""Jittered rows: copies of encoded rows with other cells, near the rows of the table, for which a model makes labels.

Numbers move by a part of the spread of their column, and some cells are replaced by those of another row, column by
column, so that a row of one-hot features stays one and a gap stays a gap. The idea is MUNGE's (Bucilă, Caruana &
Niculescu-Mizil 2006, Model compression), which takes the cells of the nearest row; a random row needs no search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import NumericColumn, Schema
from training.data.extremes import is_ordinary

JITTER = 0.2  # standard deviation of the noise, as a share of the standard deviation of the column
SWAP = 0.1  # share of the cells that are those of another row


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spread:
    """The numbers of a column that may move.

    Attributes:
        low, high: range in which numbers move; those outside of it, extremes and fill values, stay as they are.
        deviation: standard deviation of the numbers within the range, or their scale if that is less: of columns with
            heavy tails the deviation says little about where most numbers are.
    """

    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, column: NumericColumn, values: NDArray[np.float32]) -> _Spread:
        """Returns the spread of the encoded numbers of a column, `(rows,)`."""
        known = values.astype(np.float64)
        ordinary = known[is_ordinary(known)]
        deviation = min(float(ordinary.std()), column.divisor)
        return cls(low=float(ordinary.min()), high=float(ordinary.max()), deviation=deviation)


class RowJitter:
    """A maker of jittered copies.

    Args:
        schema: schema of the encoded rows.
        x: `(rows, width)` encoded rows that count: other cells and the spread of the numbers come from these.
        jitter: standard deviation of the noise of a number, as a share of the column's standard deviation.
        swap: probability of a cell to be that of another row.
    """

    def __init__(self, schema: Schema, x: NDArray[np.float32], *, jitter: float = JITTER, swap: float = SWAP) -> None:
        self._x = x
        self._jitter = jitter
        self._swap = swap
        self._columns: list[tuple[slice, NumericColumn | None, _Spread | None]] = []
        at = 0
        for column in schema.columns:
            block = slice(at, at + column.width)
            number = column if isinstance(column, NumericColumn) else None
            self._columns.append((block, number, None if number is None else _Spread.of(number, x[:, at])))
            at += column.width

    def copies(self, rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Makes a jittered copy of each row.

        Args:
            rows: `(n, width)` encoded rows.
            rng: source of random numbers.

        Returns:
            `(n, width)` encoded rows. Numbers stay within the range of their column; dates move with no noise, since
            their features belong together.
        """
        made = rows.copy()
        for block, column, spread in self._columns:
            swapped = np.flatnonzero(rng.random(len(rows)) < self._swap)
            made[swapped, block] = self._x[rng.integers(0, len(self._x), len(swapped)), block]
            if column is not None and spread is not None:
                self._move(column, spread, made[:, block], rng)
        return made

    def _move(
        self, column: NumericColumn, spread: _Spread, made: NDArray[np.float32], rng: np.random.Generator
    ) -> None:
        """Adds noise to the numbers of a column in place, (n, column width), but not to gaps and extremes."""
        values = made[:, 0]
        stays = (values < spread.low) | (values > spread.high)
        if column.missing == "indicator":
            stays |= made[:, 1] != 0
        elif column.missing == "mean":
            stays |= values == np.float32(column.shift)
        moved = values + rng.standard_normal(len(values)) * (self._jitter * spread.deviation)
        values[:] = np.where(stays, values, np.clip(moved, spread.low, spread.high))
