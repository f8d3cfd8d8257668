"""Class balance: row weights under which every class counts the same, however rare it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def balanced_weights(target: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    """`(rows,)` the weight n / (k · n_c) of each row's class: k classes, n rows, n_c of them of class c.

    All rows together weigh n, and every class n / k; after King and Zeng (2001), Logistic regression in rare events
    data.

    Args:
        target: `(rows,)` class indices.
        n_classes: how many classes there are; one without a row weighs nothing.
    """
    counts = np.bincount(target, minlength=n_classes)  # (n_classes,)
    weights: NDArray[np.float64] = (len(target) / (n_classes * np.maximum(counts, 1)))[target]
    return weights
