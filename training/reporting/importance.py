"""Permutation importance: the loss in score when the values of a column are shuffled among the rows.

A column that the model does not use has no loss. A column with a copy in another column may look unimportant, since
the copy still has the same information.
"""

from __future__ import annotations

import time
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
# With fewer rows, a column that matters can hardly be distinguished from a column that does not.
MIN_ROWS = 100
# Multiply-adds of the whole measurement: a few seconds on one core.
BUDGET = 100e9
# Cost of one output of a layer beside the matrix product (activation, bias), in multiply-adds.
_ELEMENTWISE = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """The importance of a column.

    Attributes:
        column: name of the column.
        mean: mean loss in score over the repeats.
        std: standard deviation of the loss over the repeats.
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
    """Returns the importance of each column, the greatest first (Breiman 2001, "Random Forests", section 10).

    All encoded features of a column are shuffled together. Since each column is encoded by itself, this equals
    shuffling the raw values before the encoding.

    Args:
        answer: function from `(rows, width)` encoded rows to `(rows, out_features)` answers.
        x: `(rows, width)` float32 encoded rows.
        score: function from answers for these rows to a score; higher is better.
        blocks: name of each column and slice of its encoded features.
        repeats: number of permutations of each column.
        rng: source of the permutations.

    Raises:
        ConfigError: `repeats` is below 1.
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
    """Returns the name of each column and the slice of its features in an encoded row."""
    edges = accumulate((column.width for column in schema.columns), initial=0)
    return [(name, slice(*edge)) for name, edge in zip(schema.names, pairwise(edges), strict=True)]


def affordable_rows(summary: Summary, *, columns: int, available: int) -> int:
    """Returns the number of rows that `BUDGET` allows, at most `ROWS`; 0 if too few to be meaningful."""
    outputs = sum(int(np.prod(layer.output_shape[1:])) for layer in summary.layers)
    per_row = max(summary.multiply_adds + _ELEMENTWISE * outputs, 1)
    rows = int(BUDGET / (per_row * columns * REPEATS))
    wanted = min(available, ROWS)
    return min(rows, wanted) if rows >= min(MIN_ROWS, wanted) else 0


def rows_in_time(answer: Answer, x: NDArray[np.float32], *, columns: int, seconds: float) -> int:
    """Returns the number of rows for which there is time, by the measured time of one answer; 0 if too few.

    Args:
        answer: function from encoded rows to answers.
        x: `(rows, width)` rows of the measurement if there is time for all.
        columns: number of columns.
        seconds: seconds of the measurement.
    """
    begun = time.monotonic()
    answer(x)
    one = time.monotonic() - begun
    share = (seconds - one) / max(one * (columns * REPEATS + 1), 1e-9)
    rows = int(len(x) * min(share, 1.0))
    return rows if rows >= min(MIN_ROWS, len(x)) else 0


def score_of(headline: str, truth: NDArray[Any]) -> Score:
    """Returns the main metric as a score of answers: accuracy, or R² as the mean of the targets.

    Args:
        headline: name of the main metric.
        truth: `(rows,)` class indices or values, or `(rows, targets)` values.
    """
    if headline == "accuracy":
        return lambda answers: float((answers.argmax(axis=1) == truth).mean())
    if truth.ndim == 2:
        spreads = np.square(truth - truth.mean(axis=0)).sum(axis=0)  # (targets,)
        return lambda answers: 1 - float((np.square(answers - truth).sum(axis=0) / spreads).mean())
    spread = float(np.square(truth - truth.mean()).sum())
    return lambda answers: 1 - float(np.square(answers[:, 0] - truth).sum()) / spread
