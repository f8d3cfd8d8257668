"""Scores: accuracy and log-loss of probabilities, R² and root mean squared error of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import Task

SMALLEST = 1e-15  # a probability of 0 would make one wrong answer infinitely bad


@dataclass(frozen=True)
class Measure:
    """What a score is called, whether more of it is better, and how it is shown."""

    title: str
    more_is_better: bool
    factor: float = 1.0
    digits: int | None = None  # after the point; None: four significant digits


MEASURES: dict[Task, tuple[Measure, Measure]] = {
    "classification": (Measure("accuracy, %", True, 100.0, 2), Measure("log-loss", False, 1.0, 4)),
    "regression": (Measure("R²", True, 1.0, 4), Measure("RMSE", False)),
}


def score(task: Task, answers: NDArray[np.float64], truth: NDArray[Any]) -> tuple[float, float]:
    """The two measures of a task, in the order of `MEASURES`.

    Args:
        task: `classification` or `regression`.
        answers: `(rows, classes)` probabilities, or `(rows,)` values.
        truth: `(rows,)` class indices, or values.
    """
    if task == "classification":
        return accuracy(answers, truth), log_loss(answers, truth)
    return r_squared(answers, truth), rmse(answers, truth)


def accuracy(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The share of rows whose likeliest class is the true one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """The mean of -ln p(true class), with p kept in [1e-15, 1] and then made to add up to 1."""
    p = np.clip(probabilities, SMALLEST, 1.0)
    p /= p.sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(truth)), truth]).mean())


def rmse(values: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.square(values - truth).mean()))


def r_squared(values: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """1 - residual over total sum of squares, of these rows."""
    return float(1 - np.square(values - truth).sum() / np.square(truth - truth.mean()).sum())


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample) over the seeds."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a seed; a single one has no deviation."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))
