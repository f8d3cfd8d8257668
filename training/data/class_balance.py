"""Class balance: the classes' shares, and factors on the rows' weights under which every class counts the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def class_shares(
    target: NDArray[np.int64], n_classes: int, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """`(n_classes,)` the share of each class in the rows' weight; they sum to 1.

    Args:
        target: `(rows,)` class indices.
        n_classes: number of classes; one without rows has a share of 0.
        weight: `(rows,)` what each row weighs; 1 if None.
    """
    of_class = np.bincount(target, weights=weight, minlength=n_classes).astype(np.float64)
    return np.asarray(of_class / of_class.sum())


def class_balance(
    target: NDArray[np.int64], n_classes: int, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """`(n_classes,)` the factor w / (k · w_c) of each class: k classes, rows that weigh w, of which class c weighs w_c.

    All rows together then weigh what they did, and every class the same; after King and Zeng (2001), Logistic
    regression in rare events data.

    Args:
        target: `(rows,)` class indices, of the rows that are learned from.
        n_classes: how many classes there are; one without weight has a factor of 1.
        weight: `(rows,)` what each row weighs; 1 if None.
    """
    of_class = np.bincount(target, weights=weight, minlength=n_classes).astype(np.float64)  # (n_classes,)
    total = of_class.sum()
    return np.where(of_class > 0, total / (n_classes * np.where(of_class > 0, of_class, 1)), 1.0)
