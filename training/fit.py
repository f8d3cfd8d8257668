"""From a table to a model: reads and splits the table, fits the preprocessing, trains, and evaluates the served model.

In a notebook:

    from training.fit import fit
    model = fit("flowers.csv", target="species")      # or fit("iris"), or a DataFrame in the file's place
    model.publish("checkpoints")                      # flowers@1
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.errors import ConfigError
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.network.config import Task
from models.open_store import open_store
from training.budget import TimeBudget, check_planned, level_settings, parse_budget, shown_seconds
from training.budgeted import budget_note, planned_run
from training.checkpoint_sections import data_section, notes, training_section
from training.config import DECIDED_METRICS, TrainConfig
from training.data.column_choices import ColumnChoices
from training.data.split import PARTS, Split
from training.data.training_table import TrainingTable
from training.distributions import training_distributions
from training.engines.engine import OnEpoch, ShouldStop, Trained
from training.engines.train import train
from training.fitted_answers import answers_of_part, calibrated_checkpoint, conformal_scores, decided_checkpoint
from training.metrics import Metrics, answered_quantile, constant_answers, evaluate
from training.out_of_fold import OutOfFold, out_of_fold_answers
from training.portfolio_choice import choose_configurations
from training.prepared_rows import PreparedRows, prepare
from training.resume import ResumeFile
from training.sources import dataset_settings, read_table
from training.threads import ThreadChoice, choose_threads, limited_threads

BeforeTraining = Callable[[PreparedRows], None]


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
        train = self.split.train
        weight = None if table.weight is None else table.weight[train]
        training, count = self.checkpoint.training, len(table.labels)
        quantile = answered_quantile(training)
        answers = constant_answers(table.target[train], len(rows), classes=count, weight=weight, quantile=quantile)
        return evaluate(
            "softmax" if table.labels else "linear",
            answers,
            table.target[rows],
            metric=training.get("metric"),
            quantile=training.get("quantile"),
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


def fit(
    source: str | Path | pa.Table | Any,
    *,
    target: str | None = None,
    name: str | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    missing_values: Any = (),
    encoding: str | None = None,
    skip_lines: int = 0,
    comment: str | None = None,
    test: str | Path | pa.Table | Any | None = None,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    keep: ResumeFile | None = None,
    resume: bool = False,
    before_training: BeforeTraining = lambda rows: None,
    threads: int | None = None,
    on_threads: Callable[[ThreadChoice], None] = lambda choice: None,
    budget: str | float | TimeBudget | None = None,
    **settings: Any,
) -> FittedModel:
    """Trains a model on a table. Reads the source, and writes no file but the state file of `keep`.

    Args:
        source: name of a built-in dataset, path to a CSV or Parquet file, folder or pattern of Parquet files, Arrow
            table or pandas DataFrame.
        target: column to predict; a built-in dataset has one.
        name: name of the model; None for the name of the dataset or the file.
        task: `classification` or `regression`; None to infer the task from the target.
        choices: decisions of the user about the columns.
        delimiter: delimiter of a CSV file's cells; None to detect it.
        decimal: decimal mark of numbers in texts, `.` or `,`; None to detect it.
        thousands: thousands separator of numbers in texts, `.`, `,`, `'`, `space` or `none`; None to detect it.
        missing_values: values that mean missing, texts or numbers: in every column, in one (`"age=99"`), or as a
            mapping of columns to values.
        encoding: character encoding of a CSV file; None for UTF-8, or the encoding that the first bytes show.
        skip_lines: number of lines before a CSV file's header.
        comment: beginning of the lines of a CSV file to ignore.
        test: second table with the same columns, for the test part.
        device: device of the torch engine: `auto`, `cpu`, `cuda`, ….
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run with the best epoch so far.
        keep: state file of an unfinished run.
        resume: True to resume from the state file.
        before_training: callback with the encoded rows and the architecture before the first epoch; it may raise.
        threads: number of CPU threads; None for the fastest number on the free CPUs (`training.threads`).
        on_threads: callback with the torch engine's number of threads, before the first epoch.
        budget: wall-clock time from the call to the return, such as `60s`, `5min` or a number of seconds, for which the
            run chooses members, epochs and batch; or `quick`, `default` or `best`. None for the settings alone.
        settings: fields of `TrainConfig`, which take precedence over those of a built-in dataset.

    Raises:
        DataError: the table cannot be used for training, or there is nothing to resume.
        ConfigError: a setting is unknown or impossible.
        InvalidName: the name of the model is not valid.
        TrainingError: the run diverged.
    """
    level = budget if isinstance(budget, TimeBudget | None) else parse_budget(budget)
    time_budget = level if isinstance(level, TimeBudget | None) else None
    if isinstance(level, float):
        time_budget = TimeBudget(seconds=level, begun=time.monotonic())
    elif isinstance(level, str):
        settings = {**settings, **level_settings(level, settings, of_dataset=dataset_settings(source, settings))}
    if time_budget is not None:
        check_planned(settings, time_budget)
    table, config = read_table(
        source,
        target=target,
        name=name,
        task=task,
        choices=choices,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        missing_values=missing_values,
        encoding=encoding,
        skip_lines=skip_lines,
        comment=comment,
        test=test,
        settings=settings,
    )
    return fit_table(
        table,
        config,
        device=device,
        on_epoch=on_epoch,
        should_stop=should_stop,
        keep=keep,
        resume=resume,
        before_training=before_training,
        threads=threads,
        on_threads=on_threads,
        budget=time_budget,
        chosen=frozenset(settings),
    )


def fit_table(
    table: TrainingTable,
    config: TrainConfig,
    *,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    keep: ResumeFile | None = None,
    resume: bool = False,
    split: Split | None = None,
    before_training: BeforeTraining = lambda rows: None,
    threads: int | None = None,
    on_threads: Callable[[ThreadChoice], None] = lambda choice: None,
    budget: TimeBudget | None = None,
    chosen: frozenset[str] = frozenset(),
) -> FittedModel:
    """Trains a model on a table that was read and checked, with a resolved configuration.

    The other arguments are those of `fit`; `split` replaces the parts that the config would draw, and `chosen` are the
    names of the settings that a budget does not decide.

    Raises:
        DataError, ConfigError, TrainingError: see `fit`.
    """
    if resume and config.engine != "torch":
        raise ConfigError(f"a run of the {config.engine} engine cannot be resumed: it is of the torch engine only.")
    if resume and keep is None:
        raise ConfigError("a run is resumed from where its state is kept: say where (keep).")
    if config.engine == "torch":
        # Imported here: torch takes longer to import than the other engines take to train.
        from training.engines.device import choose_device

        device = choose_device(device)
    rows = prepare(table, config, split=split)
    if budget is None:
        before_training(rows)
    if keep is not None:
        kind = device.partition(":")[0]  # a GPU has other random numbers than a CPU
        timed = {} if budget is None else {"budget": budget.seconds}
        keep.begin({"settings": config.to_dict(), "data": table.fingerprint(), "kind of device": kind, **timed})
    state = keep.read() if keep is not None and resume else None
    matrices = rows.matrices()
    run = None
    if budget is not None:
        run = planned_run(config, rows, matrices, budget, chosen=chosen, device=device, threads=threads, keep=keep)
        before_training(run.rows)
        asked_config, config, rows = config, run.config, run.rows
    choice = thread_choice(rows, config, device=device, asked=threads, keep=keep)
    if config.engine == "torch":
        on_threads(choice)
    with limited_threads(choice.number):
        trained = train(
            config,
            rows.architecture,
            matrices,
            device=device,
            on_epoch=on_epoch,
            should_stop=should_stop,
            on_state=(lambda state: None) if keep is None else keep.offer,
            resume=state,
            pacing=None if run is None else run.pace,
        )
        if keep is not None and trained.stopped == "asked":
            keep.end(finished=False)
        if run is None or budget is None:
            model = fitted_model(table, config, rows, trained)
        else:
            config = run.final()
            facts = {"budget": shown_seconds(budget.seconds)}
            model = fitted_model(table, config, rows, trained, extra_fields=facts)
            note = budget_note(config, budget, recipe_epochs=asked_config.epochs, rows=len(rows.split.train))
            model = replace(model, notes=(*model.notes, note))
        model = replace(model, threads=choice)
    if keep is not None and trained.stopped != "asked":
        keep.end(finished=True)  # only now: if evaluation is interrupted, the run can still be resumed
    return model


def thread_choice(
    rows: PreparedRows, config: TrainConfig, *, device: str, asked: int | None, keep: ResumeFile | None = None
) -> ThreadChoice:
    """Chooses the CPU threads of a run; a resumed run keeps its number, for the same bytes.

    Args:
        rows: encoded rows and architecture.
        config: settings of the run.
        device: device of the run.
        asked: number of threads that the user asks for; None to apply the rule.
        keep: state file of an unfinished run, already read for a resumed run.
    """
    if asked is None and keep is not None and keep.threads is not None:
        choice = ThreadChoice(number=keep.threads, reason=", as the run began")
    else:
        choice = choose_threads(
            rows.architecture,
            batch_rows=config.batch_size_for(len(rows.split.train)),
            asked=asked,
            can_share=config.engine == "torch" and not device.startswith("cuda"),
        )
    if keep is not None:
        keep.threads = choice.number
    return choice


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
    checkpoint = Checkpoint(
        config=trained.architecture,
        schema=rows.schema,
        tensors=trained.tensors,
        training=training_section(config, trained, rows=len(rows.split.train)) | fields,
        data=data_section(table, config, rows.split),
    )
    if config.calibrate and config.split is not None and checkpoint.config.output == "softmax":
        # The networks of each configuration of a portfolio are calibrated already.
        is_honest = config.portfolio or (config.select_by == "loss" and not config.label_smoothing)
        checkpoint = calibrated_checkpoint(checkpoint, rows, is_honest=is_honest)
    if config.metric in DECIDED_METRICS:
        checkpoint = decided_checkpoint(checkpoint, rows, config.metric)
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
    aim: dict[str, Any] = {"metric": config.metric, "quantile": config.quantile}
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
