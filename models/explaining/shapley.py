"""Shapley values of one row: the encoded rows that a model has to answer, and the contributions in these answers.

A player is a column. In a coalition, the columns of the coalition have the cells of the explained row, and all others
have those of a background row. So each coalition is an ordinary encoded row, and whoever answers rows can explain them.
Columns that the row shares with all background rows contribute nothing, and are no players.

`ExactShapley` asks about all coalitions. `SampledShapley` walks through random orders of the columns, each forwards and
backwards: a column contributes the change of the answer at its turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import Schema
from models.errors import ConfigError

MOST_EXACT_PLAYERS = 12
DEFAULT_SAMPLES, LEAST_SAMPLES, MOST_SAMPLES = 128, 4, 10_000

Kind = Literal["exact", "sampled"]


@dataclass(frozen=True)
class Contributions:
    """The contributions of all columns to one answer.

    Attributes:
        value: output for the row.
        base: mean output for the background rows.
        columns: `(columns,)` float64 contributions, whose sum is `value - base`.
        errors: `(columns,)` float64 standard errors of the contributions; None for exact ones.
    """

    value: float
    base: float
    columns: NDArray[np.float64]
    errors: NDArray[np.float64] | None


def feature_columns(schema: Schema) -> NDArray[np.intp]:
    """Returns the position of each encoded feature's column, `(width,)`."""
    widths = [column.width for column in schema.columns]
    return np.repeat(np.arange(len(widths)), widths)


class Players:
    """The columns of a row that differ from the background.

    Args:
        row: `(width,)` float32 encoded row.
        background: `(background rows, width)` float32 encoded rows.
        column_of: `(width,)` result of `feature_columns`.

    Attributes:
        n_background: number of background rows.
    """

    def __init__(self, row: NDArray[np.float32], background: NDArray[np.float32], column_of: NDArray[np.intp]) -> None:
        self._row = row
        self._background = background
        self.n_background = len(background)
        self._n_columns = int(column_of[-1]) + 1
        differs = np.zeros(self._n_columns, dtype=np.bool_)
        differs[column_of[(background != row).any(axis=0)]] = True
        self._columns = np.flatnonzero(differs)  # (players,)
        self._features = np.flatnonzero(differs[column_of])  # (features of players,)
        self._player_of = np.searchsorted(self._columns, column_of[self._features])

    def __len__(self) -> int:
        return len(self._columns)

    def mixed(self, coalitions: NDArray[np.bool_], background: NDArray[np.intp]) -> NDArray[np.float32]:
        """Returns the encoded rows of coalitions, `(rows, width)`.

        Args:
            coalitions: `(rows, players)`, True for the columns of the explained row.
            background: `(rows,)` positions of the background rows that have the other columns.
        """
        rows = self._background[background]
        at = self._features
        rows[:, at] = np.where(coalitions[:, self._player_of], self._row[at], rows[:, at])
        return rows

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns `(columns,)` values, 0 for the columns that are no players."""
        columns = np.zeros(self._n_columns)
        columns[self._columns] = values
        return columns


class ExactShapley:
    """All coalitions of a row's columns, each with all background rows.

    Args:
        players: columns that take part.

    Attributes:
        kind: `exact`.
        evaluations: number of rows to answer.
    """

    kind: Kind = "exact"

    def __init__(self, players: Players) -> None:
        self._players = players
        self._n_background = players.n_background
        self.evaluations = (1 << len(players)) * players.n_background

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Returns the encoded rows from `start` up to `stop`, `(stop - start, width)`."""
        coalition, background = np.divmod(np.arange(start, stop), self._n_background)
        members = (coalition[:, None] >> np.arange(len(self._players))) & 1
        return self._players.mixed(members.astype(np.bool_), background)

    def contributions(self, outputs: NDArray[np.float64]) -> Contributions:
        """Returns the contributions.

        Args:
            outputs: `(evaluations,)` outputs for all rows.
        """
        n = len(self._players)
        values = outputs.reshape(-1, self._n_background).mean(axis=1)  # (coalitions,)
        coalitions = np.arange(len(values))
        sizes = ((coalitions[:, None] >> np.arange(n)) & 1).sum(axis=1)
        weights = np.array([1 / (n * comb(n - 1, size)) for size in range(n)])
        found = np.zeros(n)
        for player in range(n):
            without = coalitions[(coalitions >> player) & 1 == 0]
            found[player] = weights[sizes[without]] @ (values[without | 1 << player] - values[without])
        return Contributions(float(values[-1]), float(values[0]), self._players.spread(found), None)


