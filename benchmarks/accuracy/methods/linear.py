"""Linear: logistic or ridge regression, with the penalty's strength chosen on the validation part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error

from benchmarks.accuracy.methods.preparation import prepared
from benchmarks.accuracy.problem import Learned, Problem

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def learn(problem: Problem) -> Learned:
    """Learns a problem; the notes have the chosen penalty."""
    encoded = prepared(problem)
    train, validation = encoded(problem.split.train), encoded(problem.split.validation)
    y, split = problem.y, problem.split
    best: tuple[float, float, Any] | None = None
    for strength in _STRENGTHS:
        if problem.task == "classification":
            model = LogisticRegression(C=strength, max_iter=500).fit(train, y[split.train])
            guessed = model.predict_proba(validation)
            loss = log_loss(y[split.validation], guessed, labels=range(len(problem.labels)))
        else:
            model = Ridge(alpha=1 / strength).fit(train, y[split.train])
            loss = mean_squared_error(y[split.validation], model.predict(validation))
        if best is None or loss < best[0]:
            best = (loss, strength, model)
    assert best is not None, "there are strengths"
    _, strength, model = best

    def predict(rows: NDArray[np.int64]) -> Any:
        some = encoded(rows)
        return np.asarray(model.predict_proba(some) if problem.task == "classification" else model.predict(some))

    notes = {"C" if problem.task == "classification" else "1/alpha": strength}
    return Learned(answers=predict(split.test), predict=predict, notes=notes)
