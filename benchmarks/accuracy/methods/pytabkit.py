"""Estimators of pytabkit at their defaults: RealMLP-TD, TabM, CatBoost and LightGBM, on this split.

Holzmüller, Grinsztajn & Steinwart 2024, Better by default; Gorishniy, Kotelnikov & Babenko 2025, TabM.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.problem import Learned, Problem


def learn(problem: Problem, *, estimator: str, for_classes: Any = None, **settings: Any) -> Learned:
    """Learns a problem, whose validation part chooses the best epoch or number of trees.

    Args:
        problem: problem to learn.
        estimator: name of the estimator without its ending, such as `RealMLP_TD`.
        for_classes: settings of a classifier alone; None for no such settings.
        settings: settings of the estimator, in addition to its defaults.
    """
    torch.set_num_threads(1)
    is_classes = problem.task == "classification"
    features = problem.features.copy()
    for name in problem.numeric:  # the networks allow gaps in categories, but not in numbers
        features[name] = features[name].fillna(features[name].iloc[problem.split.train].median())
    split = problem.split
    train, validation = (features.iloc[rows].reset_index(drop=True) for rows in (split.train, split.validation))
    interfaces = importlib.import_module("pytabkit")
    make = getattr(interfaces, f"{estimator}_{'Classifier' if is_classes else 'Regressor'}")
    more = for_classes or {} if is_classes else {}
    model = make(device="cpu", n_threads=1, random_state=problem.seed, **settings, **more)
    model.fit(train, problem.y[split.train], validation, problem.y[split.validation])

    def predict(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        some = features.iloc[rows].reset_index(drop=True)
        return np.asarray(model.predict_proba(some) if is_classes else model.predict(some), dtype=np.float64)

    return Learned(answers=predict(split.test), predict=predict)
