"""Class balance: the classes' shares of the rows, and weight factors under which all classes count the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_balanced(training: Mapping[str, Any]) -> bool:
    """Returns True for a model that was trained with balanced classes (`--class-weight balanced`).

    Args:
        training: section `training` of the checkpoint.
    """
    return bool(training.get("class_weight") == "balanced")


def class_shares(
    target: NDArray[np.int64], n_classes: int, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Returns `(n_classes,)` the share of each class in the total weight of the rows; the shares sum to 1.

    Args:
        target: `(rows,)` class indices.
        n_classes: number of classes; a class without rows has a share of 0.
        weight: `(rows,)` weight of each row; 1 if None.
    """
    of_class = np.bincount(target, weights=weight, minlength=n_classes).astype(np.float64)
    return np.asarray(of_class / of_class.sum())


def least_share(rows: int, n_classes: int) -> float:
    """Returns the share that a class without weight in the training part counts as, since 0 has no logarithm.

    Args:
        rows: number of validation rows, of which such a class is taken to have less than one.
        n_classes: number of classes.
    """
    return 0.5 / max(rows, 1) / n_classes


def class_balance(
    target: NDArray[np.int64], n_classes: int, weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Returns `(n_classes,)` the factor w / (k · w_c) of each class c, for k classes and total weights w and w_c.

    With these factors, all classes weigh the same and the total weight does not change; after King and Zeng (2001),
    Logistic regression in rare events data.

    Args:
        target: `(rows,)` class indices of the training rows.
        n_classes: number of classes; a class without weight has a factor of 1.
        weight: `(rows,)` weight of each row; 1 if None.
    """
    of_class = np.bincount(target, weights=weight, minlength=n_classes).astype(np.float64)  # (n_classes,)
    total = of_class.sum()
    return np.where(of_class > 0, total / (n_classes * np.where(of_class > 0, of_class, 1)), 1.0)
