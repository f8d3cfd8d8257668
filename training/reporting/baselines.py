"""Baselines: a linear model and gradient-boosted trees, trained on the same rows as a fitted model.

The trees are scikit-learn's, and also LightGBM's and CatBoost's where these are installed.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from training.data.class_balance import class_balance, is_balanced
from training.data.preprocessing import encode
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.fitted_model import FittedModel
from training.free_cpus import free_cpus
from training.metrics import Metrics, constant_answers, evaluate, variances
from training.reporting.boosting import LearnedRows, libraries
from training.reporting.comparison import (
    CONSTANT,
    LINEAR,
    OURS,
    PARTS,
    TIMED_ROWS,
    TREES,
    Baseline,
    Comparison,
    Difference,
    advice,
    advice_for_linear,
    balanced_gains,
    difference_of,
    preferred,
)
from training.reporting.evaluation import answers_of
from training.threads import limited_threads

_LINEAR_STEPS = 500
_PAIRS = ((LINEAR, OURS), (TREES, OURS), (LINEAR, TREES), (OURS, CONSTANT), (LINEAR, CONSTANT), (TREES, CONSTANT))
_SCIKIT_LEARN = "scikit-learn"
_TIMED_ROUNDS = 5
_SHARED_FROM = 500_000  # cells; for larger tables, the trees use more than one thread
_MAX_CATEGORIES = 254  # the most frequent ones of a column; with the missing value, the trees take at most 255


def compare(model: FittedModel, *, seed: int = 0) -> Comparison:
    """Trains the baselines on the model's training part, with the defaults of their libraries.

    The linear model and scikit-learn's trees do not see the validation part; these trees stop by scikit-learn's own
    rule: above 10,000 rows, a tenth of the rows is held back for early stopping. The trees of LightGBM and CatBoost
    stop by the validation part. The trees that answer the validation part best are compared with the model.

    With folds, the last fold is the validation part, and the baselines learn from the others, as the member of this
    fold did. If the model was trained with balanced classes, so are the baselines, and all are compared by balanced
    accuracy: probabilities of balanced classes are not those of the table.

    Args:
        model: fitted model to compare with.
        seed: seed of the baselines' random numbers.
    """
    table, split = model.table, _apart(model.split)
    x = raw_matrix(table, split.train)  # (all rows, columns)
    # On a small table, the trees' threads mostly wait for each other: 1,200 rows take nine times the CPU time.
    threads = 1 if x.size < _SHARED_FROM else free_cpus()
    rows = _learned_rows(model, split, x, seed=seed, threads=threads)
    train = partial(_trained, model=model, split=split, x=x, threads=threads)
    linear = train(LINEAR, _SCIKIT_LEARN, lambda: _linear(rows))
    trees = [train(TREES, _SCIKIT_LEARN, lambda: _trees(rows))]
    left_out = []
    for library, learn in libraries().items():
        if table.several_targets:
            left_out.append(f"The trees of {library} were not trained: they are compared for one target only.")
            continue
        try:
            trees.append(train(TREES, library, partial(learn, rows)))
        except Exception as error:  # any error of the library: CatBoost, for one, takes no constant columns alone
            left_out.append(f"The trees of {library} could not be trained: {type(error).__name__}: {error}.")
    best = min(trees, key=partial(_validation_error, by_classes=is_balanced(model.checkpoint.training)))
    # Answers for the test part: (rows, classes) probabilities, or (rows, targets) values.
    network, test = model.checkpoint.inference_network(), split.test
    answers: dict[str, NDArray[Any]] = {
        CONSTANT: _constant(model, len(test)),
        OURS: answers_of(network, encode(model.checkpoint.schema, table, test)),
        LINEAR: linear.answers,
        TREES: best.answers,
    }
    is_apart = not np.isin(test, model.split.train).any()
    measures = _gains(model, table.target[test], answers) if is_apart else {}
    differences = tuple(
        difference_of(of, over, measure, gains[of] - gains[over])
        for measure, gains in measures.items()
        for of, over in _PAIRS
    )
    chosen = best.baseline.library if len(trees) > 1 else None
    said, preferred_model = _advised(model, differences, chosen)
    encoded = encode(model.checkpoint.schema, table, np.resize(test, TIMED_ROWS))
    with limited_threads(1):
        seconds = _seconds_of(lambda: network.answer(encoded))
    return Comparison(
        constant={
            "validation": replace(model, split=split).constant_metrics("validation"),
            "test": model.constant_metrics(),
        },
        ours=_own_metrics(model, split),
        baselines=(linear.baseline, *(one.baseline for one in trees)),
        differences=differences,
        advice=said,
        preferred=preferred_model,
        trees=best.baseline.library,
        seconds=seconds,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trained:
    """A trained baseline.

    Attributes:
        baseline: baseline with its metrics.
        answers: (rows, classes) probabilities or (rows, 1) values for the test part.
    """

    baseline: Baseline
    answers: NDArray[np.floating[Any]]


def _apart(split: Split) -> Split:
    """Returns a split whose validation part is apart from the training part: with folds, the last fold.

    In a split by time the last fold is the newest one.
    """
    if split.folds is None:
        return split
    is_last = split.folds == split.folds.max()
    return replace(split, train=split.train[~is_last], validation=split.train[is_last], folds=None)


def _own_metrics(model: FittedModel, split: Split) -> dict[str, Metrics]:
    """Returns the metrics of the model by part; with folds, those of its out-of-fold answers to the last fold."""
    own = {part: model.metrics[part] for part in PARTS}
    found = model.out_of_fold
    if found is None or split is model.split:
        return own
    answers = found.answers[found.fold == found.fold.max()]
    truth = model.table.target[split.validation]
    return own | {"validation": model.metrics_of(answers, truth, output=model.trained.architecture.output)}


def _constant(model: FittedModel, rows: int) -> NDArray[np.float64]:
    """Returns the constant answers of the model's training part, those of `FittedModel.constant_metrics`."""
    table, train = model.table, model.split.train
    return constant_answers(table.target[train], rows, classes=len(table.labels), weight=table.weights_of(train))


