"""An evaluation by class: precision, recall, curves, calibration and threshold costs of each class. Data only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LISTED = 50  # classes with a line of their own
MAX_DRAWN = 4  # classes with curves: the rarest ones, whose probabilities are hardest to predict
_BINS = 10
_MIN_BIN = 10  # rows; with fewer, the share is too uncertain
_POINTS = 120  # maximum number of points of a curve
COST_RATIOS = (1, 2, 5, 10, 20, 50, 100)
Z = 1.959963984540054  # standard deviations to each side that hold 95 % of a normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassBin:
    """A bin of rows with similar probabilities of a class, and the share of rows that belong to the class.

    Attributes:
        count: number of rows.
        predicted: mean probability of the class.
        happened: share of rows that belong to the class.
        low, high: 95 % confidence interval of the share (Wilson 1927).
    """

    count: int
    predicted: float
    happened: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassCurves:
    """The calibration and the ranking quality of one class's probabilities.

    Attributes:
        label: the class.
        calibration: bins with about the same number of rows, by rising probability.
        roc: points (false positive rate, recall), by falling threshold.
        precision_recall: points (recall, precision), by falling threshold.
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
    """The metrics of one class; a ratio whose denominator is 0 is None.

    Attributes:
        label: the class.
        rows: number of rows of the test part that belong to the class.
        named: number of rows that the model assigns to the class.
        precision: share of the assigned rows that belong to the class.
        recall: share of the class's rows that the model assigns to the class.
        f1: harmonic mean of precision and recall.
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
    """The cost of assigning rows to the rarer of two classes above the threshold that fits a cost ratio.

    Attributes:
        ratio: cost of a missed row, in false alarms.
        threshold: least served probability at which a row is assigned to the class: 1/(1 + ratio), shifted as the
            served probabilities are.
        named: number of rows assigned to the class.
        missed: number of rows of the class that are not assigned to the class.
        false_alarms: number of rows of the other class that are assigned to the class.
        cost: total cost of missed rows and false alarms, in false alarms.
        constant: cost of the better constant answer, all rows or none, in false alarms.
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
    """An evaluation of a classifier on the test part, class by class.

    Attributes:
        figures: metrics of at most `MAX_LISTED` classes, those with the fewest test rows first.
        curves: curves of at most `MAX_DRAWN` rarest classes; with two classes, only of the rarer one; empty without
            probabilities.
        costs: costs of thresholds for the rarer of two classes; empty with more classes.
        rare: label of the class of `costs`.
        odds_factor: factor on the odds of this class in the served probabilities; 1 for those of the table.
    """

    figures: tuple[ClassFigures, ...]
    curves: tuple[ClassCurves, ...] = ()
    costs: tuple[ThresholdCost, ...] = ()
    rare: str | None = None
    odds_factor: float = 1.0


def class_evaluation(
    labels: tuple[str, ...],
    answers: NDArray[np.floating[Any]],
    truth: NDArray[np.int64],
    *,
    has_probabilities: bool,
    shift: NDArray[np.float64] | None = None,
) -> ClassEvaluation:
    """Evaluates answers class by class.

    Args:
        labels: labels of the classes, by index.
        answers: `(rows, classes)` probabilities, or 1 for the assigned class.
        truth: `(rows,)` true class indices.
        has_probabilities: True if the answers are probabilities.
        shift: `(classes,)` shift of the logits against the probabilities of the table; None for no shift.
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
    factor = 1.0 if shift is None else math.exp(float(shift[rare] - shift[1 - rare]))
    costs = tuple(_cost(probabilities[:, rare], truth == rare, ratio, factor) for ratio in COST_RATIOS)
    return ClassEvaluation(figures=figures, curves=curves, costs=costs, rare=labels[rare], odds_factor=factor)


def curves_of(label: str, scores: NDArray[np.float64], is_class: NDArray[np.bool_]) -> ClassCurves:
    """Computes the curves of one class.

    Args:
        label: label of the class.
        scores: `(rows,)` probabilities of the class.
        is_class: `(rows,)` True for rows of the class; both values occur.
    """
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
    """Returns the 95 % Wilson interval of a share; with a positive width even for shares of 0 and 1."""
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


def _cost(scores: NDArray[np.float64], is_class: NDArray[np.bool_], ratio: int, factor: float) -> ThresholdCost:
    threshold = factor / (factor + ratio)  # odds of 1/ratio, times the factor
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
