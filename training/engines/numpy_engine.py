"""The NumPy engine: mini-batch gradient descent with momentum for the MLP from scratch; keeps the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.functional import FloatArray
from models.network.numpy_mlp import NumpyMLP
from training.config import TrainConfig
from training.engines.engine import EpochLog, Matrices, OnEpoch, ShouldStop, Stopped, Trained, batches
from training.engines.schedules import cosine

MOMENTUM = 0.9


def train(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
) -> Trained:
    """Trains an MLP without torch, with the schedule, clipping and evaluation of the PyTorch engine.

    Args:
        config: settings of the run.
        architecture: architecture of the network.
        data: rows and targets.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.

    Raises:
        ConfigError: the architecture has a part that only the PyTorch engine has; the message names it.
        TrainingError: the loss is no longer finite.
    """
    rng = np.random.default_rng(config.seed)
    model = NumpyMLP(architecture, rng=rng)
    y, validation_y = (_as_targets(values, architecture) for values in (data.y, data.validation_y))
    rows = len(data.x)
    cuts = batches(rows, config.batch_size_for(rows))
    log = EpochLog(epochs=config.epochs, patience=config.patience, on_epoch=on_epoch)
    best: Mapping[str, NDArray[np.float32]] = {}
    stopped: Stopped = "epochs"
    for epoch in range(config.epochs):
        order = rng.permutation(rows)
        x_in_order, y_in_order = data.x[order], y[order]
        if config.drop_categories:
            for places in data.categories:
                dropped = np.flatnonzero(rng.random(rows) < config.drop_categories)
                x_in_order[dropped[:, None], places] = 0  # encoding of an unknown category
        total = 0.0
        # A diverging run overflows; the log raises a TrainingError at the end of the epoch.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for i, (begin, end) in enumerate(cuts):
                rate = config.learning_rate * cosine((epoch * len(cuts) + i) / (config.epochs * len(cuts)))
                loss, gradients = model.loss_and_gradients(x_in_order[begin:end], y_in_order[begin:end])
                clipped = gradients if config.clip_norm is None else _clip(gradients, config.clip_norm)
                model.update(clipped, rate, weight_decay=config.weight_decay, momentum=MOMENTUM, decays_biases=False)
                total += loss * (end - begin)
            validation_loss = model.loss(data.validation_x, validation_y)
        if log.add(train_loss=total / rows, validation_loss=validation_loss, learning_rate=rate):
            best = model.to_tensors()
        if log.is_out_of_patience:
            stopped = "patience"
            break
        if should_stop():
            stopped = "asked"
            break
    return Trained(
        architecture=architecture,
        tensors=best,
        epochs_run=log.epochs_run,
        best_epoch=log.best_epoch,
        stopped=stopped,
        history=log.history(),
    )


def _clip(gradients: Mapping[str, FloatArray], norm: float) -> Mapping[str, FloatArray]:
    """Scales all gradients by one factor if the norm over all parameters exceeds `norm`."""
    length = math.sqrt(sum(float(np.square(gradient, dtype=np.float64).sum()) for gradient in gradients.values()))
    if length <= norm:
        return gradients
    return {name: gradient * np.float32(norm / length) for name, gradient in gradients.items()}


def _as_targets(y: NDArray[np.generic], architecture: MLPConfig) -> NDArray[np.generic]:
    """Returns class indices unchanged, `(rows,)`, and values as columns, `(rows, out)`, like the network's output."""
    return y.reshape(len(y), architecture.out_features) if architecture.task == "regression" else y
