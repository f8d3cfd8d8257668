"""A comparison of a new model with the version that is served under the same name, on the new run's test rows.

The new model was not trained on the test rows. The served model was certainly not trained on them only if it had the
same table with the same split; otherwise a note says so. A served model that has seen test rows looks better than it
is, so the comparison is then stricter for the new model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.columns.column_encoding import declared_gap_rows
from models.columns.labels import Label
from models.columns.schema import CategoricalColumn, ClassTarget, Column
from models.errors import DataError
from models.model_version import ModelVersion
from models.signing import trusted
from training.config import DECIDED_METRICS
from training.data.class_balance import is_balanced
from training.data.listed_names import listed_names
from training.data.preprocessing import encode
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.data.values import Values, missing_of
from training.metrics import variances
from training.reporting.comparison import OURS, Difference, balanced_gains, difference_of
from training.reporting.evaluation import answers_of

_KINDS = {"numeric": "numbers", "categorical": "names", "date": "dates"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedComparison:
    """The comparison of a new model with the served one.

    Attributes:
        served: the served version, `NAME@VERSION`.
        differences: leads of the new model over the served one, one for each measure.
        rows: number of test rows that both answered.
        notes: sentences on the fairness of the comparison.
    """

    served: str
    differences: tuple[Difference, ...]
    rows: int
    notes: tuple[str, ...]

    @property
    def is_better(self) -> bool:
        """True if the new model is clearly ahead in a measure and clearly behind in none."""
        return {difference.verdict for difference in self.differences} - {0} == {1}

    def sentence(self) -> str:
        """Returns the result in words, with the figures."""
        figures = "; ".join(difference.in_words for difference in self.differences)
        how = "better" if self.is_better else "not clearly better"
        return " ".join((f"It is {how} than {self.served} on {self.rows:,} test rows ({figures}).", *self.notes))


# Metrics that a comparison by accuracy, log loss or R² does not decide.
COMPARED_OTHERWISE = (*DECIDED_METRICS, "mae", "quantile")


def compare_with_served(
    checkpoint: Checkpoint, table: TrainingTable, split: Split, served: ModelVersion
) -> ServedComparison:
    """Compares a new model with the served one on the new run's test rows.

    Args:
        checkpoint: checkpoint of the new model.
        table: table that the new model was trained on.
        split: split of the table's rows.
        served: version that is served under the same name.

    Raises:
        DataError: the models cannot be compared, or were trained for a metric that no comparison has; the message
            gives the reason.
        CheckpointError: the served checkpoint is damaged.
        SignatureError: the served version is not signed as AXON_TRUSTED_KEYS and AXON_REQUIRE_SIGNATURE demand.
        ConfigError: one of these variables is wrong.
    """
    old = trusted(served).load().checkpoint
    for name, model in (("the new model", checkpoint), (str(served), old)):
        if (metric := model.training.get("metric")) in COMPARED_OTHERWISE:
            raise DataError(f"{name} was trained for {metric}, and versions are compared by accuracy, log loss or R².")
    _check_class_weights(str(served), old, checkpoint)
    if np.isin(split.test, split.train).any():
        raise DataError("no rows are kept apart to test on (--split none), so nothing tells which model is better.")
    _check_target(str(served), old, table)
    _check_columns(str(served), old, table)
    rows = split.test[_answered(old, table, split.test)]
    if not len(rows):
        raise DataError(f"{served} refuses every test row, for gaps or categories that it does not know.")
    answers = [answers_of(model.inference_network(), encode(model.schema, table, rows)) for model in (checkpoint, old)]
    differences = tuple(
        difference_of(OURS, str(served), measure, new - before)
        for measure, (new, before) in _gains((checkpoint, old), answers, table, rows).items()
    )
    notes = []
    if len(rows) < len(split.test):
        notes.append(f"{served} refuses {len(split.test) - len(rows):,} test rows, which were left out.")
    if not _learned_from_the_same_part(old, checkpoint):
        remedy = "" if table.test_rows else " A file of new rows (--test FILE) decides fairly."
        notes.append(
            f"{served} was trained on another table or split and may have seen some of these rows, in which case it "
            f"looks better than it is.{remedy}"
        )
    return ServedComparison(served=str(served), differences=differences, rows=len(rows), notes=tuple(notes))


def _check_class_weights(served: str, old: Checkpoint, new: Checkpoint) -> None:
    """Refuses models of which only one was trained with balanced classes: each is better by its own aim."""
    if is_balanced(old.training) == is_balanced(new.training):
        return
    balanced, other = (served, "the new model") if is_balanced(old.training) else ("the new model", served)
    raise DataError(
        f"{balanced} was trained with balanced classes (--class-weight balanced) and {other} was not: one aims at rare "
        "classes, the other at most rows, so no figure decides between them. Train both in the same way, or decide "
        "yourself (--publish always)."
    )


def _check_target(served: str, old: Checkpoint, table: TrainingTable) -> None:
    target = old.schema.target
    if target.names != table.target_names:
        raise DataError(
            f"{served} predicts {listed_names(target.names)}, and this run {listed_names(table.target_names)}."
        )
    if isinstance(target, ClassTarget) != bool(table.labels):
        before, now = ("classes", "values") if not table.labels else ("values", "classes")
        raise DataError(f"{served} predicts {before} of {target.name!r}, and this run {now}.")
    if isinstance(target, ClassTarget) and type(target.labels[0]) is not type(table.classes[0]):
        before, now = (type(labels[0]).__name__ for labels in (target.labels, table.classes))
        raise DataError(f"the labels of {served} are of type {before}, and those of this run of type {now}.")


def _check_columns(served: str, old: Checkpoint, table: TrainingTable) -> None:
    for column in old.schema.columns:
        if column.name not in table.features:
            raise DataError(f"{served} takes the column {column.name!r}, which this run does without.")
        if (kind := table.kind(column.name)) != column.kind:
            raise DataError(
                f"{served} reads the column {column.name!r} as {_KINDS[column.kind]}, and this run as {_KINDS[kind]}."
            )


def _answered(old: Checkpoint, table: TrainingTable, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns `(rows,)` True for the rows that the served model answers, False for the refused ones."""
    answered = np.ones(len(rows), dtype=np.bool_)
    for column in old.schema.columns:
        answered &= ~_refused(column, table.take(column.name, rows))
    return answered


