"""Metrics: how well answers fit the truth, as plain numbers, in the target's own unit for regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.config import Output

Metrics = dict[str, float | int]

# What a model is judged by when there is room for one figure.
HEADLINE = {"classification": "accuracy", "regression": "r2"}


def evaluate(output: Output, answers: NDArray[np.float32], truth: NDArray[Any]) -> Metrics:
    """Every metric that applies.

    Args:
        output: the network's; a `step` has no probabilities, and so no log loss.
        answers: `(rows, classes)` probabilities, or `(rows, 1)` values.
        truth: `(rows,)` class indices, or values.
    """
    if output == "linear":
        return {"rows": len(truth), **_regression(answers[:, 0].astype(np.float64), truth)}
    classes = answers.shape[1]
    guessed = answers.argmax(axis=1)
    metrics: Metrics = {"rows": len(truth), "accuracy": float((guessed == truth).mean())}
    metrics["f1_macro"] = _f1_macro(guessed, truth, classes)
    if output == "softmax":
        metrics["log_loss"] = _log_loss(answers.astype(np.float64), truth)
    return metrics


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Mean of -log p(true class). A float32 softmax can round p to 0, whose logarithm no table could show."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())


def _f1_macro(guessed: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> float:
    """Mean over classes of 2·TP / (2·TP + FP + FN), over those that occur among the guesses or in truth."""
    hits = np.bincount(truth[guessed == truth], minlength=classes)
    occurrences = np.bincount(guessed, minlength=classes) + np.bincount(truth, minlength=classes)  # 2·TP + FP + FN
    occurring = occurrences > 0
    return float((2 * hits[occurring] / occurrences[occurring]).mean())


def _regression(values: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
    errors = values - truth
    metrics: Metrics = {"rmse": math.sqrt(float(np.square(errors).mean())), "mae": float(np.abs(errors).mean())}
    spread = float(np.square(truth - truth.mean()).sum())
    if spread > 0:  # a part of equal values has no variance to explain
        metrics["r2"] = 1 - float(np.square(errors).sum()) / spread
    return metrics
