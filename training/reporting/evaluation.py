"""An evaluation of a fitted model on its test part, as data, which `html` and `card` format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.network.inference_network import InferenceNetwork
from models.network.summary import summarize
from training.data.preprocessing import encode
from training.fitted_model import FittedModel
from training.metrics import HEADLINE, SHOWN_TARGETS, reliability, variances
from training.out_of_fold import OutOfFold
from training.reporting import importance
from training.reporting.class_evaluation import ClassEvaluation, class_evaluation, wilson
from training.reporting.importance import Importance
from training.reporting.shifted import shift_of_logits

MAX_ROWS = 50_000  # rows of the test part that are evaluated
MAX_CLASSES = 20  # rows of the confusion matrix
LARGEST_ERRORS = 6
_POINTS = 800  # points of a scatter plot
_BARS = 31  # bars of a histogram
_WRITING_SECONDS = 0.4  # of the rest of the report, and of the end of the process
_CHUNK = 8_192  # rows of one forward pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """The confusion matrix.

    Attributes:
        labels: labels of the classes; with many classes, the most frequent ones and a last entry for all others.
        counts: number of rows, `counts[truth][answer]`.
        merged: number of classes in the last entry; 0 if each class has its own entry.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    merged: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """A bin of the answers whose confidence is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The reliability curve in bins of equal width over the confidence, and the expected calibration error."""

    bins: tuple[CalibrationBin, ...]
    expected_error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Residuals:
    """The errors of a regression, predicted minus true, in the target's unit.

    Attributes:
        points: (true, predicted) values of some rows.
        edges: edges of the histogram's bars; the outermost bars also contain all errors beyond them.
        counts: number of errors in each bar.
        median_absolute, p90_absolute: median and 90th percentile of the absolute errors.
        bias: mean of the errors.
    """

    points: tuple[tuple[float, float], ...]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median_absolute: float
    p90_absolute: float
    bias: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LargestError:
    """A row with a wrong answer.

    Attributes:
        row: number of the row in the table or the test file that it comes from, from 1.
        truth, answer: true and predicted label or value.
        probability: predicted probability of the true class; None without probabilities.
        features: features by column name, in the form of a request.
        target: target with the greatest error of the row, in standard deviations; None for a model of one target.
    """

    row: int
    truth: str | float
    answer: str | float
    probability: float | None
    features: dict[str, Any]
    target: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldEvaluation:
    """The evaluation of the out-of-fold answers: each row is answered by members that did not learn from the row.

    Attributes:
        rows: number of rows, all of those outside of the test part.
        folds: number of folds.
        confusion, calibration, residuals: parts of the evaluation; None if not applicable to the model.
        of_targets: errors of each of several targets, by name; empty for one target.
    """

    rows: int
    folds: int
    confusion: Confusion | None
    calibration: Calibration | None
    residuals: Residuals | None
    of_targets: Mapping[str, Residuals] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The measurements of a model on its test part.

    Attributes:
        headline: name of the main metric, accuracy or R².
        rows: number of evaluated rows of the test part.
        of: number of rows of the test part.
        trivial: main metric of the best constant answer: the most frequent class, or the mean, of the training part.
        interval: 95 % confidence interval of the accuracy (Wilson 1927); None for a regression.
        confusion, classes, calibration, residuals: parts of the evaluation; None if not applicable to the model.
        importances: importances of the columns, the greatest first.
        importance_rows: number of rows that the importances were measured on.
        importance_note: reason for missing importances; None if these were measured.
        largest_errors: rows with the largest errors.
        out_of_fold: evaluation of the out-of-fold answers; None for a model without folds.
        of_targets: errors of the first of several targets, by name; empty for one target.
    """

    headline: str
    rows: int
    of: int
    trivial: float | None
    interval: tuple[float, float] | None
    confusion: Confusion | None
    classes: ClassEvaluation | None
    calibration: Calibration | None
    residuals: Residuals | None
    importances: tuple[Importance, ...]
    importance_rows: int
    importance_note: str | None
    largest_errors: tuple[LargestError, ...]
    out_of_fold: FoldEvaluation | None = None
    of_targets: Mapping[str, Residuals] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Converts to JSON types."""
        plain: dict[str, Any] = _listed(asdict(self))
        for found in (plain, plain["out_of_fold"], *plain["largest_errors"]):
            if found is not None:  # a model of one target has no such fields
                for name in ("of_targets", "target"):
                    if not found.get(name, True):
                        del found[name]
        return plain