def _validation_error(one: _Trained, *, by_classes: bool) -> float:
    """Returns the figure of the validation part by which trees are chosen; less is better.

    Args:
        one: trained trees.
        by_classes: True to choose by balanced accuracy.
    """
    metrics = one.baseline.metrics["validation"]
    if by_classes:
        return -float(metrics["balanced_accuracy"])
    return float(metrics["log_loss"] if "log_loss" in metrics else metrics["rmse"])


def _learned_rows(model: FittedModel, split: Split, x: NDArray[np.float64], *, seed: int, threads: int) -> LearnedRows:
    table = model.table
    weight = table.weight
    if weight is not None:  # as the linear engine does, since the penalty of a linear model has no scale of its own
        weight = weight / weight[split.train].mean()
    if is_balanced(model.checkpoint.training):
        weight = np.ones(table.rows) if weight is None else weight
        balance = class_balance(table.target[split.train], len(table.labels), weight[split.train])  # (classes,)
        weight = weight * balance[table.target]
    return LearnedRows(
        x=x[split.train],
        y=table.target[split.train],
        weight=None if weight is None else weight[split.train],
        validation_x=x[split.validation],
        validation_y=table.target[split.validation],
        validation_weight=None if weight is None else weight[split.validation],
        is_name=np.array([isinstance(values, DictionaryColumn) for values in table.features.values()]),
        has_classes=bool(table.labels),
        seed=seed,
        threads=threads,
    )


def _trained(
    name: str,
    library: str,
    train: Callable[[], Any],
    *,
    model: FittedModel,
    split: Split,
    x: NDArray[np.float64],
    threads: int,
) -> _Trained:
    """Trains and evaluates a baseline.

    Args:
        name: name of the baseline in sentences.
        library: name of the library.
        train: function that returns the trained estimator.
        model: model to compare with.
        split: rows of each part for the baseline.
        x: `(all rows, columns)` features.
        threads: number of CPU threads of the training.
    """
    table, classes = model.table, len(model.table.labels)
    output: Output = "softmax" if classes else "linear"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result after this many steps is good enough
        warnings.filterwarnings("ignore", "X does not have valid feature names")  # LightGBM has given it names
        with limited_threads(threads):
            estimator = train()
            found = {part: _answers(estimator, x[getattr(split, part)], classes) for part in PARTS}
        timed = x[np.resize(split.test, TIMED_ROWS)]
        with limited_threads(1):
            seconds = _seconds_of(lambda: _answers(estimator, timed, classes))
    baseline = Baseline(
        name=name,
        library=library,
        estimator=_estimator_name(estimator),
        metrics={
            part: evaluate(
                output,
                found[part],
                table.target[getattr(split, part)],
                targets=model.checkpoint.schema.values,
                is_balanced=is_balanced(model.checkpoint.training),
            )
            for part in PARTS
        },
        seconds=seconds,
    )
    return _Trained(baseline=baseline, answers=found["test"])


