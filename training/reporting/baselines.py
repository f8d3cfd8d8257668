"""Baselines: a linear model and gradient-boosted trees, trained by scikit-learn on the same rows as a fitted model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models.columns.dictionary_column import DictionaryColumn
from models.network.config import Output
from training.data.preprocessing import encode
from training.data.training_table import TrainingTable
from training.fitted_model import FittedModel
from training.free_cpus import free_cpus
from training.metrics import constant_answers, evaluate
from training.reporting.comparison import (
    CONSTANT,
    LINEAR,
    OURS,
    PARTS,
    TREES,
    Baseline,
    Comparison,
    Difference,
    advice,
    advice_for_linear,
    difference_of,
    preferred,
)
from training.reporting.evaluation import answers_of
from training.threads import limited_threads

_LINEAR_STEPS = 500
_PAIRS = ((LINEAR, OURS), (TREES, OURS), (LINEAR, TREES), (OURS, CONSTANT), (LINEAR, CONSTANT), (TREES, CONSTANT))
_SHARED_FROM = 500_000  # cells; for larger tables, the trees use more than one thread
_MAX_CATEGORIES = 254  # the most frequent ones of a column; with the missing value, the trees take at most 255


def compare(model: FittedModel, *, seed: int = 0) -> Comparison:
    """Trains both baselines, at scikit-learn's defaults, on the model's training part.

    Neither baseline sees the validation part. The trees stop by scikit-learn's own rule: above 10,000 rows, a tenth of
    the rows is held back for early stopping.

    Args:
        model: fitted model to compare with.
        seed: seed of the baselines' random numbers.
    """
    table, split = model.table, model.split
    x = raw_matrix(table, split.train)  # (all rows, columns)
    is_name = np.array([isinstance(values, DictionaryColumn) for values in table.features.values()])
    output: Output = "softmax" if table.labels else "linear"
    # Answers for the test part: (rows, classes) probabilities, or (rows, 1) values.
    network = model.checkpoint.inference_network()
    weight = None if table.weight is None else table.weight[split.train]
    seen = table.target[split.train]
    answers: dict[str, NDArray[Any]] = {
        CONSTANT: constant_answers(seen, len(split.test), classes=len(table.labels), weight=weight)
    }
    answers[OURS] = answers_of(network, encode(model.checkpoint.schema, table, split.test))
    # On a small table, the trees' threads mostly wait for each other: 1,200 rows take nine times the CPU time.
    threads = 1 if x.size < _SHARED_FROM else free_cpus()
    baselines = []
    for name, estimator in ((LINEAR, _linear(table, is_name)), (TREES, _trees(table, is_name, seed))):
        with warnings.catch_warnings(), limited_threads(threads):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the result after this many steps is good enough
            _fit(estimator, table, x, split.train)
        found = {part: _answers(estimator, x[getattr(split, part)], len(table.labels)) for part in PARTS}
        answers[name] = found["test"]
        baselines.append(
            Baseline(
                name=name,
                estimator=_estimator_name(estimator),
                metrics={part: evaluate(output, found[part], table.target[getattr(split, part)]) for part in PARTS},
            )
        )
    is_apart = not np.isin(split.test, split.train).any()
    measures = _gains(model, table.target[split.test], answers) if is_apart else {}
    differences = tuple(
        difference_of(of, over, measure, gains[of] - gains[over])
        for measure, gains in measures.items()
        for of, over in _PAIRS
    )
    said, best = _advised(model, differences)
    return Comparison(
        constant={part: model.constant_metrics(part) for part in PARTS},
        ours={part: model.metrics[part] for part in PARTS},
        baselines=tuple(baselines),
        differences=differences,
        advice=said,
        preferred=best,
    )


def _advised(model: FittedModel, differences: tuple[Difference, ...]) -> tuple[str, str | None]:
    """Returns the advice and the preferred model."""
    rows = len(model.split.test)
    if model.checkpoint.training.get("engine") == "linear":  # one of the baselines itself: only the trees are compared
        return advice_for_linear(differences, rows=rows)
    return advice(differences, rows=rows), preferred(differences)


def raw_matrix(table: TrainingTable, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the feature columns without our encoding: `(rows, columns)` float64, NaN for missing.

    A date becomes a number of days. A category becomes its rank by frequency in the training part; NaN if too rare or
    absent there.
    """
    return np.column_stack(
        [
            _numbered(values, train) if isinstance(values, DictionaryColumn) else _numbers(values)
            for values in table.features.values()
        ]
    )


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    if values.dtype.kind != "M":
        return values.astype(np.float64)
    return np.where(np.isnat(values), np.nan, values.astype("datetime64[s]").astype(np.int64) / 86_400)


def _numbered(values: DictionaryColumn, train: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = values.take(train).counts()  # (names,)
    frequent = np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES]
    frequent = frequent[counts[frequent] > 0]
    number = np.full(len(counts) + 1, np.nan)  # the last entry belongs to code -1, missing
    number[frequent] = np.arange(len(frequent))
    return number[values.codes]


def _linear(table: TrainingTable, is_name: NDArray[np.bool_]) -> Any:
    numeric = make_pipeline(SimpleImputer(keep_empty_features=True, add_indicator=True), StandardScaler())
    encoded = ColumnTransformer(
        [
            ("numbers", numeric, np.flatnonzero(~is_name)),
            ("names", OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(is_name)),
        ]
    )
    return make_pipeline(encoded, LogisticRegression(max_iter=_LINEAR_STEPS) if table.labels else Ridge())


def _trees(table: TrainingTable, is_name: NDArray[np.bool_], seed: int) -> Any:
    kind = HistGradientBoostingClassifier if table.labels else HistGradientBoostingRegressor
    return kind(categorical_features=is_name, random_state=seed)


def _fit(estimator: Any, table: TrainingTable, x: NDArray[np.float64], train: NDArray[np.int64]) -> None:
    if table.weight is None:
        estimator.fit(x[train], table.target[train])
        return
    steps = getattr(estimator, "steps", None)
    name = "sample_weight" if steps is None else f"{steps[-1][0]}__sample_weight"
    estimator.fit(x[train], table.target[train], **{name: table.weight[train]})


def _estimator_name(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return type(estimator if steps is None else steps[-1][1]).__name__


def _answers(estimator: Any, x: NDArray[np.float64], classes: int) -> NDArray[np.floating[Any]]:
    """Returns (rows, classes) probabilities, 0 for a class that the training part lacks; or (rows, 1) values."""
    if not classes:
        return np.asarray(estimator.predict(x), dtype=np.float64)[:, None]
    probabilities = np.zeros((len(x), classes), dtype=np.float32)
    probabilities[:, estimator.classes_] = estimator.predict_proba(x)
    return probabilities


def _gains(
    model: FittedModel, truth: NDArray[Any], answers: Mapping[str, NDArray[np.floating[Any]]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Returns by measure and model the `(rows,)` contributions of the rows to the measure; more is better."""
    if not model.table.labels:
        spread = float(np.square(truth - truth.mean()).mean())
        if spread == 0:
            return {}
        return {"r2": {name: -np.square(values[:, 0] - truth) / spread for name, values in answers.items()}}
    right = {name: (values.argmax(axis=1) == truth).astype(np.float64) for name, values in answers.items()}
    if not model.checkpoint.config.has_probabilities:
        return {"accuracy": right}
    return {"accuracy": right, "log_loss": {name: -_log_losses(values, truth) for name, values in answers.items()}}


def _log_losses(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns (rows,) -log p(true class), with the bound of `training.metrics`."""
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))