def evaluation_of(model: FittedModel, *, seed: int = 0, seconds: float | None = None) -> Evaluation:
    """Evaluates a model on its test part, or on a random sample of a large test part.

    Args:
        model: fitted model.
        seed: seed of the sample and of the permutations.
        seconds: seconds that are left of the budget of the run, which bounds the measurement of importances; None for
            no budget.
    """
    begun = time.monotonic()
    rng = np.random.default_rng(seed)
    table, schema, test = model.table, model.checkpoint.schema, model.split.test
    rows = test if len(test) <= MAX_ROWS else np.sort(rng.choice(test, MAX_ROWS, replace=False))
    network = model.checkpoint.inference_network()
    x = encode(schema, table, rows)  # (rows, width)
    truth = table.target[rows]  # (rows,)
    answers = answers_of(network, x)  # (rows, out_features)
    left = None if seconds is None else seconds - (time.monotonic() - begun) - _WRITING_SECONDS
    importances, importance_rows, importance_note = _importances(model, network, x, truth, rng, left)
    has_probabilities = model.checkpoint.config.has_probabilities
    is_classification = bool(table.labels)
    return Evaluation(
        headline=HEADLINE[table.task],
        rows=len(rows),
        of=len(test),
        trivial=_trivial(model, truth),
        interval=wilson(int((answers.argmax(axis=1) == truth).sum()), len(truth)) if is_classification else None,
        confusion=_confusion(table.labels, truth, answers.argmax(axis=1)) if is_classification else None,
        classes=(
            class_evaluation(
                table.labels, answers, truth, has_probabilities=has_probabilities, shift=shift_of_logits(model)
            )
            if is_classification
            else None
        ),
        calibration=calibration_of(answers, truth) if has_probabilities else None,
        residuals=_residuals(model, truth, answers, rng),
        importances=importances,
        importance_rows=importance_rows,
        importance_note=importance_note,
        largest_errors=_largest_errors(model, rows, truth, answers),
        out_of_fold=None if model.out_of_fold is None else _of_folds(model, model.out_of_fold, rng),
        of_targets=_residuals_of_targets(model, truth, answers, rng),
    )


def _of_folds(model: FittedModel, found: OutOfFold, rng: np.random.Generator) -> FoldEvaluation:
    labels, truth, answers = model.table.labels, model.table.target[found.rows], found.answers
    return FoldEvaluation(
        rows=len(found.rows),
        folds=int(found.fold.max()) + 1,
        confusion=_confusion(labels, truth, answers.argmax(axis=1)) if labels else None,
        calibration=calibration_of(answers, truth) if model.checkpoint.config.has_probabilities else None,
        residuals=_residuals(model, truth, answers, rng),
        of_targets=_residuals_of_targets(model, truth, answers, rng),
    )


def _residuals(
    model: FittedModel, truth: NDArray[Any], answers: NDArray[Any], rng: np.random.Generator
) -> Residuals | None:
    """Returns the errors of a regression of one target; None for other models."""
    if model.table.labels or model.table.several_targets:
        return None
    return residuals_of(truth, answers[:, 0].astype(np.float64), rng)


def _residuals_of_targets(
    model: FittedModel, truth: NDArray[Any], answers: NDArray[Any], rng: np.random.Generator
) -> dict[str, Residuals]:
    """Returns the errors of the first of several targets by name; empty for one target."""
    names = model.table.several_targets[:SHOWN_TARGETS]
    return {name: residuals_of(truth[:, i], answers[:, i].astype(np.float64), rng) for i, name in enumerate(names)}


def answers_of(network: InferenceNetwork, x: NDArray[np.float32]) -> NDArray[Any]:
    """Answers rows in chunks, which bound the memory of the layers.

    Args:
        network: network that answers.
        x: (rows, in_features) float32 encoded rows.

    Returns:
        (rows, out_features) answers in the target's unit.
    """
    return np.concatenate([network.answer(x[at : at + _CHUNK]) for at in range(0, len(x), _CHUNK)])


def _importances(
    model: FittedModel,
    network: InferenceNetwork,
    x: NDArray[np.float32],
    truth: NDArray[Any],
    rng: np.random.Generator,
    seconds: float | None,
) -> tuple[tuple[Importance, ...], int, str | None]:
    """Returns the importances, the number of rows measured, and a reason if nothing was measured."""
    blocks = importance.blocks_of(model.checkpoint.schema)
    rows = importance.affordable_rows(summarize(model.checkpoint.config), columns=len(blocks), available=len(x))
    if rows and seconds is not None:
        rows = importance.rows_in_time(network.answer, x[:rows], columns=len(blocks), seconds=seconds)
        if rows == 0:
            return (), 0, "Not measured: the budget of the run has no time left for it (a longer --budget has)."
    if rows == 0:
        return (), 0, f"Not measured: {len(blocks):,} columns and a network of this size would take too long."
    chosen = np.arange(len(x)) if rows == len(x) else rng.choice(len(x), rows, replace=False)
    if not model.table.labels and (np.ptp(truth[chosen], axis=0) == 0).any():
        which = "a" if model.table.several_targets else "the"
        return (), 0, f"Not measured: {which} target has one value only in the test part."
    found = importance.permutation_importance(
        network.answer,
        x[chosen],
        score=importance.score_of(HEADLINE[model.table.task], truth[chosen]),
        blocks=blocks,
        repeats=importance.REPEATS,
        rng=rng,
    )
    return found, rows, None


