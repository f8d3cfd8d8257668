"""The choice among the configurations of a portfolio by the out-of-fold answers, and the ensemble of the chosen ones.

Each configuration has out-of-fold answers to all rows of training, so that all are compared on the same rows. Those
that greedy selection gives a weight stay, with all networks of their folds; the others leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from training.calibration import Calibration, fit_calibration
from training.config import TrainConfig
from training.data.class_balance import class_shares
from training.engines.engine import Trained
from training.ensemble_selection import Answers, Figure, select
from training.metrics import DEVIANCES, pinball_losses
from training.out_of_fold import answers_of_configurations
from training.portfolio import CONFIGURATIONS
from training.prepared_rows import PreparedRows
from training.remaining_members import diverged_sentence

_TINY = 1e-30
# Names of the figures in a checkpoint and a report. Of the shares of pairs in order and right answers, the complement.
_FIGURES = {
    "auc": "ranking_error",
    "accuracy": "error",
    "balanced-accuracy": "balanced_error",
    "mae": "mae",
    "quantile": "pinball_loss",
    "poisson": "poisson_deviance",
    "gamma": "gamma_deviance",
    "bernoulli": "bernoulli_deviance",
}


def choose_configurations(
    config: TrainConfig, rows: PreparedRows, trained: Trained
) -> tuple[Trained, list[dict[str, Any]]]:
    """Weighs the configurations of a portfolio by greedy selection, and removes those without weight.

    The networks of each configuration are calibrated first if the run calibrates: a configuration with smoothed labels
    would otherwise lose to one without by a temperature that is corrected anyway.

    Args:
        config: settings of the run.
        rows: encoded rows of the run, with folds.
        trained: result of the engine, with the members of all configurations.

    Returns:
        The result of the engine with the networks of the chosen configurations alone, the one with the greatest weight
        first, and with a sentence for the user as the verdict; and name, settings, weight and out-of-fold figure of
        each configuration, chosen or not, as JSON types; the figure is None if the configuration diverged.

    Raises:
        TrainingError: no configuration has finite answers.
    """
    tensors = {name: tensor.copy() for name, tensor in trained.tensors.items()}
    diverged = {member // config.members: epoch for member, epoch in sorted(trained.diverged.items(), reverse=True)}
    answers = _answers(config, rows, trained, tensors, diverged=diverged)
    name, figure = _figure(config, rows, answers.shape[2])
    counts = select(answers, figure)
    alone = [figure(own)[0] if np.isfinite(own).all() else math.nan for own in answers]
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda at: (-counts[at], alone[at]))
    places = [at * config.members + fold for at in order for fold in range(config.members)]
    weights = tuple(counts[at] for at in order for _ in range(config.members))
    architecture = replace(
        trained.architecture,
        members=len(places),
        member_weights=None if len(set(weights)) == 1 else weights,
    )
    records = [
        _settings(config, at)
        | {"weight": _short(count / sum(counts)), name: _short(alone[at]) if math.isfinite(alone[at]) else None}
        for at, count in enumerate(counts)
    ]
    mean = np.tensordot(np.array([counts[at] for at in order]) / sum(counts), answers[order], axes=1)
    chosen = replace(
        trained,
        architecture=architecture,
        tensors={key: tensor[places] for key, tensor in tensors.items()},
        verdict=_sentence(records, name, _short(figure(mean)[0]), diverged=diverged),
        diverged={},
    )
    return chosen, records


def _answers(
    config: TrainConfig,
    rows: PreparedRows,
    trained: Trained,
    tensors: dict[str, NDArray[np.float32]],
    *,
    diverged: Collection[int],
) -> NDArray[np.float64]:
    """Returns the out-of-fold answers of each configuration, (configurations, rows, outputs), and calibrates `tensors`.

    The last Linear of a configuration's networks gets the temperature and the shift of the configuration. The answers
    of those that diverged are NaN.
    """
    assert rows.split.folds is not None  # noqa: S101 -- a portfolio needs folds
    network = Checkpoint(config=trained.architecture, schema=rows.schema, tensors=tensors).inference_network()
    uncalibrated = answers_of_configurations(network, rows.x["train"], rows.split.folds)
    found = []
    for at, own in enumerate(CONFIGURATIONS):
        answers = uncalibrated[at].astype(np.float64)
        if at in diverged:
            answers[:] = np.nan
        # Answers of a training that diverged have no calibration, and are not chosen.
        if config.calibrate and trained.architecture.output == "softmax" and np.isfinite(answers).all():
            is_honest = config.select_by == "loss" and not own.label_smoothing * config.label_smoothing
            calibration = _calibration(config, rows, answers, is_honest=is_honest)
            places = slice(at * config.members, (at + 1) * config.members)
            _calibrate(tensors, places, last=len(trained.architecture.layer_sizes) - 2, by=calibration)
            answers = np.maximum(answers, _TINY) ** (1 / calibration.temperature) * np.exp(calibration.shift)
            answers /= answers.sum(axis=1, keepdims=True)
        found.append(answers)
    return np.stack(found)


def _calibration(
    config: TrainConfig, rows: PreparedRows, answers: NDArray[np.float64], *, is_honest: bool
) -> Calibration:
    """Returns the calibration of one configuration's networks."""
    weight = None if rows.weight is None else rows.weight["validation"]
    truth, of_members = rows.y["validation"], answers[None].astype(np.float32)
    shares = class_shares(rows.y["train"], answers.shape[1], weight)
    return fit_calibration(of_members, truth, weight, shares=shares, has_bias=config.bias, is_honest=is_honest)


