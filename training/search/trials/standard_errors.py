"""Standard errors of the validation figures of a trial, over the rows of the part."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from training.data.preprocessing import encode
from training.fitted_model import FittedModel
from training.metrics import MetricFigure
from training.search.trials.ranking_value import row_losses


def standard_error(model: FittedModel, figure: MetricFigure) -> float | None:
    """Returns the standard error of a figure of the validation part; None without a simple one, or with weights.

    RMSE has it by the delta method, ROC AUC by Hanley & McNeil (1982), balanced accuracy from the recall of each class.

    Args:
        model: model of the trial.
        figure: figure that ranks the trials.
    """
    rows = model.split.validation
    if figure in ("r2", "f1_macro") or len(rows) < 2 or model.table.weight is not None:
        return None
    metrics = model.metrics["validation"]
    if figure == "accuracy":
        share = float(metrics["accuracy"])
        return math.sqrt(share * (1 - share) / len(rows))
    checkpoint, truth = model.checkpoint, model.table.target[rows]  # (rows,)
    if figure == "roc_auc":
        ones = int(truth.sum())
        return _of_area(float(metrics["roc_auc"]), ones, len(truth) - ones)
    answers = checkpoint.inference_network().answer(encode(checkpoint.schema, model.table, rows)).astype(np.float64)
    if figure == "balanced_accuracy":
        return _of_mean_recall(answers.argmax(axis=1) == truth, truth)
    if figure == "log_loss":
        of_truth = answers[np.arange(len(rows)), truth]
        return _of_mean(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)))
    losses = row_losses(model, figure, answers, truth)
    if figure != "rmse":
        return _of_mean(losses)
    rmse = math.sqrt(float(losses.mean()))
    return _of_mean(losses) / (2 * rmse) if rmse > 0 else 0.0


def _of_mean(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _of_area(area: float, ones: int, zeros: int) -> float:
    """Returns the standard error of an area under the ROC curve over some rows of each class."""
    of_two_ones, of_two_zeros = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ones - 1) * (of_two_ones - area**2) + (zeros - 1) * (of_two_zeros - area**2)
    return math.sqrt(max(variance, 0.0) / (ones * zeros))


def _of_mean_recall(is_right: NDArray[np.bool_], truth: NDArray[np.int64]) -> float:
    rows = np.bincount(truth)
    recall = np.bincount(truth, is_right) / np.maximum(rows, 1)
    present = rows > 0
    variances = recall[present] * (1 - recall[present]) / rows[present]
    return math.sqrt(float(variances.sum())) / int(present.sum())