def _refused(column: Column, values: Values) -> NDArray[np.bool_]:
    """Returns `(rows,)` True for rows whose cell in this column is refused."""
    declared = declared_gap_rows(column, values)
    is_missing = missing_of(values) | declared
    refused = is_missing if column.missing == "refuse" else np.zeros(len(is_missing), dtype=np.bool_)
    if isinstance(column, CategoricalColumn) and column.unknown == "refuse":
        known = {*column.categories, None}
        unknown = np.array([values[row] not in known for row in range(len(is_missing))], dtype=np.bool_)
        refused = refused | (unknown & ~declared)
    return refused


def _gains(
    models: tuple[Checkpoint, Checkpoint],
    answers: list[NDArray[Any]],
    table: TrainingTable,
    rows: NDArray[np.int64],
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Returns by measure the `(rows,)` contributions of the rows to the measure, of both models; more is better."""
    truth = table.target[rows]
    if table.several_targets:
        spreads = variances(truth)  # (targets,)
        varies = spreads > 0
        if not varies.any():
            raise DataError("each target has one value only in the test rows.")
        new, old = (
            -(np.square(values.astype(np.float64) - truth)[:, varies] / spreads[varies]).mean(axis=1)
            for values in answers
        )
        return {"r2": (new, old)}
    if not table.labels:
        spread = float(variances(truth))
        if spread == 0:
            raise DataError("the target has one value only in the test rows.")
        new, old = (-np.square(values[:, 0].astype(np.float64) - truth) / spread for values in answers)
        return {"r2": (new, old)}
    labels = [_class_labels(model) for model in models]
    # Index of each of the table's classes among a model's outputs; -1 for a class that the model does not know.
    places = [np.array([known.index(name) if name in known else -1 for name in table.classes]) for known in labels]
    new_right, old_right = (
        values.argmax(axis=1) == place[truth] for values, place in zip(answers, places, strict=True)
    )
    if all(is_balanced(model.training) for model in models):
        # The probabilities of balanced classes are not those of the table.
        return {"balanced_accuracy": (balanced_gains(new_right, truth), balanced_gains(old_right, truth))}
    gains = {"accuracy": (new_right.astype(np.float64), old_right.astype(np.float64))}
    if all(model.config.has_probabilities for model in models):
        new, old = (_log_gain(values, place[truth]) for values, place in zip(answers, places, strict=True))
        gains["log_loss"] = (new, old)
    return gains


def _class_labels(model: Checkpoint) -> tuple[Label, ...]:
    target = model.schema.target
    return target.labels if isinstance(target, ClassTarget) else ()


def _log_gain(probabilities: NDArray[Any], of_truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns `(rows,)` log p(true class), with the bound of `training.metrics`; for an unknown class, p is 0."""
    chosen = probabilities[np.arange(len(of_truth)), of_truth].astype(np.float64)
    found: NDArray[np.float64] = np.log(np.maximum(np.where(of_truth < 0, 0.0, chosen), np.finfo(np.float32).tiny))
    return found


def _learned_from_the_same_part(old: Checkpoint, new: Checkpoint) -> bool:
    """Returns True if both were trained on the same table with the same split, and so on the same rows."""
    return all(old.data.get(name) == new.data.get(name) for name in ("fingerprint", "split")) and all(
        old.training.get(name) == new.training.get(name) for name in ("seed", "split")
    )
