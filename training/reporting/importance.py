"""Permutation importance: how much worse a model answers when a column's values are dealt out to other rows.

A column that the model makes no use of loses nothing. One that is copied in another column may look unimportant,
since the copy still tells what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import Schema
from models.errors import ConfigError
from models.network.summary import Summary

Answer = Callable[[NDArray[np.float32]], NDArray[Any]]
Score = Callable[[NDArray[Any]], float]

ROWS = 2_000
REPEATS = 5
# So few rows tell a column that matters from one that does not, and hardly more than that.
MIN_ROWS = 100
# Multiply-adds that may go into all of it: a few seconds of one core.
BUDGET = 100e9
# What one output of one layer costs beside the matrix product (an activation, a bias), in multiply-adds.
_ELEMENTWISE = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """One column's.

    Attributes:
        column: its name.
        mean: by how much the score falls, over the repeats.
        std: the standard deviation of that.
    """

    column: str
    mean: float
    std: float


def permutation_importance(
    answer: Answer,
    x: NDArray[np.float32],
    *,
    score: Score,
    blocks: Sequence[tuple[str, slice]],
    repeats: int,
    rng: np.random.Generator,
) -> tuple[Importance, ...]:
    """The importance of each column, the greatest first (Breiman 2001, "Random Forests", section 10).

    A column's encoded features are moved together, which is the same as moving its raw values before they are
    encoded: each column is encoded by itself.

    Args:
        answer: `(rows, width)` encoded rows → `(rows, out_features)`.
        x: `(rows, width)` float32.
        score: of answers to those rows; higher is better.
        blocks: each column's name and the features that are its.
        repeats: permutations of each column.
        rng: the source of the permutations.

    Raises:
        ConfigError: no repeats.
    """
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats!r}.")
    unchanged = score(answer(x))
    found = []
    moved = x.copy()
    for name, block in blocks:
        losses = np.empty(repeats)
        for i in range(repeats):
            moved[:, block] = x[rng.permutation(len(x)), block]
            losses[i] = unchanged - score(answer(moved))
        moved[:, block] = x[:, block]
        found.append(Importance(column=name, mean=float(losses.mean()), std=float(losses.std())))
    return tuple(sorted(found, key=lambda importance: -importance.mean))


def blocks_of(schema: Schema) -> list[tuple[str, slice]]:
    """Each column's name and the features of an encoded row that are its."""
    edges = accumulate((column.width for column in schema.columns), initial=0)
    return [(name, slice(*edge)) for name, edge in zip(schema.names, pairwise(edges), strict=True)]


def affordable_rows(summary: Summary, *, columns: int, available: int) -> int:
    """How many rows `BUDGET` allows, at most `ROWS`; 0 where it does not allow enough to tell anything."""
    outputs = sum(int(np.prod(layer.output_shape[1:])) for layer in summary.layers)
    per_row = max(summary.multiply_adds + _ELEMENTWISE * outputs, 1)
    rows = int(BUDGET / (per_row * columns * REPEATS))
    wanted = min(available, ROWS)
    return min(rows, wanted) if rows >= min(MIN_ROWS, wanted) else 0


def score_of(headline: str, truth: NDArray[Any]) -> Score:
    """The headline metric as a score of answers to rows whose truth is `(rows,)`."""
    if headline == "accuracy":
        return lambda answers: float((answers.argmax(axis=1) == truth).mean())
    spread = float(np.square(truth - truth.mean()).sum())
    return lambda answers: 1 - float(np.square(answers[:, 0] - truth).sum()) / spread
