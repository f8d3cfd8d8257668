"""Gradient-boosted trees of LightGBM and CatBoost, as further baselines where these libraries are installed.

Both stop early by the validation part, as the model itself chooses its epoch by that part.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_TREES = 2_000
_PATIENCE = 50  # trees without a better validation loss, after which the training stops

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedRows:
    """The rows from which a baseline learns.

    Attributes:
        x: `(training rows, columns)` numbers, ranks of categories and days, NaN for missing.
        y: `(training rows,)` class indices or values.
        weight: `(training rows,)` relative weight of each row; None for equal weights.
        validation_x: `(validation rows, columns)` as `x`.
        validation_y: `(validation rows,)` as `y`.
        validation_weight: `(validation rows,)` as `weight`.
        is_name: `(columns,)` True for a column of categories.
        has_classes: True for a classification.
        seed: seed of the random numbers.
        threads: number of CPU threads.
    """

    x: Matrix
    y: NDArray[Any]
    weight: NDArray[np.float64] | None
    validation_x: Matrix
    validation_y: NDArray[Any]
    validation_weight: NDArray[np.float64] | None
    is_name: NDArray[np.bool_]
    has_classes: bool
    seed: int
    threads: int

    def known_validation(self) -> tuple[Matrix, NDArray[Any], NDArray[np.float64] | None]:
        """Returns `x`, `y` and `weight` of the validation rows whose class is in the training part.

        No library takes another class.
        """
        if not self.has_classes:
            return self.validation_x, self.validation_y, self.validation_weight
        is_known = np.isin(self.validation_y, self.y)
        weight = None if self.validation_weight is None else self.validation_weight[is_known]
        return self.validation_x[is_known], self.validation_y[is_known], weight


def libraries() -> Mapping[str, Callable[[LearnedRows], Any]]:
    """Returns the function that trains the trees of each installed library, by the name of the library.

    A trained estimator has `predict`, and for classes `predict_proba` and `classes_`. A library that is there and
    cannot be imported, for want of a shared library of the system, counts as not installed.
    """
    known = {"lightgbm": ("LightGBM", _train_lightgbm), "catboost": ("CatBoost", _train_catboost)}
    return {name: train for module, (name, train) in known.items() if _can_import(module)}


def _can_import(module: str) -> bool:
    try:
        importlib.import_module(module)
    except (ImportError, OSError):
        return False
    return True


def _train_lightgbm(rows: LearnedRows) -> Any:
    import lightgbm

    kind = lightgbm.LGBMClassifier if rows.has_classes else lightgbm.LGBMRegressor
    estimator = kind(n_estimators=_MOST_TREES, random_state=rows.seed, n_jobs=rows.threads, verbose=-1)
    validation_x, validation_y, weight = rows.known_validation()
    # LightGBM 4.7 has two arguments in place of the older one.
    has_two = "eval_X" in inspect.signature(kind.fit).parameters
    evaluated: dict[str, Any] = (
        {"eval_X": validation_x, "eval_y": validation_y} if has_two else {"eval_set": [(validation_x, validation_y)]}
    )
    if weight is not None:
        evaluated["eval_sample_weight"] = [weight]
    estimator.fit(
        rows.x,
        rows.y,
        sample_weight=rows.weight,
        categorical_feature=np.flatnonzero(rows.is_name).tolist(),
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        **evaluated,
    )
    estimator.set_params(n_jobs=1)  # answers, which are timed, take one thread
    return estimator


def _train_catboost(rows: LearnedRows) -> Any:
    import catboost

    kind = catboost.CatBoostClassifier if rows.has_classes else catboost.CatBoostRegressor
    names = np.flatnonzero(rows.is_name).tolist()
    estimator = kind(
        iterations=_MOST_TREES,
        early_stopping_rounds=_PATIENCE,
        cat_features=names,
        random_seed=rows.seed,
        thread_count=rows.threads,
        allow_writing_files=False,
        verbose=False,
    )
    validation_x, validation_y, weight = rows.known_validation()
    estimator.fit(
        _cells(rows.x, names),
        rows.y,
        sample_weight=rows.weight,
        eval_set=catboost.Pool(_cells(validation_x, names), validation_y, cat_features=names, weight=weight),
    )
    return _OnCells(estimator, names)


class _OnCells:
    """A trained estimator of CatBoost, which takes the matrix that the other estimators take."""

    def __init__(self, estimator: Any, names: list[int]) -> None:
        self.name = type(estimator).__name__
        self._estimator, self._names = estimator, names

    @property
    def classes_(self) -> NDArray[Any]:
        """Class indices, in the order of the probabilities."""
        return np.asarray(self._estimator.classes_)

    def predict(self, x: Matrix) -> NDArray[Any]:
        """Returns `(rows,)` values."""
        return np.asarray(self._estimator.predict(_cells(x, self._names), thread_count=1))

    def predict_proba(self, x: Matrix) -> NDArray[Any]:
        """Returns `(rows, classes)` probabilities."""
        return np.asarray(self._estimator.predict_proba(_cells(x, self._names), thread_count=1))


def _cells(x: Matrix, names: list[int]) -> Any:
    """Returns a matrix in the form that CatBoost takes: categories as whole numbers, -1 for missing."""
    if not names:
        return x
    cells = x.astype(object)
    for at in names:
        cells[:, at] = np.where(np.isnan(x[:, at]), -1, x[:, at]).astype(np.int64)
    return cells
