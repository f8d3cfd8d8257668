"""From a table to a model: reads it, splits it, fits the preprocessing, trains, and measures what will be served.

In a notebook:

    from training.fit import fit
    model = fit("flowers.csv", target="species")      # or fit("iris"), or a DataFrame in the file's place
    model.publish("checkpoints")                      # flowers@1
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.config import MLPConfig, Task
from models.encoding import RowEncoder
from models.errors import ConfigError, DataError
from models.fuse import InferenceNetwork
from models.schema import ClassTarget, Schema
from models.store import ModelVersion, Store, check_name
from training.config import TrainConfig
from training.data.csv_file import read_csv
from training.data.parquet_file import read_parquet
from training.data.preprocessing import encode, fit_schema, scale_target, standardise, unseen_categories
from training.data.split import PARTS, Split, split_rows
from training.data.table import Table
from training.data.training_table import ColumnChoices, TrainingTable, read_training_table
from training.datasets import DATASETS, Dataset, dataset
from training.engines import numpy_engine, perceptron_engine
from training.engines.engine import Matrices, OnEpoch, ShouldStop, Trained
from training.metrics import Metrics, evaluate

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")

_EXAMPLES = 5
_EXAMPLE_CELLS = 4_000  # bounds the checkpoint's header, which every reader parses
_EVALUATION_ROWS = 65_536


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A trained model that is not published yet.

    Attributes:
        name: under which it will be published.
        checkpoint: what will be published.
        table: the data, as they were understood.
        split: which rows were used for what.
        trained: what the engine came to, with the history of its epochs.
        notes: sentences that the user should read.
    """

    name: str
    checkpoint: Checkpoint
    table: TrainingTable
    split: Split
    trained: Trained
    notes: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Figures by part: `train`, `validation`, `test`."""
        return dict(self.checkpoint.metrics)

    def predict(self, rows: Sequence[Any]) -> list[str] | list[float]:
        """Labels or values for raw rows: lists in column order, or mappings by column name.

        Raises:
            RowError: which rows and columns are wrong, and why.
        """
        schema = self.checkpoint.schema
        answers = self.checkpoint.inference_network().forward(RowEncoder(schema).encode_matrix(rows))
        if isinstance(schema.target, ClassTarget):
            return [schema.target.labels[i] for i in answers.argmax(axis=1)]
        return [float(value) for value in answers[:, 0]]

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
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    **settings: Any,
) -> FittedModel:
    """Trains a model on a table. Reads the source and writes nothing.

    Args:
        source: the name of a built-in dataset, a path to a CSV or Parquet file, an Arrow table or a pandas DataFrame.
        target: the column to predict; a built-in dataset has one.
        name: of the model; the dataset's or the file's name if None.
        task: `classification` or `regression`; inferred from the target if None.
        choices: the user's decisions about columns.
        delimiter: what divides a CSV file's cells; found out if None.
        device: where to train with torch: `auto`, `cpu`, `cuda`, ….
        on_epoch: told of each epoch.
        should_stop: asked after each epoch; True ends the run with the best epoch so far.
        settings: fields of `TrainConfig`; for a built-in dataset, over its own.

    Raises:
        DataError: the table cannot be learned from.
        ConfigError: a setting that cannot be.
        InvalidName: the model's name is none.
        TrainingError: the run diverged.
    """
    builtin = dataset(source) if isinstance(source, str) and source in DATASETS else None
    config = _config(builtin, settings)
    model_name = name or _name(source)
    check_name(model_name)
    if builtin is not None:
        target = target or builtin.target
        choices = replace(choices or builtin.choices, keep_constant=True) if builtin.choices.keep_constant else choices
    raw = builtin.load() if builtin is not None else _read(source, delimiter)
    if target is None:
        shown = ", ".join(repr(column) for column in list(raw.columns)[:10])
        raise DataError(f"which column of {raw.source} is to be predicted? Name it (--target); there are {shown}.")
    table = read_training_table(raw, name=model_name, target=target, task=task, choices=choices)
    return fit_table(table, config, device=device, on_epoch=on_epoch, should_stop=should_stop)


def fit_table(
    table: TrainingTable,
    config: TrainConfig,
    *,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
) -> FittedModel:
    """Trains a model on a table that was read and checked. The arguments are `fit`'s.

    Raises:
        DataError, ConfigError, TrainingError: as `fit` does.
    """
    split = _split(table, config)
    schema = fit_schema(table, split.train)
    architecture = _architecture(table, schema, config)
    x = {part: encode(schema, table, getattr(split, part)) for part in PARTS}  # (rows, width) each
    y = {part: table.target[getattr(split, part)] for part in PARTS}  # (rows,) each
    matrices = Matrices(
        x=standardise(schema, x["train"]),
        y=scale_target(schema, y["train"]),
        validation_x=standardise(schema, x["validation"]),
        validation_y=scale_target(schema, y["validation"]),
    )
    trained = _train(config, architecture, matrices, device, on_epoch, should_stop)
    checkpoint = Checkpoint(
        config=trained.architecture,
        schema=schema,
        tensors=trained.tensors,
        training=_training_section(config, trained, rows=len(split.train)),
        data=_data_section(table, config, split),
    )
    # Measured on the network that will answer, folded and rounded, rather than on the one that was trained.
    network = checkpoint.inference_network()
    metrics = {part: evaluate(architecture.output, _answers(network, x[part]), y[part]) for part in PARTS}
    return FittedModel(
        name=table.name,
        checkpoint=replace(checkpoint, metrics=metrics),
        table=table,
        split=split,
        trained=trained,
        notes=tuple(_notes(table, schema, config, trained)),
    )


def _config(builtin: Dataset | None, settings: dict[str, Any]) -> TrainConfig:
    known = TrainConfig.setting_names()
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"unknown setting {unknown[0]!r}; there are {', '.join(known)}.")
    defaults = builtin.settings_for(settings.get("engine", "torch")) if builtin is not None else {}
    return TrainConfig(**{**defaults, **settings})


def _name(source: object) -> str:
    if isinstance(source, str | Path):
        return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-") or "model"
    return "model"


def _read(source: object, delimiter: str | None) -> Table:
    if isinstance(source, pa.Table):
        return Table.from_arrow(source, source="the table")
    if not isinstance(source, str | Path):
        if hasattr(source, "set_axis"):  # a DataFrame, without importing pandas to ask
            return Table.from_pandas(source)
        raise DataError(f"a {type(source).__name__} is no table: give a path, a DataFrame or an Arrow table.")
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return read_csv(path, delimiter=delimiter)
    if suffix in PARQUET_SUFFIXES:
        return read_parquet(path)
    read = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
    if path.exists():
        raise DataError(f"{path} is of a type that is not read: {read} are.")
    raise DataError(f"{str(source)!r} is neither a file ({read}) nor a built-in dataset ({', '.join(DATASETS)}).")


def _split(table: TrainingTable, config: TrainConfig) -> Split:
    if config.split is None:
        return Split.whole(table.rows)
    return split_rows(table, config.split, rng=np.random.default_rng(config.seed))


def _architecture(table: TrainingTable, schema: Schema, config: TrainConfig) -> MLPConfig:
    if table.task == "regression":
        if config.engine == "perceptron":
            raise ConfigError(
                f"a perceptron tells two classes apart, and {table.target_name!r} is numbers: use --engine torch."
            )
        return config.architecture(in_features=schema.width, out_features=1, output="linear")
    if config.engine == "perceptron" and len(table.labels) != 2:
        raise ConfigError(
            f"a perceptron tells two classes apart, and target {table.target_name!r} has {len(table.labels)}: "
            "use --engine torch."
        )
    return config.architecture(in_features=schema.width, out_features=len(table.labels))


def _train(
    config: TrainConfig,
    architecture: MLPConfig,
    matrices: Matrices,
    device: str,
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
) -> Trained:
    match config.engine:
        case "numpy":
            return numpy_engine.train(config, architecture, matrices, on_epoch=on_epoch, should_stop=should_stop)
        case "perceptron":
            return perceptron_engine.train(config, architecture, matrices, on_epoch=on_epoch, should_stop=should_stop)
        case _:
            # Imported here: torch takes longer to import than the other engines take to train.
            from training.engines import torch_engine

            where = torch_engine.choose_device(device)
            return torch_engine.train(
                config, architecture, matrices, device=where, on_epoch=on_epoch, should_stop=should_stop
            )


def _answers(network: InferenceNetwork, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, in_features) → (rows, out_features), in pieces that bound the memory of the layers between."""
    pieces = [network.forward(x[at : at + _EVALUATION_ROWS]) for at in range(0, len(x), _EVALUATION_ROWS)]
    return np.concatenate(pieces)


