"""Preprocessing for scikit-learn's linear models and MLP: imputation, scaling and one-hot encoding."""

from __future__ import annotations

from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from benchmarks.accuracy.problem import Problem


def prepared(problem: Problem) -> tuple[Any, Any, Any]:
    """Returns train, validation and test part as matrices; all statistics come from the training part."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=2)
    columns = ColumnTransformer(
        [("numbers", numbers, problem.numeric), ("categories", categories, problem.categorical)]
    )
    text = problem.features.astype(dict.fromkeys(problem.categorical, object))
    split = problem.split
    train = columns.fit_transform(text.iloc[split.train])
    return train, columns.transform(text.iloc[split.validation]), columns.transform(text.iloc[split.test])
