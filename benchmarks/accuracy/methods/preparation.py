"""Preprocessing for scikit-learn's linear models and MLP: imputation, scaling and one-hot encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.accuracy.problem import Problem


def prepared(problem: Problem) -> Callable[[NDArray[np.int64]], Any]:
    """Returns a function from row numbers to a matrix, whose statistics all come from the training part."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=2)
    columns = ColumnTransformer(
        [("numbers", numbers, problem.numeric), ("categories", categories, problem.categorical)]
    )
    text = problem.features.astype(dict.fromkeys(problem.categorical, object))
    columns.fit(text.iloc[problem.split.train])
    return lambda rows: columns.transform(text.iloc[rows])
