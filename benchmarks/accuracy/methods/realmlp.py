"""pytabkit's RealMLP-TD (Holzmüller, Grinsztajn & Steinwart 2024, "Better by Default"), one network on this split."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

from benchmarks.accuracy.problem import Problem


def predict(problem: Problem, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Returns probabilities `(test rows, classes)` or values `(test rows,)`.

    Args:
        problem: problem whose validation part chooses the best epoch.
        settings: settings of the estimator, in addition to its defaults.
    """
    torch.set_num_threads(1)
    is_classes = problem.task == "classification"
    features = problem.features.copy()
    for name in problem.numeric:  # RealMLP allows gaps in categories, but not in numbers
        features[name] = features[name].fillna(features[name].iloc[problem.split.train].median())
    train, validation, test = (
        features.iloc[rows].reset_index(drop=True)
        for rows in (problem.split.train, problem.split.validation, problem.split.test)
    )
    estimator = RealMLP_TD_Classifier if is_classes else RealMLP_TD_Regressor
    model = estimator(device="cpu", n_threads=1, random_state=problem.seed, **settings)
    model.fit(train, problem.y[problem.split.train], validation, problem.y[problem.split.validation])
    answers = model.predict_proba(test) if is_classes else model.predict(test)
    return np.asarray(answers, dtype=np.float64), {}
