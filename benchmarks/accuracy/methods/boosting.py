"""scikit-learn's HistGradientBoosting, stopped by the validation score and cut back to the best number of trees."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, mean_squared_error

from benchmarks.accuracy.problem import Learned, Problem

_TREES, _PATIENCE = 1000, 20


def learn(problem: Problem) -> Learned:
    """Learns a problem; the notes have the number of trees that were kept."""
    is_classes = problem.task == "classification"
    split, y = problem.split, problem.y
    features = _at_most_255_categories(problem)
    train, validation = (features.iloc[rows] for rows in (split.train, split.validation))
    model = (HistGradientBoostingClassifier if is_classes else HistGradientBoostingRegressor)(
        max_iter=_TREES, early_stopping=True, n_iter_no_change=_PATIENCE, random_state=problem.seed
    )
    model.fit(train, y[split.train], X_val=validation, y_val=y[split.validation])
    if is_classes:
        labels = range(len(problem.labels))
        losses = [log_loss(y[split.validation], p, labels=labels) for p in model.staged_predict_proba(validation)]
    else:
        losses = [mean_squared_error(y[split.validation], p) for p in model.staged_predict(validation)]
    best = int(np.argmin(losses))

    def predict(rows: NDArray[np.int64]) -> Any:
        some = features.iloc[rows]
        staged: Iterator[Any] = model.staged_predict_proba(some) if is_classes else model.staged_predict(some)
        return np.asarray(next(islice(staged, best, None)))

    return Learned(answers=predict(split.test), predict=predict, notes={"trees": best + 1})


def _at_most_255_categories(problem: Problem) -> Any:
    """Returns the features with at most 255 categories per column, since the estimator has no more bins.

    The rarest categories of the training part become missing.
    """
    features = problem.features.copy()
    for name in problem.categorical:
        if len(features[name].cat.categories) > 255:
            kept = list(features[name].iloc[problem.split.train].value_counts().index[:254])
            features[name] = features[name].cat.set_categories(kept)
    return features
