"""scikit-learn's MLP at its defaults (100 ReLU units, Adam), with the best epoch by validation score."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.accuracy.methods.preparation import prepared
from benchmarks.accuracy.problem import Learned, Problem

_EPOCHS, _PATIENCE = 300, 30


def learn(problem: Problem) -> Learned:
    """Learns a problem; the notes have the number of the epoch that was kept."""
    encoded = prepared(problem)
    train, validation = encoded(problem.split.train), encoded(problem.split.validation)
    is_classes = problem.task == "classification"
    y_train, y_validation = problem.y[problem.split.train], problem.y[problem.split.validation]
    # A regression's target is standardised, since the MLP does not learn the scale of dollars.
    mean, scale = (0.0, 1.0) if is_classes else (float(y_train.mean()), float(y_train.std()))
    model = (MLPClassifier if is_classes else MLPRegressor)(random_state=problem.seed)
    classes = {"classes": np.arange(len(problem.labels))} if is_classes else {}
    best, best_epoch, best_loss = model, 0, np.inf
    for epoch in range(1, _EPOCHS + 1):
        model.partial_fit(train, y_train if is_classes else (y_train - mean) / scale, **classes)
        if is_classes:
            loss = log_loss(y_validation, model.predict_proba(validation), labels=classes["classes"])
        else:
            loss = mean_squared_error(y_validation, mean + scale * model.predict(validation))
        if loss < best_loss:
            best, best_epoch, best_loss = copy.deepcopy(model), epoch, loss
        elif epoch - best_epoch >= _PATIENCE:
            break

    def predict(rows: NDArray[np.int64]) -> Any:
        some = encoded(rows)
        return np.asarray(best.predict_proba(some) if is_classes else mean + scale * best.predict(some))

    return Learned(answers=predict(problem.split.test), predict=predict, notes={"epoch": best_epoch})