def _trivial(model: FittedModel, truth: NDArray[Any]) -> float | None:
    table, train = model.table, model.split.train
    seen, weight = table.target[train], table.weights_of(train)
    if table.labels:
        return float((truth == np.bincount(seen, weight).argmax()).mean())
    if truth.ndim == 2:
        r2: float | None = model.constant_metrics().get("r2") if len(truth) == len(model.split.test) else None
        return r2
    variance = float(variances(truth))
    if variance == 0:
        return None
    return 1 - float(np.square(truth - np.average(seen, weights=weight)).mean()) / variance


def _confusion(labels: tuple[str, ...], truth: NDArray[np.int64], answer: NDArray[np.int64]) -> Confusion:
    n = len(labels)
    merged = 0
    if n > MAX_CLASSES:
        frequent = np.sort(np.argsort(-np.bincount(truth, minlength=n), kind="stable")[: MAX_CLASSES - 1])
        merged = n - len(frequent)
        place = np.full(n, len(frequent))
        place[frequent] = np.arange(len(frequent))
        labels = (*(labels[i] for i in frequent), f"{merged} others")
        truth, answer, n = place[truth], place[answer], len(labels)
    counts = np.bincount(truth * n + answer, minlength=n * n).reshape(n, n)
    return Confusion(labels=labels, counts=tuple(tuple(row) for row in counts.tolist()), merged=merged)


def calibration_of(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> Calibration:
    """Returns the calibration of answers.

    Args:
        probabilities: `(rows, classes)` predicted probabilities.
        truth: `(rows,)` class indices.
    """
    found = reliability(probabilities, truth)
    bins = zip(
        found.edges[:-1].tolist(),
        found.edges[1:].tolist(),
        found.counts.tolist(),
        found.confidence.tolist(),
        found.accuracy.tolist(),
        strict=True,
    )
    return Calibration(
        bins=tuple(
            CalibrationBin(low=low, high=high, count=count, confidence=confidence, accuracy=accuracy)
            for low, high, count, confidence, accuracy in bins
        ),
        expected_error=found.expected_error,
    )


def residuals_of(truth: NDArray[np.float64], values: NDArray[np.float64], rng: np.random.Generator) -> Residuals:
    """Returns the errors of a regression.

    Args:
        truth: `(rows,)` true values.
        values: `(rows,)` predicted values.
        rng: generator that draws the shown rows.
    """
    errors = values - truth
    shown = np.arange(len(truth)) if len(truth) <= _POINTS else rng.choice(len(truth), _POINTS, replace=False)
    # Clipped, since a single very large error would leave one bar for all others.
    reach = float(np.quantile(np.abs(errors), 0.99)) or 1.0
    counts, edges = np.histogram(np.clip(errors, -reach, reach), bins=_BARS, range=(-reach, reach))
    return Residuals(
        points=tuple(zip(truth[shown].tolist(), values[shown].tolist(), strict=True)),
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        median_absolute=float(np.median(np.abs(errors))),
        p90_absolute=float(np.quantile(np.abs(errors), 0.9)),
        bias=float(errors.mean()),
    )


def _largest_errors(
    model: FittedModel, rows: NDArray[np.int64], truth: NDArray[Any], answers: NDArray[Any]
) -> tuple[LargestError, ...]:
    labels = model.table.labels
    if labels:
        of_truth = answers[np.arange(len(truth)), truth]
        wrong = np.flatnonzero(answers.argmax(axis=1) != truth)
        order = wrong[np.argsort(of_truth[wrong], kind="stable")]
        worst = np.zeros(len(truth), dtype=np.int64)
    else:
        spread = np.array([target.std for target in model.checkpoint.schema.values])
        errors = np.abs(answers - truth.reshape(answers.shape)) / (spread if len(spread) > 1 else 1.0)
        worst = errors.argmax(axis=1)  # (rows,) target with the greatest error
        order = np.argsort(-errors.max(axis=1), kind="stable")
        truth = truth.reshape(answers.shape)
    has_probabilities = model.checkpoint.config.has_probabilities
    return tuple(
        LargestError(
            row=model.table.row_number(int(rows[i])),
            truth=labels[truth[i]] if labels else float(truth[i, worst[i]]),
            answer=labels[answers[i].argmax()] if labels else float(answers[i, worst[i]]),
            probability=float(of_truth[i]) if has_probabilities else None,
            features=model.table.example(int(rows[i])),
            target=model.table.several_targets[worst[i]] if model.table.several_targets else None,
        )
        for i in order[:LARGEST_ERRORS]
    )


def _listed(value: Any) -> Any:
    """Converts tuples to lists, recursively."""
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value