class SampledShapley:
    """Random orders of a row's columns, each forwards and backwards, with the background rows in turn.

    The contributions of each order add up to the difference of the outputs, and so do their means. The same row has the
    same orders, so the same question has the same answer.

    Args:
        players: columns that take part.
        samples: number of orders, at least 4; rounded up to an equal number for each background row.

    Attributes:
        kind: `sampled`.
        evaluations: number of rows to answer.
    """

    kind: Kind = "sampled"

    def __init__(self, players: Players, *, samples: int) -> None:
        self._players = players
        self._n_background = n = players.n_background
        self._pairs = -(-max(2, -(-samples // 2)) // n) * n
        self._steps = max(0, len(players) - 1)  # coalitions of an order, without the empty and the full one
        self.evaluations = n + 1 + 2 * self._pairs * self._steps

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        """Place of each player in each order, `(pairs, players)`."""
        places = np.tile(np.arange(len(self._players)), (self._pairs, 1))
        return np.random.default_rng(0).permuted(places, axis=1)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Returns the encoded rows from `start` up to `stop`, `(stop - start, width)`."""
        n = self._n_background
        place = np.arange(start, stop) - (n + 1)  # below 0 for the background rows and the row itself
        pair, step = np.divmod(place, max(1, 2 * self._steps))
        pair = np.maximum(pair, 0)
        length = 1 + step % max(1, self._steps)
        places = self._places[pair]  # (rows, players)
        forwards = places < length[:, None]
        backwards = places >= len(self._players) - length[:, None]
        members = np.where((step < self._steps)[:, None], forwards, backwards)
        members[place < 0] = False
        members[place == -1] = True
        background = np.where(place < 0, np.minimum(place + n + 1, n - 1), pair % n)
        return self._players.mixed(members, background)

    def contributions(self, outputs: NDArray[np.float64]) -> Contributions:
        """Returns the contributions.

        Args:
            outputs: `(evaluations,)` outputs for all rows.
        """
        n, pairs = self._n_background, self._pairs
        bases, value, between = outputs[:n], outputs[n], outputs[n + 1 :].reshape(pairs, 2, self._steps)
        base = float(bases.mean())
        if not len(self._players):
            nothing = self._players.spread(np.zeros(0))
            return Contributions(float(value), base, nothing, nothing)
        chains = np.empty((pairs, 2, self._steps + 2))
        chains[:, :, 0] = np.tile(bases, pairs // n)[:, None]
        chains[:, :, 1:-1] = between
        chains[:, :, -1] = value
        changes = np.diff(chains, axis=2)  # (pairs, 2, players), by the turn
        forwards = np.take_along_axis(changes[:, 0], self._places, axis=1)
        backwards = np.take_along_axis(changes[:, 1], len(self._players) - 1 - self._places, axis=1)
        means = (forwards + backwards) / 2  # (pairs, players)
        errors = means.std(axis=0, ddof=1) / np.sqrt(pairs)
        return Contributions(float(value), base, self._players.spread(means.mean(axis=0)), self._players.spread(errors))


Shapley = ExactShapley | SampledShapley


def checked_samples(samples: int) -> None:
    """Checks a number of orders.

    Raises:
        ConfigError: the number is out of range.
    """
    if type(samples) is not int or not LEAST_SAMPLES <= samples <= MOST_SAMPLES:
        raise ConfigError(f"samples must be a whole number from {LEAST_SAMPLES} to {MOST_SAMPLES:,}, got {samples!r}.")


def shapley_of(players: Players, *, samples: int, kind: Kind | None) -> Shapley:
    """Returns the question for a row: exact up to `MOST_EXACT_PLAYERS` players, sampled beyond.

    Args:
        players: columns that take part.
        samples: number of orders of a sampled question.
        kind: kind of the question; None for the best one that the number of players allows.

    Raises:
        ConfigError: there are too many players for an exact answer.
    """
    if kind == "exact" and len(players) > MOST_EXACT_PLAYERS:
        raise ConfigError(
            f"kind is 'exact', which takes up to {MOST_EXACT_PLAYERS} columns, and a row differs from the background "
            f"in {len(players)}: leave kind out, or ask for 'sampled'."
        )
    if kind == "exact" or (kind is None and len(players) <= MOST_EXACT_PLAYERS):
        return ExactShapley(players)
    return SampledShapley(players, samples=samples)
