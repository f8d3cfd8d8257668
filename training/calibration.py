"""Honest probabilities: one temperature for all logits, fitted on rows that the network did not learn from.

Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks. It changes no prediction of a single
network: only how sure it is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_RANGE = (math.log(0.05), math.log(20.0))  # of ln T: beyond it, something else is wrong
# Before any evidence, ln T is taken to be normal about 0 with this deviation. Where a few validation rows are all
# right, likelihood alone would have a temperature of 0, which is certainty.
_PRIOR_STD = 0.5
_TINY = 1e-30


def fit_temperature(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], weight: NDArray[np.float64] | None = None
) -> float:
    """The temperature that is likeliest, given the truth and that most are near 1.

    Args:
        probabilities: `(members, rows, classes)` of each member, at a temperature of 1.
        truth: `(rows,)` class indices.
        weight: `(rows,)` how much each row counts; None for all alike.
    """
    # Imported here: SciPy's optimisers take a moment, and a regression needs none.
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(probabilities.astype(np.float64), _TINY))
    rows = np.arange(len(truth))
    counts = np.ones(len(truth)) if weight is None else weight / weight.mean()

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(axis=-1, keepdims=True)
        of_members = np.exp(scaled)
        of_members /= of_members.sum(axis=-1, keepdims=True)
        of_truth = of_members.mean(axis=0)[rows, truth]
        surprise = -(counts * np.log(np.maximum(of_truth, _TINY))).sum()
        return float(surprise + 0.5 * (log_temperature / _PRIOR_STD) ** 2)

    found = minimize_scalar(loss, bounds=_RANGE, method="bounded", options={"xatol": 1e-4})
    return float(f"{math.exp(found.x):.6g}")
