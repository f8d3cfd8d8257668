"""The linear engine: an MLP without hidden layers, fitted by a solver: logistic or ridge regression."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines.engine import EpochLog, Matrices, OnEpoch, Trained

_STEPS = 1000
_NEVER = -30.0  # logit of a class without training rows
_TINY = 1e-30


def train(
    config: TrainConfig, architecture: MLPConfig, data: Matrices, *, on_epoch: OnEpoch = lambda epoch: None
) -> Trained:
    """Minimises the sum of loss and L2 penalty with scikit-learn. The same arguments give the same bytes.

    Args:
        config: settings of the run, of which the engine uses `weight_decay`, the L2 penalty beside the summed loss.
        architecture: network without hidden layers.
        data: rows and targets.
        on_epoch: callback, called once, when the weights are found.
    """
    is_value = architecture.task == "regression"
    solve = _ridge if is_value else _logistic
    weight, bias, has_converged = solve(config, architecture, data)  # (out, in), (out,)
    loss = _squared_error if is_value else _log_loss
    log = EpochLog(epochs=1, patience=None, on_epoch=on_epoch)
    log.add(
        train_loss=loss(data.x @ weight.T + bias, data.y, data.weight),
        validation_loss=loss(data.validation_x @ weight.T + bias, data.validation_y, data.validation_weight),
    )
    tensors = {"layers.0.weight": np.ascontiguousarray(weight, dtype=np.float32)}
    if architecture.bias:
        tensors["layers.0.bias"] = bias.astype(np.float32)
    verdict = None if has_converged else f"The linear model has not converged in {_STEPS:,} steps: it is near its best."
    return Trained(
        architecture=architecture,
        tensors=tensors,
        epochs_run=1,
        best_epoch=1,
        stopped="converged" if has_converged else "epochs",
        history=log.history(),
        verdict=verdict,
    )


def _logistic(
    config: TrainConfig, architecture: MLPConfig, data: Matrices
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    # Imported here: scikit-learn takes a second to import, and the other engines do not need it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    classes, width = architecture.out_features, data.x.shape[1]
    weight, bias = np.zeros((classes, width)), np.full(classes, _NEVER)
    seen = np.unique(data.y)
    if len(seen) == 1:
        bias[seen] = 0.0
        return weight, bias if architecture.bias else np.zeros(classes), True
    penalty = config.weight_decay
    model = LogisticRegression(C=1 / penalty if penalty else math.inf, fit_intercept=architecture.bias, max_iter=_STEPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the verdict reports it
        model.fit(data.x.astype(np.float64), data.y, sample_weight=_mean_one(data.weight))
    logits, offsets = model.coef_, np.broadcast_to(model.intercept_, len(model.coef_))
    if len(seen) == 2:  # one logit for two classes: each gets half
        logits, offsets = np.concatenate([-logits, logits]) / 2, np.concatenate([-offsets, offsets]) / 2
    weight[seen], bias[seen] = logits, offsets
    return weight, bias if architecture.bias else np.zeros(classes), int(np.max(model.n_iter_)) < _STEPS


def _ridge(
    config: TrainConfig, architecture: MLPConfig, data: Matrices
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=config.weight_decay, fit_intercept=architecture.bias)
    model.fit(data.x.astype(np.float64), data.y.astype(np.float64), sample_weight=_mean_one(data.weight))
    return np.atleast_2d(model.coef_), np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)), True


def _log_loss(logits: NDArray[Any], truth: NDArray[np.int64], weight: NDArray[np.float64] | None) -> float:
    scaled = logits - logits.max(axis=1, keepdims=True)
    of_truth = scaled[np.arange(len(truth)), truth] - np.log(np.exp(scaled).sum(axis=1))
    return float(np.average(-np.maximum(of_truth, math.log(_TINY)), weights=weight))


def _squared_error(values: NDArray[Any], truth: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
    squares = np.square(values - truth.reshape(values.shape)).mean(axis=1)
    return float(np.average(squares, weights=weight))


def _mean_one(weight: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Scales the weights to a mean of 1, which keeps the ratio of loss and penalty independent of their scale."""
    return None if weight is None else weight / weight.mean()
