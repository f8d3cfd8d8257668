"""The figure of the validation part that ranks a trial. Rows count by their weights, as they do in the training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.data.preprocessing import encode
from training.fitted_model import FittedModel
from training.metrics import DEVIANCES, MetricFigure, f1_macro, pinball_losses, variances

_TINY = float(np.finfo(np.float32).tiny)


def ranking_value(model: FittedModel, figure: MetricFigure) -> float:
    """Returns the figure of the validation part, the weighted one if the table has weights.

    The metrics of a model count each row once, since the rows that a model will answer have no weights.

    Args:
        model: model of the trial.
        figure: figure that ranks the trials.

    Raises:
        KeyError: the validation part does not have the figure.
    """
    rows = model.split.validation
    weight = model.table.weights_of(rows)
    if weight is None:
        return float(model.metrics["validation"][figure])
    checkpoint, truth = model.checkpoint, model.table.target[rows]
    answers = checkpoint.inference_network().answer(encode(checkpoint.schema, model.table, rows)).astype(np.float64)
    if model.table.labels:
        return _of_classes(figure, answers, truth, weight)
    if figure == "r2":
        return _explained(answers, truth.reshape(len(truth), -1), weight)
    mean = float(np.average(row_losses(model, figure, answers, truth), weights=weight))
    return math.sqrt(mean) if figure == "rmse" else mean


def _of_classes(
    figure: MetricFigure, answers: NDArray[np.float64], truth: NDArray[np.int64], weight: NDArray[np.float64]
) -> float:
    guessed, classes = answers.argmax(axis=1), answers.shape[1]
    match figure:
        case "accuracy":
            return float(np.average(guessed == truth, weights=weight))
        case "log_loss":
            of_truth = answers[np.arange(len(truth)), truth]
            return float(-np.average(np.log(np.maximum(of_truth, _TINY)), weights=weight))
        case "f1_macro":
            return f1_macro(guessed, truth, classes, weight)
        case "balanced_accuracy":
            hits, rows = (np.bincount(truth, own, minlength=classes) for own in (weight * (guessed == truth), weight))
            return float((hits[rows > 0] / rows[rows > 0]).mean())
        case "roc_auc":
            # Imported here, as it imports torch.
            from training.engines.selection import area_under_roc

            if len(np.unique(truth[weight > 0])) < 2:
                raise KeyError(figure)
            return area_under_roc(answers[:, 1], truth, weight)
    raise KeyError(figure)


def row_losses(
    model: FittedModel, figure: MetricFigure, answers: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the loss of each row, `(rows,)`, whose mean is a figure of values; for RMSE the squared error.

    The loss of a row with several targets is the mean over its targets.

    Args:
        model: model of the trial.
        figure: figure that ranks the trials.
        answers: `(rows, targets)` answers.
        truth: `(rows,)` true values, or `(rows, targets)` of several targets.
    """
    losses = _losses(model, figure, answers, truth)
    return losses if losses.ndim == 1 else losses.mean(axis=1)


def _losses(
    model: FittedModel, figure: MetricFigure, answers: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    values = model.checkpoint.schema.values
    if figure in DEVIANCES:
        return DEVIANCES[figure](answers if truth.ndim == 2 else answers[:, 0], truth)
    is_one = len(values) == 1
    # Errors of several targets are in standard deviations of each, as in the metrics.
    errors = truth - answers[:, 0] if is_one else (truth - answers) / np.array([target.std for target in values])
    if figure == "mae":
        return np.abs(errors)
    if figure == "pinball_loss":
        return pinball_losses(errors, float(model.checkpoint.training["quantile"]))
    return np.square(errors)


def _explained(answers: NDArray[np.float64], truth: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Returns R², for several targets the mean of those whose values differ; both arrays `(rows, targets)`."""
    spread, left = variances(truth, weight), np.average(np.square(truth - answers), axis=0, weights=weight)
    if not (spread > 0).any():
        raise KeyError("r2")
    return float((1 - left[spread > 0] / spread[spread > 0]).mean())
