"""Sentences about a fitted model, for the report and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.config import DECIDED_METRICS
from training.data.class_balance import is_balanced
from training.fitted_model import FittedModel
from training.metrics import DEVIANCES, FIGURES, SHOWN_TARGETS, answered_quantile
from training.reporting.comparison import LINEAR, TREES, Comparison
from training.reporting.figures import figure, metric_name, plainly
from training.reporting.keeping import KEEP_LINEAR
from training.run_parts import teacher_settings_of

_RARE_ROWS = 50  # training rows of a class; with fewer, the metrics of the class are uncertain
# Extreme and name of the figure that selects an epoch, by `select_by`; sentences on `last` name no figure.
_SELECTIONS = {
    "loss": ("least", "loss"),
    "error": ("least", "share of wrong answers"),
    "balanced-error": ("least", "balanced error"),
    "auc": ("greatest", "ROC AUC"),
}
_STOPPED = {
    "epochs": "all of them were made",
    "patience": "no later epoch was better for so long that the run ended",
    "asked": "the run was stopped by hand",
    "time": "the time of the run was up",
    "converged": "it converged",
    "cycled": "it went round in a circle",
    "diverged": "it diverged",
}


def beside_constant(model: FittedModel) -> str:
    """Returns a sentence that compares the model with the constant answer, by their metrics on the test part."""
    constant, ours = model.constant_metrics(), model.metrics["test"]
    if not model.table.labels:
        name, answer = _constant_of(model)
        return (
            f"The constant answer, the training part's {answer}, has {metric_name(name)} {figure(constant[name])} on "
            f"the test part; this model has {figure(ours[name])}{_no_better(ours[name] >= constant[name])}"
        )
    named = "The constant answer, the shares of the classes in the training part,"
    judged = _judged(model)
    if judged != "log_loss":
        worse = ours[judged] <= constant[judged]
        return (
            f"{named} has {metric_name(judged)} {figure(constant[judged])} on the test part; this model has "
            f"{figure(ours[judged])}{_no_better(worse)}"
        )
    worse = ours["log_loss"] >= constant["log_loss"]
    return (
        f"{named} has log loss {figure(constant['log_loss'])} and accuracy {figure(constant['accuracy'])} on the test "
        f"part; this model has {figure(ours['log_loss'])} and {figure(ours['accuracy'])}{_no_better(worse)}"
    )


def _judged(model: FittedModel) -> str:
    """Returns the metric by which a classifier is judged: that of the run, or the nearest one of the test part.

    Balanced classes and a decision for a metric shift the probabilities on purpose, and so rule out the log loss. With
    balanced classes, accuracy is no aim either.
    """
    training, ours = model.checkpoint.training, model.metrics["test"]
    metric, by_classes = training.get("metric"), is_balanced(training)
    wanted = [] if metric is None or (by_classes and metric in ("log-loss", "accuracy")) else [FIGURES[metric]]
    if by_classes or metric in DECIDED_METRICS:
        wanted += ["balanced_accuracy", "f1_macro"]
    return next(name for name in (*wanted, "log_loss", "accuracy") if name in ours)


def units_of_several(model: FittedModel) -> str:
    """Returns a sentence on the units of the figures of several targets; empty for one target."""
    targets = model.table.several_targets
    if not targets:
        return ""
    more = len(targets) - SHOWN_TARGETS
    shown = f" Of the {len(targets):,} targets, the first {SHOWN_TARGETS} are shown." if more > 0 else ""
    if model.checkpoint.config.output == "logistic":
        return f"The figures without a name are the means of the targets.{shown}"
    return (
        "The errors of all targets together are in standard deviations of each target, and R² is the mean of the "
        f"targets. The figures of one target are in its own unit.{shown}"
    )


def _constant_of(model: FittedModel) -> tuple[str, str]:
    """Returns the metric of a regression that the best constant has least of, and the constant in words."""
    training = model.checkpoint.training
    quantile = answered_quantile(training)
    if quantile is None:
        judged = FIGURES.get(training.get("metric", ""), "rmse")
        return (judged if judged in DEVIANCES and judged in model.metrics["test"] else "rmse"), "mean"
    return ("mae", "median") if training.get("metric") == "mae" else ("pinball_loss", f"{quantile:g} quantile")


def keeping(comparison: Comparison) -> str:
    """Returns how to keep a baseline that the advice prefers; empty if the advice prefers the model."""
    if comparison.preferred == LINEAR:
        return KEEP_LINEAR
    if comparison.preferred == TREES:
        return "The server does not serve trees; `fit --baselines` prints the Python code that trains and keeps them."
    return ""


def training_in_words(model: FittedModel) -> str:
    """Returns a sentence on the origin of the weights: the kept epoch with the reason, or a direct solution."""
    trained, engine = model.trained, model.checkpoint.training.get("engine")
    if engine == "linear":
        return "A linear model: its weights are the solution of a convex problem, not of steps."
    if engine == "perceptron":
        return f"The weights are those after epoch {trained.epochs_run:,}: {_STOPPED[trained.stopped]}."
    if (distilled := _distilled(model)) is not None:
        return (
            f"The network learned the answers of an ensemble of {distilled['members']:,} members to "
            f"{distilled['rows']:,} rows: the training rows and jittered copies of them. The weights that are kept are "
            f"those after the last epoch, {trained.best_epoch:,}."
        )
    if model.checkpoint.training.get("select_by") == "last":
        return f"The weights are those after the last epoch, {trained.epochs_run:,}: {_STOPPED[trained.stopped]}."
    extreme, figure_name = _selection(model)
    return (
        f"The network went over the training rows up to {trained.epochs_run:,} times (epochs; "
        f"{_STOPPED[trained.stopped]}). The weights that are kept are those after epoch {trained.best_epoch:,}, which "
        f"had the {extreme} {figure_name} on the validation rows."
    )


def epoch_in_words(model: FittedModel) -> str:
    """Returns the line below the number of the kept epoch."""
    trained = model.trained
    if model.checkpoint.training.get("engine") == "perceptron":
        return f"the last of {trained.epochs_run:,}: {_STOPPED[trained.stopped]}"
    if _distilled(model) is not None or model.checkpoint.training.get("select_by") == "last":
        return f"the last of {trained.epochs_run:,}: {_STOPPED[trained.stopped]}"
    extreme, figure_name = _selection(model)
    return f"{extreme} validation {figure_name} of {trained.epochs_run:,} epochs; {_STOPPED[trained.stopped]}"


def losses_explained(model: FittedModel) -> str:
    """Returns an explanation of training and validation loss, with their values at the kept epoch."""
    history = model.trained.history
    if "validation_loss" not in history:
        return "Mistakes are training rows that the perceptron got wrong in an epoch; at none, it has learned them all."
    kept = min(model.trained.best_epoch, len(history["validation_loss"])) - 1
    train, validation = history["train_loss"][kept], history["validation_loss"][kept]
    if _distilled(model) is not None:
        return (
            "The training loss is measured against the answers of the ensemble, to jittered rows too, and the "
            "validation loss against true labels: so the two are compared by how they move, not by their level. At the "
            f"epoch that is kept they are {figure(train)} and {figure(validation)}."
        )
    sentences = [
        "The training loss is measured on rows while the network learns from them, the validation loss on rows that it "
        "never learns from. Both falling: it is still learning. Training falling while validation rises: it learns the "
        "training rows by heart (overfitting). Both high and flat: it learns little, from these columns or at this "
        "rate.",
        f"At the epoch that is kept they are {figure(train)} and {figure(validation)}.",
    ]
    settings = model.checkpoint.training
    if settings.get("label_smoothing") or settings.get("dropout"):
        parts = [
            what
            for what, name in (("smoothed labels", "label_smoothing"), ("dropped units", "dropout"))
            if settings.get(name)
        ]
        sentences.append(
            f"The training loss has {' and '.join(parts)} in it, which the validation loss has not: so it can be the "
            "higher one, and the two are compared by how they move, not by their level."
        )
    return " ".join(sentences)


def teacher_settings(model: FittedModel) -> str:
    """Returns a sentence on the settings that the teacher of a distilled network had; empty for other networks."""
    others = teacher_settings_of(model.checkpoint)
    shown = [f"{name} {'none' if value is None else value}" for name, value in others.items() if name != "members"]
    return f"The members of the ensemble had other settings: {', '.join(shown)}." if shown else ""


def uses(model: FittedModel) -> list[str]:
    """Returns paragraphs on the intended uses of the model and on the unsuitable ones."""
    table = model.table
    said = (
        f"To say which {plainly(table.target_name)} a row has, and how probable each is"
        if table.labels
        else f"To estimate {plainly(table.target_name)} of a row"
    )
    uses = [
        f"{said}, for rows that come from where the training rows came from: the same columns, measured in the same "
        "way, of the same population, at about the same time. What is learned are regularities, not causes: what would "
        "become of a row if a column were changed, it does not say.",
        "Not for rows from elsewhere, not as the only ground of a decision about a person, and not where a wrong "
        "answer cannot be noticed. Whether it is good and fair enough for a purpose, the figures below can help to "
        "judge, and cannot decide; they say nothing of groups that the table does not tell apart.",
    ]
    if table.time is None and table.group is None and not table.test_rows:
        uses.append(
            "The test rows were drawn at random from the same table. Where rows belong to persons or places, or change "
            "with time, new ones will be harder: --group and --time measure that."
        )
    return uses


def rare_class_limit(model: FittedModel) -> str:
    """Returns a sentence on classes with few training rows; empty if no such class exists."""
    table = model.table
    if not table.labels:
        return ""
    counts = np.bincount(table.target[model.split.train], minlength=len(table.labels))
    rare = [i for i in np.argsort(counts, kind="stable") if counts[i] < _RARE_ROWS]
    if not rare:
        return ""
    shown = ", ".join(f"{plainly(table.labels[i])} ({counts[i]:,})" for i in rare[:5])
    more = f" and {len(rare) - 5:,} more" if len(rare) > 5 else ""
    return f"Few training rows have {shown}{more}: what is said of such a class rests on little."


def _distilled(model: FittedModel) -> Mapping[str, Any] | None:
    """Returns the record of a distillation; None for a network that learned from labels."""
    found = model.checkpoint.training.get("distilled")
    return found if isinstance(found, Mapping) else None


def _selection(model: FittedModel) -> tuple[str, str]:
    """Returns the extreme, such as `least`, and the name of the validation figure that selected the kept epoch."""
    selected = str(model.checkpoint.training.get("select_by", "loss"))
    if selected == "error" and not model.table.labels:
        selected = "loss"  # a regression has no wrong answers, and its epochs are compared by the loss
    return _SELECTIONS.get(selected, ("best", selected))


def _no_better(is_no_better: bool) -> str:
    return ": it is no better than an answer that looks at no column." if is_no_better else "."
