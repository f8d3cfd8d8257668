"""Rank measures of how well one column predicts another, independent of units, scales and category names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 10  # values on each side of a boundary from which the usual gap is computed
_WIDE = 10.0  # a gap of this many usual gaps separates clusters, and does not cut through values
_MAX_CELLS = 4_000_000  # most cells of a contingency table


def ranks_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns `(rows,)` ranks from 1; equal values get their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Returns Pearson's correlation, or Spearman's if given ranks; 0 if a column has no spread."""
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of classes and a guess.

    Attributes:
        kappa: Cohen's kappa, 0 for chance and 1 if all rows agree (1960, "A coefficient of agreement").
        share: share of the rows in which the guess is right.
    """

    kappa: float
    share: float


def agreement_of_order(values: NDArray[np.float64], classes: NDArray[np.int64]) -> Agreement:
    """Returns the agreement of the classes and of a guess from ranges of the values, one range for each class.

    The ranges are in the order of the classes' mean ranks, and have as many rows as the classes.

    Args:
        values: `(rows,)` numbers.
        classes: `(rows,)` codes from 0, each of which occurs.
    """
    ranks = ranks_of(values)
    counts = np.bincount(classes)
    order = np.argsort(np.bincount(classes, ranks) / counts, kind="stable")
    guessed = order[np.searchsorted(np.cumsum(counts[order]), ranks, side="left").clip(max=len(counts) - 1)]
    return _agreement(guessed, classes)


def agreement_of_values(values: NDArray[np.int64], classes: NDArray[np.int64]) -> Agreement:
    """Returns the agreement of the classes and of each value's most frequent class.

    Args:
        values: `(rows,)` codes from 0.
        classes: `(rows,)` codes from 0.
    """
    width = int(classes.max()) + 1
    if (int(values.max()) + 1) * width > _MAX_CELLS:
        return Agreement(0.0, 0.0)
    counts = np.bincount(values * width + classes, minlength=(int(values.max()) + 1) * width).reshape(-1, width)
    return _agreement(counts.argmax(axis=1)[values], classes)


def explained_share(codes: NDArray[np.int64], ranks: NDArray[np.float64]) -> float:
    """Returns the share of the ranks' variance between the means of the codes (the correlation ratio η²)."""
    counts = np.maximum(np.bincount(codes), 1)
    means = np.bincount(codes, ranks) / counts
    total = float(np.square(ranks - ranks.mean()).sum())
    return 1 - float(np.square(ranks - means[codes]).sum()) / total if total > 0 else 0.0


def dependence(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Returns Chatterjee's ξ (2021): near 1 if y is a function of x, of any form; near 0 if both are independent.

    Args:
        x: `(rows,)` numbers, nearly all of them different.
        y: `(rows,)` ranks.
    """
    jumps = np.abs(np.diff(y[np.argsort(x, kind="stable")])).sum()
    return 1 - 3 * float(jumps) / (len(x) ** 2 - 1)


def are_cuts(values: NDArray[np.float64], classes: NDArray[np.int64]) -> bool:
    """Returns True if the classes' ranges of values are cuts of one distribution, and not clusters with gaps between.

    Args:
        values: `(rows,)` numbers.
        classes: `(rows,)` codes from 0, each of which occurs; their ranges do not overlap.
    """
    counts = np.bincount(classes)
    order = np.argsort(np.bincount(classes, ranks_of(values)) / counts, kind="stable")
    first = np.cumsum(counts[order])[:-1]  # (classes - 1,) index of the first value after each cut
    in_order = np.sort(values)
    present = np.unique(values)
    gaps = np.diff(present)
    ratios = []
    for low, high in zip(in_order[first - 1], in_order[first], strict=True):
        if low == high:
            ratios.append(0.0)
            continue
        at = int(np.searchsorted(present, low))
        beside = np.concatenate((gaps[max(at - _NEIGHBOURS, 0) : at], gaps[at + 1 : at + 1 + _NEIGHBOURS]))
        ratios.append(float(gaps[at] / beside.mean()) if len(beside) else math.inf)
    return float(np.median(ratios)) <= _WIDE


def log_arrangements(counts: NDArray[np.int64]) -> float:
    """Returns the logarithm of the number of distinct orders of rows with these class counts."""
    return math.lgamma(counts.sum() + 1) - sum(math.lgamma(count + 1) for count in counts.tolist())


def _agreement(guessed: NDArray[np.int64], truth: NDArray[np.int64]) -> Agreement:
    width = int(max(guessed.max(), truth.max())) + 1
    shares = [np.bincount(codes, minlength=width) / len(truth) for codes in (guessed, truth)]
    chance, right = float(shares[0] @ shares[1]), float((guessed == truth).mean())
    return Agreement((right - chance) / (1 - chance) if chance < 1 else 0.0, right)