def _training_section(config: TrainConfig, trained: Trained, *, rows: int) -> dict[str, Any]:
    section = config.to_dict() | {
        "epochs_run": trained.epochs_run,
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        # Seven digits are all that float32 has.
        "history": {name: [float(f"{value:.7g}") for value in values] for name, values in trained.history.items()},
    }
    if config.engine != "perceptron":
        section["batch_size"] = config.batch_size_for(rows)
    return section if trained.verdict is None else section | {"verdict": trained.verdict}


def _data_section(table: TrainingTable, config: TrainConfig, split: Split) -> dict[str, Any]:
    return {
        "name": table.name,
        "fingerprint": table.fingerprint(),
        "rows": table.rows,
        "columns": len(table.features),
        "split": split.sizes(),
        "whole_table": config.split is None,
        "examples": [table.example(row) for row in _example_rows(table, split)],
    }


def _example_rows(table: TrainingTable, split: Split) -> list[int]:
    """A few rows of the training part, without gaps where that can be, and of every class in turn."""
    wanted = min(max(_EXAMPLE_CELLS // len(table.features), 3), _EXAMPLES)
    has_gap = np.any([table.missing(name)[split.train] for name in table.features], axis=0)  # (train rows,)
    complete_first = split.train[np.argsort(has_gap, kind="stable")]
    if not table.labels:
        return [int(row) for row in complete_first[:wanted]]
    classes = table.target[complete_first]
    turn = np.zeros(len(classes), dtype=np.int64)  # which of its class a row is, from 0
    for label in range(len(table.labels)):
        of_class = classes == label
        turn[of_class] = np.arange(of_class.sum())
    return [int(row) for row in complete_first[np.lexsort((classes, turn))][:wanted]]


def _notes(table: TrainingTable, schema: Schema, config: TrainConfig, trained: Trained) -> list[str]:
    notes = [] if trained.verdict is None else [trained.verdict]
    if config.split is None:
        notes.append(f"Trained, validated and tested on the same {table.rows} rows: the figures tell what was learned.")
    if trained.stopped == "asked":
        notes.append(f"Stopped on request after epoch {trained.epochs_run}; epoch {trained.best_epoch} is kept.")
    for name, count in unseen_categories(schema, table).items():
        categories = "1 category" if count == 1 else f"{count} categories"
        notes.append(f"Column {name!r} has {categories} outside the training part only: the model does not know them.")
    return notes
