"""Rank measures: how well one column tells another, whatever the unit, the scale or the names of its values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 10  # values on each side of a boundary that say how wide a gap is usual there
_WIDE = 10.0  # so many usual gaps are a hole between clusters, no cut through values
_MAX_CELLS = 4_000_000  # of a contingency table


def ranks_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(rows,)` ranks from 1; equal values have the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation; 0 where one of the two has no spread. Of ranks it is Spearman's."""
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well classes agree with what was guessed of them.

    Attributes:
        kappa: Cohen's, 0 for what chance would do and 1 for all rows (1960, "A coefficient of agreement").
        share: share of the rows in which the guess is right.
    """

    kappa: float
    share: float


def agreement_of_order(values: NDArray[np.float64], classes: NDArray[np.int64]) -> Agreement:
    """The agreement of the classes and of ranges of the values, one range for each class.

    The ranges follow one another as the classes' mean ranks do, and have as many rows as the classes.

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
    """The agreement of the classes and of each value's most frequent class.

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
    """The share of the ranks' variance that lies between the codes' means (correlation ratio η²)."""
    counts = np.maximum(np.bincount(codes), 1)
    means = np.bincount(codes, ranks) / counts
    total = float(np.square(ranks - ranks.mean()).sum())
    return 1 - float(np.square(ranks - means[codes]).sum()) / total if total > 0 else 0.0


def dependence(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Chatterjee's ξ (2021): near 1 where y is a function of x, of whatever form, and near 0 where it is not.

    Args:
        x: `(rows,)` numbers, nearly all of them different.
        y: `(rows,)` ranks.
    """
    jumps = np.abs(np.diff(y[np.argsort(x, kind="stable")])).sum()
    return 1 - 3 * float(jumps) / (len(x) ** 2 - 1)


def are_cuts(values: NDArray[np.float64], classes: NDArray[np.int64]) -> bool:
    """Whether the ranges of values that classes have were cut out of them, and are no clusters with holes between.

    Args:
        values: `(rows,)` numbers.
        classes: `(rows,)` codes from 0, each of which occurs; they have ranges that follow one another.
    """
    counts = np.bincount(classes)
    order = np.argsort(np.bincount(classes, ranks_of(values)) / counts, kind="stable")
    first = np.cumsum(counts[order])[:-1]  # (classes - 1,) place of the first value beyond each cut
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


def arrangements(counts: NDArray[np.int64]) -> float:
    """The logarithm of the number of orders in which rows of so many classes can stand."""
    return math.lgamma(counts.sum() + 1) - sum(math.lgamma(count + 1) for count in counts.tolist())


def _agreement(guessed: NDArray[np.int64], truth: NDArray[np.int64]) -> Agreement:
    width = int(max(guessed.max(), truth.max())) + 1
    shares = [np.bincount(codes, minlength=width) / len(truth) for codes in (guessed, truth)]
    chance, right = float(shares[0] @ shares[1]), float((guessed == truth).mean())
    return Agreement((right - chance) / (1 - chance) if chance < 1 else 0.0, right)
