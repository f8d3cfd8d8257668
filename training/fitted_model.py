"""A fitted model: the result of a run, calibrated and evaluated on all parts, but not published yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.network.config import Output
from models.open_store import open_store
from training.checkpoint_sections import data_section, notes, training_section
from training.config import TrainConfig
from training.data.class_balance import is_balanced
from training.data.split import PARTS, Split
from training.data.training_table import TrainingTable
from training.distributions import training_distributions
from training.engines.engine import Trained
from training.fitted_answers import answers_of_part, conformal_scores, served_checkpoint
from training.metrics import Metrics, answered_quantile, constant_answers, evaluate
from training.out_of_fold import OutOfFold, out_of_fold_answers
from training.portfolio_choice import choose_configurations
from training.prepared_rows import PreparedRows
from training.remaining_members import without_diverged
from training.threads import ThreadChoice


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedModel:
    """A trained model that is not published yet.

    Attributes:
        name: name of the model for publishing.
        checkpoint: checkpoint for publishing.
        table: data, with the kinds and roles of the columns.
        split: rows of each part.
        trained: result of the engine, with the history of the epochs.
        notes: sentences for the user.
        threads: number of CPU threads of the training, and the reason; None if `fit` did not train the model.
        out_of_fold: answers to the rows of training by the members that did not learn from them; None without folds.
    """

    name: str
    checkpoint: Checkpoint
    table: TrainingTable
    split: Split
    trained: Trained
    notes: tuple[str, ...]
    threads: ThreadChoice | None = None
    out_of_fold: OutOfFold | None = None

    @property
    def metrics(self) -> dict[str, Metrics]:
        """The metrics by part: `train`, `validation`, `test`."""
        return dict(self.checkpoint.metrics)

    def constant_metrics(self, part: str = "test") -> Metrics:
        """Returns the metrics of a constant answer on a part: class shares, mean or quantile of the training part."""
        table, rows = self.table, getattr(self.split, part)
        train, count = self.split.train, len(table.labels)
        weight, quantile = table.weights_of(train), answered_quantile(self.checkpoint.training)
        answers = constant_answers(table.target[train], len(rows), classes=count, weight=weight, quantile=quantile)
        return self.metrics_of(answers, table.target[rows], output="softmax" if table.labels else "linear")

    def metrics_of(self, answers: NDArray[Any], truth: NDArray[Any], *, output: Output) -> Metrics:
        """Returns the metrics of some answers, with those that this model was trained for.

        Args:
            answers: `(rows, outputs)` probabilities or values.
            truth: `(rows,)` class indices or values, or `(rows, targets)` values.
            output: function after the last layer of the network that gave the answers.
        """
        training = self.checkpoint.training
        return evaluate(
            output,
            answers,
            truth,
            metric=training.get("metric"),
            quantile=training.get("quantile"),
            targets=self.checkpoint.schema.values,
            is_balanced=is_balanced(training),
        )

    def __repr__(self) -> str:
        """Returns one line, without the tensors of the checkpoint and the rows of the table."""
        rows = f"{self.table.rows:,} rows"
        return f"<FittedModel {self.name}: {self.table.task} of {self.table.target_name}, {rows}, not published yet>"

    def predict(self, rows: Any) -> list[Label]:
        """Returns labels as in the table, or values, for raw rows.

        Args:
            rows: data frame, Arrow table, array, or list of rows: lists in column order, or mappings by column name.

        Raises:
            RowError: rows are wrong; the message names the rows, the columns and the reasons.
            DataError: the input is not a table, or lacks one of the columns.
        """
        return Answerer(self.checkpoint).predict(rows)

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Returns the probability of each class, `(rows, classes)` float32, in the order of the target's labels.

        Args:
            rows: rows in any form that `predict` accepts.

        Raises:
            ConfigError: the model is a regression, which has no probabilities.
            DataError: as `predict` does.
        """
        return Answerer(self.checkpoint).predict_proba(rows)

    def publish(self, store: ModelStore | Path | str, name: str | None = None) -> ModelVersion:
        """Writes the checkpoint to a store as the next version.

        Raises:
            StoreError: the name is not valid, or the disk refuses.
        """
        target = open_store(store)
        return target.publish(name or self.name, self.checkpoint)


def fitted_model(
    table: TrainingTable,
    config: TrainConfig,
    rows: PreparedRows,
    trained: Trained,
    *,
    extra_fields: Mapping[str, Any] | None = None,
) -> FittedModel:
    """Makes a model of the result of a run: calibrates, and evaluates all parts, with the test part.

    Args:
        table: data of the run.
        config: settings of the run.
        rows: encoded rows and architecture.
        trained: result of the engine.
        extra_fields: more fields for the training section of the checkpoint, as JSON types.
    """
    fields = dict(extra_fields or {})
    if config.portfolio:
        trained, fields["configurations"] = choose_configurations(config, rows, trained)
    trained = without_diverged(trained)
    checkpoint = Checkpoint(
        config=trained.architecture,
        schema=rows.schema,
        tensors=trained.tensors,
        training=training_section(config, trained, rows=len(rows.split.train)) | fields,
        data=data_section(table, config, rows.split),
    )
    checkpoint = served_checkpoint(checkpoint, rows, config)
    # The evaluation uses the network that is served, fused and rounded, not the one that was trained.
    network = checkpoint.inference_network()
    out_of_fold = None
    if rows.split.folds is not None:
        own = out_of_fold_answers(network, rows.x["train"], rows.split.folds)
        out_of_fold = OutOfFold(rows=rows.split.train, fold=rows.split.folds, answers=own)
    answers = {
        part: out_of_fold.answers if out_of_fold and part == "validation" else answers_of_part(network, rows.x[part])
        for part in PARTS
    }
    aim: dict[str, Any] = {"metric": config.metric, "quantile": config.quantile, "targets": rows.schema.values}
    aim["is_balanced"] = config.class_weight == "balanced"
    metrics = {part: evaluate(trained.architecture.output, answers[part], rows.y[part], **aim) for part in PARTS}
    # Training rows are answered better than others, so the answers to the other parts are what serving compares with.
    others = [answers[part] for part in ("validation", "test") if config.split is not None]
    distributions = training_distributions(
        rows.schema, rows.x["train"], np.concatenate(others or [answers["train"]]), seed=config.seed
    )
    conformal = None if config.split is None else conformal_scores(checkpoint, rows, answers["test"])
    return FittedModel(
        name=table.name,
        checkpoint=replace(checkpoint, metrics=metrics, distributions=distributions, conformal=conformal),
        table=table,
        split=rows.split,
        trained=trained,
        notes=tuple(notes(table, rows.schema, config, trained, rows.split)),
        out_of_fold=out_of_fold,
    )