def _calibrate(tensors: dict[str, NDArray[np.float32]], places: slice, *, last: int, by: Calibration) -> None:
    """Divides the logits of some members by a temperature and adds a shift, by their last Linear, in place."""
    weight, bias = f"layers.{last}.weight", f"layers.{last}.bias"
    tensors[weight][places] = tensors[weight][places].astype(np.float64) / by.temperature
    if bias in tensors:
        tensors[bias][places] = tensors[bias][places].astype(np.float64) / by.temperature + by.shift


def _figure(config: TrainConfig, rows: PreparedRows, outputs: int) -> tuple[str, Callable[[Answers], Figure]]:
    """Returns the name and the function of the figure by which configurations are chosen."""
    truth = rows.y["validation"]
    weight = np.ones(len(truth)) if rows.weight is None else rows.weight["validation"]
    if not rows.architecture.n_classes:
        spread = np.array([target.std for target in rows.schema.values]) if truth.ndim == 2 else None
        figure = _figure_of_values(config, truth.astype(np.float64), weight, spread)
        return _FIGURES.get(config.metric or "", "rmse"), figure
    places = np.arange(len(truth))
    shares = class_shares(rows.y["train"], outputs, weight)
    share = np.average

    def log_loss(answers: Answers) -> Figure:
        return (float(-share(np.log(np.maximum(answers[places, truth], _TINY)), weights=weight)),)

    def error(answers: Answers) -> Figure:
        return (float(share(answers.argmax(axis=1) != truth, weights=weight)), *log_loss(answers))

    def balanced_error(answers: Answers) -> Figure:
        wrong = weight * ((answers / np.maximum(shares, _TINY)).argmax(axis=1) != truth)
        of_classes, rows_of = (np.bincount(truth, values, minlength=outputs) for values in (wrong, weight))
        return (float((of_classes[rows_of > 0] / rows_of[rows_of > 0]).mean()), *log_loss(answers))

    def ranking_error(answers: Answers) -> Figure:
        # Imported here, as it imports torch.
        from training.engines.selection import area_under_roc

        return (1 - area_under_roc(answers[:, 1], truth, weight), *log_loss(answers))

    by_metric = {"auc": ranking_error, "accuracy": error, "balanced-accuracy": balanced_error}
    # For F1 the probabilities count: its decision is chosen afterwards.
    return _FIGURES.get(config.metric or "", "log_loss"), by_metric.get(config.metric or "", log_loss)


def _figure_of_values(
    config: TrainConfig, truth: NDArray[np.float64], weight: NDArray[np.float64], spread: NDArray[np.float64] | None
) -> Callable[[Answers], Figure]:
    """Returns the function of a figure of values, `(rows,)`, or of several targets in units of their spreads."""
    deviances = DEVIANCES.get(_FIGURES.get(config.metric or "", ""))

    def figure(answers: Answers) -> Figure:
        if deviances is not None:
            values = answers if truth.ndim == 2 else answers[:, 0]
            losses = deviances(values.astype(np.float64), truth)
            return (float(np.average(losses if losses.ndim == 1 else losses.mean(axis=1), weights=weight)),)
        errors = truth - answers[:, 0] if spread is None else (truth - answers) / spread
        if config.quantile is not None:
            return (mean_loss(pinball_losses(errors, config.quantile)),)
        if config.metric == "mae":
            return (mean_loss(np.abs(errors)),)
        return (math.sqrt(mean_loss(np.square(errors))),)

    def mean_loss(losses: NDArray[np.float64]) -> float:
        return float(np.average(losses if spread is None else losses.mean(axis=1), weights=weight))

    return figure


def _settings(config: TrainConfig, at: int) -> dict[str, Any]:
    """Returns the name of a configuration and its values of the settings in which configurations differ."""
    own = CONFIGURATIONS[at]
    return {
        "name": own.name,
        "learning_rate": _short(own.learning_rate * config.learning_rate),
        "dropout": _short(own.dropout_of(config.dropout)),
        "weight_decay": _short(own.weight_decay * config.weight_decay),
        "label_smoothing": _short(own.label_smoothing * config.label_smoothing),
    }


def _sentence(records: list[dict[str, Any]], figure: str, reached: float, *, diverged: Mapping[int, int]) -> str:
    """Returns sentences for the user on the choice; `reached` is the out-of-fold figure of the weighted mean."""
    said = _sentence_of_chosen(records, figure, reached)
    if not diverged:
        return said
    names = {records[at]["name"]: diverged[at] for at in sorted(diverged)}
    return f"{said} {diverged_sentence(names, of=f'{len(records)} configurations', whole='the choice')}"


def _sentence_of_chosen(records: list[dict[str, Any]], figure: str, reached: float) -> str:
    chosen = sorted((record for record in records if record["weight"]), key=lambda record: -record["weight"])
    in_words = figure.replace("_", " ")
    reached_alone = min(record[figure] for record in records if record[figure] is not None)
    best = f"{in_words} {reached_alone:.4g} out of fold"
    if len(chosen) == 1:
        return f"Portfolio: the model has one of {len(records)} configurations, {chosen[0]['name']}, with {best}."
    names = ", ".join(f"{record['name']} {record['weight']:.3g}" for record in chosen)
    return (
        f"Portfolio: the model has {len(chosen)} of {len(records)} configurations, with the weights {names}. Their "
        f"mean has {in_words} {reached:.4g} out of fold; the best configuration alone has {best}."
    )


def _short(value: float) -> float:
    return float(f"{value:.6g}")
