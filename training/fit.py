"""From a table to a model: reads it, splits it, fits the preprocessing, trains, and measures what will be served.

In a notebook:

    from training.fit import fit
    model = fit("flowers.csv", target="species")      # or fit("iris"), or a DataFrame in the file's place
    model.publish("checkpoints")                      # flowers@1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from models.network.config import Task
from models.network.fuse import InferenceNetwork
from models.store import ModelVersion, Store
from training.calibration import calibrate
from training.checkpoint_sections import data_section, notes, training_section
from training.config import TrainConfig
from training.data.class_balance import class_shares
from training.data.column_choices import ColumnChoices
from training.data.split import PARTS, Split
from training.data.training_table import TrainingTable
from training.engines.engine import OnEpoch, ShouldStop, Trained
from training.engines.train import train
from training.metrics import Metrics, constant_answers, evaluate
from training.prepared_rows import PreparedRows, prepare
from training.resume import ResumeFile
from training.sources import read_table
from training.threads import ThreadChoice, choose_threads, limited_threads

BeforeTraining = Callable[[PreparedRows], None]

_EVALUATED_CELLS = 4_000_000  # of the widest stage, at a time: 16 MB each


@dataclass(frozen=True, kw_only=True, repr=False)
class FittedModel:
    """A trained model that is not published yet.

    Attributes:
        name: under which it will be published.
        checkpoint: what will be published.
        table: the data, as they were understood.
        split: which rows were used for what.
        trained: what the engine came to, with the history of its epochs.
        notes: sentences that the user should read.
        threads: number of CPU threads that trained it, and why; None where something else than `fit` trained it.
    """

    name: str
    checkpoint: Checkpoint
    table: TrainingTable
    split: Split
    trained: Trained
    notes: tuple[str, ...]
    threads: ThreadChoice | None = None

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Figures by part: `train`, `validation`, `test`."""
        return dict(self.checkpoint.metrics)

    def constant_metrics(self, part: str = "test") -> Metrics:
        """Figures of the constant answer on a part: the training part's class shares, or its mean."""
        table, rows = self.table, getattr(self.split, part)
        train = self.split.train
        weight = None if table.weight is None else table.weight[train]
        answers = constant_answers(table.target[train], len(rows), classes=len(table.labels), weight=weight)
        return evaluate("softmax" if table.labels else "linear", answers, table.target[rows])

    def __repr__(self) -> str:
        """One line: a checkpoint's tensors and a table's rows are not for reading."""
        rows = f"{self.table.rows:,} rows"
        return f"<FittedModel {self.name}: {self.table.task} of {self.table.target_name}, {rows}, not published yet>"

    def predict(self, rows: Any) -> list[Label]:
        """Returns labels as in the table, or values, for raw rows.

        Args:
            rows: data frame, Arrow table, array, or list of rows: lists in column order, or mappings by column name.

        Raises:
            RowError: which rows and columns are wrong, and why.
            DataError: no table, or a frame without one of the columns.
        """
        return Answerer(self.checkpoint).predict(rows)

    def predict_proba(self, rows: Any) -> NDArray[np.float32]:
        """Returns the probability of each class, `(rows, classes)` float32, in the order of the target's labels.

        Args:
            rows: as `predict` takes them.

        Raises:
            ConfigError: a regression has no probabilities.
            DataError: as `predict` does.
        """
        return Answerer(self.checkpoint).predict_proba(rows)

    def publish(self, store: Store | Path | str, name: str | None = None) -> ModelVersion:
        """Writes the checkpoint to a store as the next version.

        Raises:
            StoreError: the name is none, or the disk refuses.
        """
        target = store if isinstance(store, Store) else Store(store)
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
    **settings: Any,
) -> FittedModel:
    """Trains a model on a table. Reads the source, and writes nothing but what `keep` is for.

    Args:
        source: the name of a built-in dataset, a path to a CSV or Parquet file, a folder or pattern of Parquet files,
            an Arrow table or a pandas DataFrame.
        target: the column to predict; a built-in dataset has one.
        name: of the model; the dataset's or the file's name if None.
        task: `classification` or `regression`; inferred from the target if None.
        choices: the user's decisions about columns.
        delimiter: what divides a CSV file's cells; found out if None.
        decimal: decimal mark of numbers that are texts, `.` or `,`; found out if None.
        thousands: mark between their thousands, `.`, `,`, `'`, `space` or `none`; found out if None.
        missing_values: values that stand for missing, texts or numbers: in every column, in one (`"age=99"`), or as a
            mapping of columns to values.
        encoding: character encoding of a CSV file; UTF-8, or what its first bytes say, if None.
        skip_lines: number of lines before a CSV file's header.
        comment: text at the beginning of a CSV file's lines that are passed over.
        test: a second table of the same columns, whose rows are the test part.
        device: where to train with torch: `auto`, `cpu`, `cuda`, ….
        on_epoch: told of each epoch.
        should_stop: asked after each epoch; True ends the run with the best epoch so far.
        keep: where the state of an unfinished run is kept.
        resume: whether to go on from that state.
        before_training: called with the encoded rows and the architecture before the first epoch; it may refuse them.
        threads: CPU threads; what is fastest for the network among the free CPUs if None (`training.threads`).
        on_threads: told of the torch engine's number of threads before the first epoch.
        settings: fields of `TrainConfig`; for a built-in dataset, over its own.

    Raises:
        DataError: the table cannot be learned from, or there is nothing to resume.
        ConfigError: a setting that cannot be.
        InvalidName: the model's name is none.
        TrainingError: the run diverged.
    """
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
) -> FittedModel:
    """Trains a model on a table that was read and checked.

    The arguments are `fit`'s, and `split` is the parts, where they are not to be drawn as the config says.

    Raises:
        DataError, ConfigError, TrainingError: as `fit` does.
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
    before_training(rows)
    if keep is not None:
        kind = device.partition(":")[0]  # a GPU's random numbers are not a CPU's
        keep.begin({"settings": config.to_dict(), "data": table.fingerprint(), "kind of device": kind})
    state = keep.read() if keep is not None and resume else None
    choice = thread_choice(rows, config, device=device, asked=threads, keep=keep)
    if config.engine == "torch":
        on_threads(choice)
    with limited_threads(choice.number):
        trained = train(
            config,
            rows.architecture,
            rows.matrices(),
            device=device,
            on_epoch=on_epoch,
            should_stop=should_stop,
            on_state=(lambda state: None) if keep is None else keep.offer,
            resume=state,
        )
        if keep is not None and trained.stopped == "asked":
            keep.end(finished=False)
        model = replace(fitted_model(table, config, rows, trained), threads=choice)
    if keep is not None and trained.stopped != "asked":
        keep.end(finished=True)  # only now: whatever ends the process while it measures, the run can be resumed
    return model


def thread_choice(
    rows: PreparedRows, config: TrainConfig, *, device: str, asked: int | None, keep: ResumeFile | None = None
) -> ThreadChoice:
    """Chooses the CPU threads of a run; one that goes on takes those that it began with, for the same bytes.

    Args:
        rows: as `prepare` made them.
        config: how to train.
        device: where to train.
        asked: number that the user asks for; None for the rule.
        keep: where the state of an unfinished run is kept, read if the run goes on.
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
    """What a run came to, made a model: calibrated, and measured on every part, the test part among them.

    Args:
        table: the data.
        config: with which it was trained.
        rows: as `prepare` made them.
        trained: what the run came to.
        extra_fields: what the checkpoint's training section has beside the settings and the history, as JSON types.
    """
    checkpoint = Checkpoint(
        config=trained.architecture,
        schema=rows.schema,
        tensors=trained.tensors,
        training=training_section(config, trained, rows=len(rows.split.train)) | dict(extra_fields or {}),
        data=data_section(table, config, rows.split),
    )
    if config.calibrate and config.split is not None and checkpoint.config.output == "softmax":
        is_honest = config.select_by == "loss" and not config.label_smoothing
        checkpoint = _calibrated(checkpoint, rows, is_honest=is_honest)
    # Measured on the network that will answer, folded and rounded, rather than on the one that was trained.
    network = checkpoint.inference_network()
    metrics = {
        part: evaluate(checkpoint.config.output, _answers(network, rows.x[part]), rows.y[part]) for part in PARTS
    }
    return FittedModel(
        name=table.name,
        checkpoint=replace(checkpoint, metrics=metrics),
        table=table,
        split=rows.split,
        trained=trained,
        notes=tuple(notes(table, rows.schema, config, trained, rows.split)),
    )


def _answers(network: InferenceNetwork, x: NDArray[np.float32]) -> NDArray[Any]:
    """(rows, in_features) → (rows, out_features), in the target's unit."""
    return np.concatenate([network.answer(piece) for piece in _pieces(network, x)])


def _calibrated(checkpoint: Checkpoint, rows: PreparedRows, *, is_honest: bool) -> Checkpoint:
    """The checkpoint with the calibration that fits the validation part."""
    network = checkpoint.inference_network()
    pieces = _pieces(network, rows.x["validation"])
    of_members = np.concatenate([network.forward_members(piece) for piece in pieces], axis=1)
    train, validation = (None if rows.weight is None else rows.weight[part] for part in ("train", "validation"))
    shares = class_shares(rows.y["train"], of_members.shape[2], train)
    return calibrate(checkpoint, of_members, rows.y["validation"], validation, shares=shares, is_honest=is_honest)


def _pieces(network: InferenceNetwork, x: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The rows in pieces that bound the memory of the stages between."""
    size = max(_EVALUATED_CELLS // network.widest, 1)
    return (x[at : at + size] for at in range(0, len(x), size))
