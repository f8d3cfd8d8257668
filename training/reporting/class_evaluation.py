"""An evaluation by class: how often each is found and rightly named, how honest its probabilities are, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LISTED = 50  # classes with a line of their own
MAX_DRAWN = 4  # classes with curves; the rarest are drawn, where probabilities are hardest
_BINS = 10
_MIN_BIN = 10  # rows: fewer say nothing of a share
_POINTS = 120  # of a curve
COST_RATIOS = (1, 2, 5, 10, 20, 50, 100)
Z = 1.959963984540054  # standard deviations to each side that hold 95 % of a normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassBin:
    """Rows whose probabilities of a class are neighbours, and how often they were of it.

    Attributes:
        count: number of rows.
        predicted: mean probability of the class.
        happened: share of rows that are of the class.
        low, high: 95 % confidence interval of the share (Wilson 1927).
    """

    count: int
    predicted: float
    happened: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCurves:
    """What the probabilities of one class are worth.

    Attributes:
        label: the class.
        calibration: bins of about equally many rows, by rising probability.
        roc: (share of other rows named, share of the class's rows named), by falling threshold.
        precision_recall: (recall, precision), by falling threshold.
        roc_auc: area under the ROC curve.
        average_precision: mean precision over the class's rows as the threshold falls.
    """

    label: str
    calibration: tuple[ClassBin, ...]
    roc: tuple[tuple[float, float], ...]
    precision_recall: tuple[tuple[float, float], ...]
    roc_auc: float
    average_precision: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassFigures:
    """One class's figures; None where nothing can be divided.

    Attributes:
        label: the class.
        rows: rows of the test part that are of it.
        named: rows that the model names so.
        precision: share of the named rows that are of it.
        recall: share of its rows that are named so.
        f1: harmonic mean of the two.
        predicted: mean probability of the class over all rows; None without probabilities.
    """

    label: str
    rows: int
    named: int
    precision: float | None
    recall: float | None
    f1: float | None
    predicted: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdCost:
    """What it costs to name the rarer of two classes above the threshold that fits the costs.

    Attributes:
        ratio: cost of a missed row, in false alarms.
        threshold: probability from which on the class is named, 1/(1 + ratio).
        named: rows that are named so.
        missed: rows of the class that are not.
        false_alarms: rows that are named so and are of the other class.
        cost: of both, in false alarms.
        constant: cost of the better of naming all rows so and none.
    """

    ratio: int
    threshold: float
    named: int
    missed: int
    false_alarms: int
    cost: int
    constant: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassEvaluation:
    """A classifier's test part, class by class.

    Attributes:
        figures: of the classes, at most `MAX_LISTED`, the rarest of the test part first.
        curves: of the rarest classes, at most `MAX_DRAWN`; of two classes of the rarer one; none without probabilities.
        costs: of thresholds for the rarer of two classes; none for more classes.
        rare: label of the class that `costs` are of.
    """

    figures: tuple[ClassFigures, ...]
    curves: tuple[ClassCurves, ...] = ()
    costs: tuple[ThresholdCost, ...] = ()
    rare: str | None = None


def class_evaluation(
    labels: tuple[str, ...], answers: NDArray[np.floating[Any]], truth: NDArray[np.int64], *, has_probabilities: bool
) -> ClassEvaluation:
    """Evaluates answers class by class.

    Args:
        labels: the classes in order.
        answers: `(rows, classes)` probabilities, or 1 for the class that is named.
        truth: `(rows,)` class indices.
        has_probabilities: whether the answers are probabilities.
    """
    counts = np.bincount(truth, minlength=len(labels))  # (classes,)
    order = np.argsort(counts, kind="stable")
    named = answers.argmax(axis=1)
    probabilities = answers.astype(np.float64) if has_probabilities else None
    figures = tuple(_figures(labels[i], named == i, truth == i, probabilities, int(i)) for i in order[:MAX_LISTED])
    if probabilities is None:
        return ClassEvaluation(figures=figures)
    drawn = [int(i) for i in order if 0 < counts[i] < len(truth)][: 1 if len(labels) == 2 else MAX_DRAWN]
    curves = tuple(curves_of(labels[i], probabilities[:, i], truth == i) for i in drawn)
    if len(labels) != 2 or not drawn:
        return ClassEvaluation(figures=figures, curves=curves)
    rare = drawn[0]
    costs = tuple(_cost(probabilities[:, rare], truth == rare, ratio) for ratio in COST_RATIOS)
    return ClassEvaluation(figures=figures, curves=curves, costs=costs, rare=labels[rare])


def curves_of(label: str, scores: NDArray[np.float64], is_class: NDArray[np.bool_]) -> ClassCurves:
    """The curves of one class; `scores` and `is_class` are `(rows,)`, with rows of the class and others."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    ends = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True))  # last row of each threshold
    hits = np.cumsum(is_class[order])[ends].astype(np.float64)
    named = ends + 1.0
    ones, others = float(is_class.sum()), float((~is_class).sum())
    recall, precision, alarms = hits / ones, hits / named, (named - hits) / others
    roc_auc = float(np.trapezoid(np.append(0.0, recall), np.append(0.0, alarms)))
    average_precision = float((np.diff(np.append(0.0, recall)) * precision).sum())
    shown = np.unique(np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(np.int64))
    return ClassCurves(
        label=label,
        calibration=_bins(scores, is_class),
        roc=((0.0, 0.0), *zip(alarms[shown].tolist(), recall[shown].tolist(), strict=True)),
        precision_recall=tuple(zip(recall[shown].tolist(), precision[shown].tolist(), strict=True)),
        roc_auc=roc_auc,
        average_precision=average_precision,
    )


def wilson(successes: int, rows: int) -> tuple[float, float]:
    """The interval in which a share lies that was seen in so many rows; it has a width even at 0 and at 1."""
    share = successes / rows
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z * math.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _bins(scores: NDArray[np.float64], is_class: NDArray[np.bool_]) -> tuple[ClassBin, ...]:
    order = np.argsort(scores, kind="stable")
    found = []
    for rows in np.array_split(order, max(min(_BINS, len(order) // _MIN_BIN), 1)):
        happened = int(is_class[rows].sum())
        low, high = wilson(happened, len(rows))
        found.append(
            ClassBin(
                count=len(rows),
                predicted=float(scores[rows].mean()),
                happened=happened / len(rows),
                low=low,
                high=high,
            )
        )
    return tuple(found)


def _figures(
    label: str,
    is_named: NDArray[np.bool_],
    is_class: NDArray[np.bool_],
    probabilities: NDArray[np.float64] | None,
    place: int,
) -> ClassFigures:
    hits, rows, named = int((is_named & is_class).sum()), int(is_class.sum()), int(is_named.sum())
    return ClassFigures(
        label=label,
        rows=rows,
        named=named,
        precision=hits / named if named else None,
        recall=hits / rows if rows else None,
        f1=2 * hits / (rows + named) if rows + named else None,
        predicted=None if probabilities is None else float(probabilities[:, place].mean()),
    )


def _cost(scores: NDArray[np.float64], is_class: NDArray[np.bool_], ratio: int) -> ThresholdCost:
    threshold = 1 / (1 + ratio)
    is_named = scores >= threshold
    missed, false_alarms = int((is_class & ~is_named).sum()), int((is_named & ~is_class).sum())
    return ThresholdCost(
        ratio=ratio,
        threshold=threshold,
        named=int(is_named.sum()),
        missed=missed,
        false_alarms=false_alarms,
        cost=ratio * missed + false_alarms,
        constant=min(ratio * int(is_class.sum()), int((~is_class).sum())),
    )
