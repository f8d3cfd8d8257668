"""Scores: accuracy, log-loss and AUC of probabilities, R² and root mean squared error of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import Task

SMALLEST = 1e-15  # a probability of 0 would make one wrong answer cost infinitely much


@dataclass(frozen=True)
class Measure:
    """A score's name, direction and format."""

    title: str
    more_is_better: bool
    factor: float = 1.0
    digits: int | None = None  # digits after the point; None: four significant digits


MEASURES: dict[Task, tuple[Measure, ...]] = {
    "classification": (
        Measure("accuracy, %", True, 100.0, 2),
        Measure("log-loss", False, 1.0, 4),
        Measure("AUC of two classes, %", True, 100.0, 2),
    ),
    "regression": (Measure("R²", True, 1.0, 4), Measure("RMSE", False)),
}


def score(task: Task, answers: NDArray[np.float64], truth: NDArray[Any]) -> tuple[float, ...]:
    """Returns the measures of a task, in the order of `MEASURES`; of more than two classes without the last.

    Args:
        task: `classification` or `regression`.
        answers: `(rows, classes)` probabilities, or `(rows,)` values.
        truth: `(rows,)` class indices, or values.
    """
    if task == "classification":
        both = accuracy(answers, truth), log_loss(answers, truth)
        return both if answers.shape[1] > 2 else (*both, auc(answers, truth))
    return r_squared(answers, truth), rmse(answers, truth)


def accuracy(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the share of rows whose most probable class is the true one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the mean of -ln p(true class), with p clipped to [1e-15, 1] and then normalised to the sum 1."""
    p = np.clip(probabilities, SMALLEST, 1.0)
    p /= p.sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(truth)), truth]).mean())


def auc(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the share of pairs, one row of each class, that the probability of class 1 orders; ties count half."""
    scores = probabilities[:, 1]
    order = np.sort(scores[truth == 0])
    ones = scores[truth == 1]
    below, up_to = (np.searchsorted(order, ones, side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(order))


def rmse(values: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Returns the root mean squared error, in the target's unit."""
    return float(np.sqrt(np.square(values - truth).mean()))


def r_squared(values: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Returns 1 - residual sum of squares / total sum of squares, over the given rows."""
    return float(1 - np.square(values - truth).sum() / np.square(truth - truth.mean()).sum())


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the seeds."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Returns the spread of one value per seed; a single value has the deviation 0."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))
