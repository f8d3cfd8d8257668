"""Metrics of answers compared with the truth, as plain numbers; for a regression in the unit of the target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import NumericTarget
from models.network.config import OUTPUTS_OF_VALUES, Output
from training.data.class_balance import class_shares
from training.recipes import Metric

# Figures by name; for several targets, `targets` has the figures of each by name.
Metrics = dict[str, Any]

MetricFigure = Literal[
    "log_loss",
    "accuracy",
    "rmse",
    "r2",
    "roc_auc",
    "balanced_accuracy",
    "f1_macro",
    "mae",
    "pinball_loss",
    "poisson_deviance",
    "gamma_deviance",
    "bernoulli_deviance",
]

HIGHER_IS_BETTER: tuple[MetricFigure, ...] = ("accuracy", "r2", "roc_auc", "balanced_accuracy", "f1_macro")

# The figure that a metric is for, by metric.
FIGURES: Mapping[Metric, MetricFigure] = {
    "auc": "roc_auc",
    "log-loss": "log_loss",
    "accuracy": "accuracy",
    "balanced-accuracy": "balanced_accuracy",
    "f1": "f1_macro",
    "rmse": "rmse",
    "mae": "mae",
    "r2": "r2",
    "quantile": "pinball_loss",
    "poisson": "poisson_deviance",
    "gamma": "gamma_deviance",
    "bernoulli": "bernoulli_deviance",
}
# The main figure of a model, if there is space for only one.
HEADLINE = {"classification": "accuracy", "regression": "r2"}

CALIBRATION_BINS = 15
SHOWN_TARGETS = 20  # of several targets, those whose figures are shown to people

_LEAST = float(np.finfo(np.float32).tiny)  # float32 may have rounded an answer to 0, which has no logarithm
_LEAST_BELOW_ONE = float(np.finfo(np.float32).epsneg) / 2  # half of the distance from 1 to the number before


def evaluate(
    output: Output,
    answers: NDArray[np.floating[Any]],
    truth: NDArray[Any],
    *,
    metric: str | None = None,
    quantile: float | None = None,
    targets: Sequence[NumericTarget] = (),
    is_balanced: bool = False,
) -> Metrics:
    """Returns all metrics that apply.

    For several targets, R² is the mean of the targets, and errors are in standard deviations of each target (with the
    metric `bernoulli` in the targets' own unit): RMSE is the root of the mean squared error of all targets. `targets`
    then has the figures of each in its own unit.

    Args:
        output: output of the network; a `step` has no probabilities, and so neither log loss nor calibration error.
        answers: `(rows, classes)` probabilities, or `(rows, 1)` values, or `(rows, targets)` values.
        truth: `(rows,)` class indices, or values, or `(rows, targets)` values.
        metric: metric that the model was trained for, which may add a figure; None for no such metric.
        quantile: quantile that the model answers; None for a mean.
        targets: targets of the values; needed if there are several.
        is_balanced: True if the model was trained with balanced classes, which adds the balanced accuracy.
    """
    if output in OUTPUTS_OF_VALUES and truth.ndim == 2:
        return _of_several(answers.astype(np.float64), truth, targets, metric, quantile)
    if output in OUTPUTS_OF_VALUES:
        values = answers[:, 0].astype(np.float64)
        metrics: Metrics = {"rows": len(truth), **_regression(values, truth)}
        metrics |= _of_deviance(values, truth, metric)
        return metrics if quantile is None else metrics | _of_quantile(values, truth, quantile)
    classes = answers.shape[1]
    guessed = answers.argmax(axis=1)
    metrics = {"rows": len(truth), "accuracy": float((guessed == truth).mean())}
    metrics["f1_macro"] = f1_macro(guessed, truth, classes)
    if metric == "balanced-accuracy" or is_balanced:
        metrics["balanced_accuracy"] = _balanced_accuracy(guessed, truth)
    if output == "softmax":
        probabilities = answers.astype(np.float64)
        metrics["log_loss"] = _log_loss(probabilities, truth)
        metrics["brier"] = _brier(probabilities, truth)
        metrics["expected_calibration_error"] = reliability(probabilities, truth).expected_error
        if classes == 2 and 0 < truth.sum() < len(truth):  # with one class, there are no pairs to rank
            metrics["roc_auc"] = _roc_auc(probabilities[:, 1], truth)
    return metrics


def answered_quantile(training: Mapping[str, Any]) -> float | None:
    """Returns the quantile of the target that a regression answers: 0.5, the median, for MAE; None for the mean.

    Args:
        training: settings of the run, as in a checkpoint.
    """
    quantile: float | None = training.get("quantile")
    return 0.5 if training.get("metric") == "mae" else quantile


def constant_answers(
    seen: NDArray[Any],
    rows: int,
    *,
    classes: int,
    weight: NDArray[np.float64] | None = None,
    quantile: float | None = None,
) -> NDArray[np.float64]:
    """Returns the answers of a model without inputs: the shares of the classes, the mean, or a quantile.

    The quantile is the least value that at least this share of the rows does not exceed. No constant has a smaller
    pinball loss on these rows (Koenker & Bassett 1978), and for the median, no smaller absolute error.

    Args:
        seen: `(training rows,)` class indices, or values, or `(training rows, targets)` values.
        rows: number of answers.
        classes: number of classes; 0 for a regression.
        weight: `(training rows,)` relative weight of each row; None for equal weights.
        quantile: quantile of the values that is the answer; None for the mean.

    Returns:
        `(rows, classes)` probabilities, or `(rows, targets)` values.
    """
    if not classes:
        values = seen.astype(np.float64)
        if values.ndim == 2:
            constants = [constant_answers(own, 1, classes=0, weight=weight, quantile=quantile)[0] for own in values.T]
            return np.tile(np.concatenate(constants), (rows, 1))
        if quantile is None:
            return np.full((rows, 1), np.average(values, weights=weight))
        return np.full((rows, 1), np.quantile(values, quantile, weights=weight, method="inverted_cdf"))
    return np.tile(class_shares(seen, classes, weight), (rows, 1))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reliability:
    """The accuracy of answers by confidence, in bins of equal width.

    The confidence of an answer is the probability of the predicted class (Guo et al. 2017, "On Calibration of
    Modern Neural Networks").

    Attributes:
        edges: `(bins + 1,)` edges of the bins, from 0 to 1.
        counts: `(bins,)` number of answers in each bin.
        confidence: `(bins,)` mean confidence of these answers; 0 in an empty bin.
        accuracy: `(bins,)` share of right answers; 0 in an empty bin.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_error(self) -> float:
        """The expected calibration error: the mean over all answers of |accuracy - confidence| of the bin."""
        return float((self.counts * np.abs(self.accuracy - self.confidence)).sum() / self.counts.sum())


def reliability(
    probabilities: NDArray[np.floating[Any]], truth: NDArray[np.int64], *, bins: int = CALIBRATION_BINS
) -> Reliability:
    """Computes the reliability of a classifier's answers.

    Args:
        probabilities: `(rows, classes)` predicted probabilities.
        truth: `(rows,)` class indices.
        bins: number of bins of equal width; a bin contains its upper edge, but not its lower edge.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)  # (rows,)
    right = probabilities.argmax(axis=1) == truth  # (rows,)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # (rows,)
    counts = np.bincount(place, minlength=bins)
    filled = np.maximum(counts, 1)
    return Reliability(
        edges=np.linspace(0, 1, bins + 1),
        counts=counts,
        confidence=np.bincount(place, confidence, bins) / filled,
        accuracy=np.bincount(place, right, bins) / filled,
    )


def _brier(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the mean squared distance of probabilities and truth (Brier 1950), for two classes of class 1 only."""
    distances = probabilities.copy()
    distances[np.arange(len(truth)), truth] -= 1
    squares = float(np.square(distances).sum(axis=1).mean())
    return squares / 2 if probabilities.shape[1] == 2 else squares


def _roc_auc(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the share of pairs, one row of each class, in which class 1 has the higher score; ties count half.

    This is the area under the ROC curve, computed from the ranks of the scores (Hanley & McNeil 1982).
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # (rows,) from 1; equal scores share their mean rank
    ones = int(truth.sum())
    return float((ranks[truth == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(truth) - ones)))


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Returns the mean of -log p(true class). A float32 softmax can round p to 0, which has no logarithm."""
    of_truth = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean())


def _balanced_accuracy(guessed: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Returns the mean recall of the classes that occur in the truth."""
    rows = np.bincount(truth)
    hits = np.bincount(truth[guessed == truth], minlength=len(rows))
    return float((hits[rows > 0] / rows[rows > 0]).mean())


def pinball_losses(errors: NDArray[np.float64], quantile: float) -> NDArray[np.float64]:
    """Returns the pinball loss of each row, `(rows,)`, for errors: true value minus answer."""
    return np.maximum(quantile * errors, (quantile - 1) * errors)


def poisson_deviances(values: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the Poisson deviance of each row, `(rows,)`, 2·(y·log(y/μ) - y + μ) for the true y and the answer μ.

    Nelder & Wedderburn 1972, Generalized linear models.

    Args:
        values: `(rows,)` answers; 0 counts as the smallest float32.
        truth: `(rows,)` true values, not below 0.
    """
    values = np.maximum(values, _LEAST)
    ratio = np.where(truth > 0, truth, 1) / values
    return 2 * (np.where(truth > 0, truth * np.log(ratio), 0.0) - truth + values)


def gamma_deviances(values: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the gamma deviance of each row, `(rows,)`, 2·(y/μ - 1 - log(y/μ)) for the true y and the answer μ.

    Nelder & Wedderburn 1972, Generalized linear models.

    Args:
        values: `(rows,)` answers; 0 counts as the smallest float32.
        truth: `(rows,)` true values, above 0.
    """
    ratio = truth / np.maximum(values, _LEAST)
    return 2 * (ratio - 1 - np.log(ratio))


def bernoulli_deviances(values: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the Bernoulli deviance of each answer, twice its log loss: -2·(y·log(p) + (1 - y)·log(1 - p)).

    Nelder & Wedderburn 1972, Generalized linear models.

    Args:
        values: answers p, of any shape; 0 and 1 count as the nearest that float32 tells apart from them.
        truth: true values y between 0 and 1, of the same shape.
    """
    p = np.clip(values, _LEAST, 1 - _LEAST_BELOW_ONE)
    return -2 * (truth * np.log(p) + (1 - truth) * np.log1p(-p))


# The deviance of each row, by figure.
DEVIANCES: Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "poisson_deviance": poisson_deviances,
    "gamma_deviance": gamma_deviances,
    "bernoulli_deviance": bernoulli_deviances,
}


def _of_deviance(values: NDArray[np.float64], truth: NDArray[np.float64], metric: str | None) -> Metrics:
    """Returns the mean deviance of one target if the metric is one and the answers have one.

    With answers to a target of 0 and 1 comes the area under the ROC curve.
    """
    figure = f"{metric}_deviance"
    if figure not in DEVIANCES or (values < 0).any() or (metric == "bernoulli" and (values > 1).any()):
        return {}
    metrics: Metrics = {figure: float(DEVIANCES[figure](values, truth).mean())}
    if metric == "bernoulli" and set(np.unique(truth)) == {0.0, 1.0}:
        metrics["roc_auc"] = _roc_auc(values, truth.astype(np.int64))
    return metrics


def _of_quantile(values: NDArray[np.float64], truth: NDArray[np.float64], quantile: float) -> Metrics:
    """Returns the mean pinball loss (Koenker & Bassett 1978), and the share of true values that are not above."""
    errors = truth - values
    loss = pinball_losses(errors, quantile)
    return {"pinball_loss": float(loss.mean()), "share_below": float((errors <= 0).mean())}


def f1_macro(
    guessed: NDArray[np.int64], truth: NDArray[np.int64], classes: int, weight: NDArray[np.float64] | None = None
) -> float:
    """Returns the mean of 2·TP / (2·TP + FP + FN) over the classes that occur in the guesses or the truth.

    Args:
        guessed: `(rows,)` predicted class indices.
        truth: `(rows,)` true class indices.
        classes: number of classes.
        weight: `(rows,)` relative weight of each row; None for equal weights.
    """

    def count(of: NDArray[np.int64], rows: NDArray[np.bool_] | slice = slice(None)) -> NDArray[Any]:
        return np.bincount(of[rows], None if weight is None else weight[rows], minlength=classes)

    hits = count(truth, guessed == truth)
    occurrences = count(guessed) + count(truth)  # 2·TP + FP + FN
    occurring = occurrences > 0
    return float((2 * hits[occurring] / occurrences[occurring]).mean())


def variances(truth: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Returns the variance of true values, `()` or `(targets,)`, which R² divides by.

    The variance of equal values is exactly 0, since there is nothing to explain. The mean of equal floats may differ
    from them in the last bit, and the squares then give 1e-34.

    Args:
        truth: `(rows,)` true values, or `(rows, targets)` of several targets.
        weight: `(rows,)` weights; None for equal weights.
    """
    counted = truth if weight is None else truth[weight > 0]
    around = np.square(truth - np.average(truth, axis=0, weights=weight))
    return np.where(np.ptp(counted, axis=0) > 0, np.average(around, axis=0, weights=weight), 0.0)


def _regression(values: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
    errors = values - truth
    metrics: Metrics = {"rmse": math.sqrt(float(np.square(errors).mean())), "mae": float(np.abs(errors).mean())}
    variance = float(variances(truth))
    if variance > 0:
        metrics["r2"] = 1 - float(np.square(errors).mean()) / variance
    return metrics


def _of_several(
    values: NDArray[np.float64],
    truth: NDArray[np.float64],
    targets: Sequence[NumericTarget],
    metric: str | None,
    quantile: float | None,
) -> Metrics:
    """Returns the metrics of several targets.

    Args:
        values: `(rows, targets)` answers.
        truth: `(rows, targets)` true values.
        targets: targets, in order.
        metric: metric that the model was trained for; None for no such metric.
        quantile: quantile that the model answers; None for a mean.
    """
    alone: dict[str, Metrics] = {}
    for target, own, true in zip(targets, values.T, truth.T, strict=True):
        figures = _regression(own, true) | _of_deviance(own, true, metric)
        alone[target.name] = figures | ({} if quantile is None else _of_quantile(own, true, quantile))
    spread = np.array([target.std for target in targets])
    errors = (truth - values) / spread
    metrics: Metrics = {
        "rows": len(truth),
        "rmse": math.sqrt(float(np.square(errors).mean())),
        "mae": float(np.abs(errors).mean()),
    }
    for name in ("r2", f"{metric}_deviance", "roc_auc"):
        if found := [figures[name] for figures in alone.values() if name in figures]:
            metrics[name] = float(np.mean(found))
    if quantile is not None:
        metrics |= {
            "pinball_loss": float(pinball_losses(errors, quantile).mean()),
            "share_below": float((errors <= 0).mean()),
        }
    return metrics | {"targets": alone}


def shown_metrics(metrics: Mapping[str, Any]) -> dict[str, float | int]:
    """Returns the figures of a part by name, those of several targets as `rmse of rent`, of the first targets only.

    Args:
        metrics: metrics of a part.
    """
    flat = {name: value for name, value in metrics.items() if name != "targets"}
    for target, own in list(metrics.get("targets", {}).items())[:SHOWN_TARGETS]:
        flat |= {f"{name} of {target}": value for name, value in own.items()}
    return flat


def metrics_by_name(
    constant: Metrics, of_parts: Mapping[str, Metrics], parts: Sequence[str]
) -> list[tuple[str, *tuple[float | int | None, ...]]]:
    """Returns a row for each figure: its name, that of the constant answer, and those of the parts; None for no figure.

    Args:
        constant: metrics of the constant answer.
        of_parts: metrics of the model by part.
        parts: parts, in order.
    """
    columns = [shown_metrics(constant), *(shown_metrics(of_parts[part]) for part in parts)]
    names = dict.fromkeys(name for column in columns[1:] for name in column)
    return [(name, *(column.get(name) for column in columns)) for name in names]