def _seconds_of(answer: Callable[[], object]) -> float:
    """Returns the shortest of some durations of a call, in seconds."""
    durations = []
    for _ in range(_TIMED_ROUNDS):
        begin = time.perf_counter()
        answer()
        durations.append(time.perf_counter() - begin)
    return min(durations)


def _advised(model: FittedModel, differences: tuple[Difference, ...], library: str | None) -> tuple[str, str | None]:
    """Returns a sentence on which model to use, and the name of that model.

    Args:
        model: model to compare with.
        differences: differences between the model and the baselines.
        library: library of the trees, for the sentence; None if there is only one.
    """
    rows = len(model.split.test)
    if model.checkpoint.training.get("engine") == "linear":  # one of the baselines itself: only the trees are compared
        return advice_for_linear(differences, rows=rows, library=library)
    return advice(differences, rows=rows, library=library), preferred(differences)


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


def _linear(rows: LearnedRows) -> Any:
    """Trains the linear model."""
    numeric = make_pipeline(SimpleImputer(keep_empty_features=True, add_indicator=True), StandardScaler())
    encoded = ColumnTransformer(
        [
            ("numbers", numeric, np.flatnonzero(~rows.is_name)),
            ("names", OneHotEncoder(handle_unknown="ignore"), np.flatnonzero(rows.is_name)),
        ]
    )
    last = LogisticRegression(max_iter=_LINEAR_STEPS) if rows.has_classes else Ridge()
    weights = {} if rows.weight is None else {f"{type(last).__name__.lower()}__sample_weight": rows.weight}
    return make_pipeline(encoded, last).fit(rows.x, rows.y, **weights)


def _trees(rows: LearnedRows) -> Any:
    """Trains scikit-learn's trees, for several targets one estimator for each."""
    if rows.y.ndim == 2:
        return _TreesOfTargets([_trees(replace(rows, y=own)) for own in rows.y.T])
    kind = HistGradientBoostingClassifier if rows.has_classes else HistGradientBoostingRegressor
    estimator = kind(categorical_features=rows.is_name, random_state=rows.seed)
    return estimator.fit(rows.x, rows.y, sample_weight=rows.weight)


class _TreesOfTargets:
    """An estimator for each of several targets.

    Attributes:
        name: name of the class of the estimators.
    """

    def __init__(self, estimators: Sequence[Any]) -> None:
        self._estimators = estimators
        self.name = type(estimators[0]).__name__

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns `(rows, targets)` values."""
        return np.column_stack([estimator.predict(x) for estimator in self._estimators])


def _estimator_name(estimator: Any) -> str:
    steps = getattr(estimator, "steps", None)
    return getattr(estimator, "name", type(estimator if steps is None else steps[-1][1]).__name__)


def _answers(estimator: Any, x: NDArray[np.float64], classes: int) -> NDArray[np.floating[Any]]:
    """Returns (rows, classes) probabilities, 0 for a class that the training part lacks; or (rows, targets) values."""
    if not classes:
        return np.asarray(estimator.predict(x), dtype=np.float64).reshape(len(x), -1)
    probabilities = np.zeros((len(x), classes), dtype=np.float32)
    probabilities[:, estimator.classes_] = estimator.predict_proba(x)
    return probabilities


def _gains(
    model: FittedModel, truth: NDArray[Any], answers: Mapping[str, NDArray[np.floating[Any]]]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Returns by measure and model the `(rows,)` contributions of the rows to the measure; more is better."""
    if model.table.several_targets:
        spreads = variances(truth)  # (targets,)
        if not (varies := spreads > 0).any():
            return {}
        squares = {name: np.square(values - truth)[:, varies] / spreads[varies] for name, values in answers.items()}
        return {"r2": {name: -own.mean(axis=1) for name, own in squares.items()}}
    if not model.table.labels:
        spread = float(variances(truth))
        if spread == 0:
            return {}
        return {"r2": {name: -np.square(values[:, 0] - truth) / spread for name, values in answers.items()}}
    if is_balanced(model.checkpoint.training):
        gains = {name: balanced_gains(values.argmax(axis=1) == truth, truth) for name, values in answers.items()}
        return {"balanced_accuracy": gains}
    right = {name: (values.argmax(axis=1) == truth).astype(np.float64) for name, values in answers.items()}
    if not model.checkpoint.config.has_probabilities:
        return {"accuracy": right}
    return {"accuracy": right, "log_loss": {name: -_log_losses(values, truth) for name, values in answers.items()}}


def _log_losses(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns (rows,) -log p(true class), with the bound of `training.metrics`."""
    of_truth = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return -np.log(np.maximum(of_truth, np.finfo(np.float32).tiny))
