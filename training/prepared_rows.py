"""The input of an engine: the encoded parts of a table, and the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.schema import CategoricalColumn, ClassTarget, Schema
from models.errors import ConfigError, DataError
from models.network.config import MLPConfig, Output
from models.network.inputs import InputConfig
from training.config import TrainConfig
from training.data.class_balance import class_balance
from training.data.folds import folds_of
from training.data.listed_names import listed_names
from training.data.preprocessing import encode, fit_schema, scale_target, standardise
from training.data.scratch import release_pages
from training.data.split import PARTS, Split, split_rows
from training.data.training_table import TrainingTable
from training.engines.engine import Matrices
from training.engines.target_statistics import statistics_size
from training.recipes import MAX_ONE_HOT, PERIODIC_SIZE

# Scaling of a target's values, by output of the network.
_SCALINGS: Mapping[Output, Literal["standard", "mean", "none"]] = {
    "linear": "standard",
    "exponential": "mean",
    "logistic": "none",
}
_DEFAULT_EMBEDDING_SIZE = 8  # size for tables without embeddings, since `InputConfig` requires one


@dataclass(frozen=True, kw_only=True)
class PreparedRows:
    """The encoded parts of a table, and the architecture to train.

    Attributes:
        split: rows of each part.
        schema: schema with the statistics of the training part.
        architecture: architecture of the network.
        x: `(rows, width)` encoded features, by part.
        y: `(rows,)` class indices or values, or `(rows, targets)` values, by part.
        weight: `(rows,)` weights of the rows, by part; None for equal weights.
    """

    split: Split
    schema: Schema
    architecture: MLPConfig
    x: dict[str, NDArray[np.float32]]
    y: dict[str, NDArray[Any]]
    weight: dict[str, NDArray[np.float64]] | None

    def matrices(self) -> Matrices:
        """Returns the matrices for an engine."""
        schema = self.schema
        x, y = standardise(schema, self.x["train"]), scale_target(schema, self.y["train"])
        is_apart = self.split.folds is None
        release_pages()
        return Matrices(
            x=x,
            y=y,
            validation_x=standardise(schema, self.x["validation"]) if is_apart else x,
            validation_y=scale_target(schema, self.y["validation"]) if is_apart else y,
            weight=None if self.weight is None else self.weight["train"],
            validation_weight=None if self.weight is None else self.weight["validation"],
            folds=self.split.folds,
            categories=_open_categories(schema),
        )


def prepare(table: TrainingTable, config: TrainConfig, *, split: Split | None = None) -> PreparedRows:
    """Splits a table and encodes its parts with the statistics of the training part.

    Args:
        table: the data.
        config: settings of the run.
        split: parts of the table; None to draw them by the config.

    Raises:
        DataError, ConfigError: as `fit` does.
    """
    if config.split is None and (table.test_rows or table.group is not None or table.time is not None):
        raise ConfigError("split none puts every row into every part, which --group, --time and --test are to prevent.")
    check_target(table, config)
    if split is None:
        split = split_of(table, config)
    weight = _weight(table, config, split)
    if config.select_by == "auc":
        _check_ranking(table, split, weight)
    schema = fit_schema(
        table,
        split.train,
        scaling=config.scaling,
        max_one_hot=MAX_ONE_HOT if config.embedding_size else None,
        weights=table.weight,
        target_scaling=_SCALINGS[config.output_of_values],
    )
    return PreparedRows(
        split=split,
        schema=schema,
        architecture=_architecture(table, schema, config),
        x=_encoded(schema, table, split),
        y={part: table.target[getattr(split, part)] for part in PARTS},
        weight=None if weight is None else {part: weight[getattr(split, part)] for part in PARTS},
    )


def _encoded(schema: Schema, table: TrainingTable, split: Split) -> dict[str, NDArray[np.float32]]:
    """Returns the encoded features by part. With folds, the training and the validation part are the same array."""
    x = {part: encode(schema, table, getattr(split, part)) for part in PARTS if part == "train" or split.folds is None}
    return x if split.folds is None else x | {"validation": x["train"], "test": encode(schema, table, split.test)}


def split_of(table: TrainingTable, config: TrainConfig) -> Split:
    """Draws the parts of a table by the settings of a config."""
    rng = np.random.default_rng(config.seed)
    if config.split is None:
        return Split.whole(table.rows)
    split = split_rows(table, config.split, rng=rng)
    return with_folds(split, table, config) if config.folds else split


def with_folds(split: Split, table: TrainingTable, config: TrainConfig) -> Split:
    """Returns the split with training and validation in one part, of which each member leaves out its fold.

    Raises:
        DataError: there are fewer rows, groups or times than members.
    """
    rng = np.random.default_rng([config.seed, config.members])
    rows = rng.permutation(np.concatenate((split.train, split.validation)))
    folds = folds_of(table, rows, config.members, rng=rng)
    return replace(split, train=rows, validation=rows, folds=folds)


def _open_categories(schema: Schema) -> tuple[tuple[int, ...], ...]:
    """Returns the positions of the features of each column that accepts unknown categories."""
    at, places = 0, []
    for column in schema.columns:
        if isinstance(column, CategoricalColumn) and column.unknown == "ignore":
            places.append(tuple(range(at, at + column.width)))
        at += column.width
    return tuple(places)


def _weight(table: TrainingTable, config: TrainConfig, split: Split) -> NDArray[np.float64] | None:
    """Returns the weights of the table's rows, `(rows,)`, or None for equal weights."""
    weight = table.weight
    if config.class_weight == "balanced":
        if not table.labels:
            raise ConfigError(f"class_weight is for classes, and {_are_numbers(table)}.")
        weight = np.ones(table.rows) if weight is None else weight
        balance = class_balance(table.target[split.train], len(table.labels), weight[split.train])  # (classes,)
        weight = weight * balance[table.target]
    if weight is not None:
        for part in PARTS:
            if not weight[getattr(split, part)].any():
                raise DataError(f"all rows of the {part} part weigh 0: no row of it would count (--weight, --split).")
    return weight


def _check_ranking(table: TrainingTable, split: Split, weight: NDArray[np.float64] | None) -> None:
    """Refuses validation rows of one class, which have no ROC AUC to choose an epoch by."""
    rows = split.validation if weight is None else split.validation[weight[split.validation] > 0]
    present = np.unique(table.target[rows])
    if len(present) < 2:
        raise DataError(
            f"all validation rows are of class {table.labels[present[0]]!r} of target {table.target_name!r}, so no "
            "epoch has a ROC AUC to be chosen by: take other shares (--split) or another rule (--select-by loss)."
        )


def _architecture(table: TrainingTable, schema: Schema, config: TrainConfig) -> MLPConfig:
    if config.engine == "perceptron" and len(table.labels) != 2:
        what = f"target {table.target_name!r} has {len(table.labels)}" if table.labels else _are_numbers(table)
        raise ConfigError(f"a perceptron tells two classes apart, and {what}: use --engine torch.")
    return config.architecture(
        in_features=schema.width,
        out_features=len(table.labels) or len(table.target_names),
        output=None if table.labels else config.output_of_values,
        inputs=_inputs(schema, config) if config.embeds_inputs else None,
    )


def _are_numbers(table: TrainingTable) -> str:
    names = table.target_names
    return f"{names[0]!r} is numbers" if len(names) == 1 else f"the targets {listed_names(names)} are numbers"


def check_target(table: TrainingTable, config: TrainConfig) -> None:
    """Refuses a metric, or a rule of the best epoch, that does not fit the target.

    Raises:
        ConfigError: AUC is asked for any other number of classes than two, a target of counts, durations or amounts
            has a value that is none, or is not the only target, or a share is not between 0 and 1.
    """
    if config.output_of_values == "exponential" and not table.labels:
        _check_amounts(table, config.metric)
    if config.output_of_values == "logistic" and not table.labels:
        _check_shares(table)
    if config.metric == "auc" and len(table.labels) != 2:
        raise ConfigError(
            f"metric auc ranks two classes, and target {table.target_name!r} has {len(table.labels)}: log-loss is the "
            "like for more."
        )
    if config.select_by == "auc" and len(table.labels) != 2:
        raise ConfigError(
            f"select_by auc ranks two classes, and target {table.target_name!r} has {len(table.labels)}: loss, error "
            "and balanced-error are for more."
        )


def _check_amounts(table: TrainingTable, metric: str | None) -> None:
    """Refuses values below 0. The metric gamma refuses 0 too."""
    if table.several_targets:
        raise ConfigError(
            f"metric {metric} is for one target, and there are {len(table.several_targets):,}, "
            f"{listed_names(table.several_targets)}: --metric rmse and mae take several, or train a model for each."
        )
    values, name = table.target, table.target_name
    wrong = np.flatnonzero(values <= 0 if metric == "gamma" else values < 0)
    if not len(wrong):
        return
    one = f"{values[wrong[0]]:g} in {table.place(int(wrong[0]))}"
    if metric == "gamma" and (values >= 0).all():
        remedy = "--metric poisson takes 0 too, and --metric rmse any number"
    else:
        remedy = "--metric rmse takes any number"
    kind = "durations and amounts above 0" if metric == "gamma" else "counts and amounts of 0 or more"
    raise ConfigError(
        f"metric {metric} is for {kind}, and target {name!r} has {one} ({len(wrong):,} such rows in all): {remedy}."
    )


def _check_shares(table: TrainingTable) -> None:
    """Refuses values that are not between 0 and 1."""
    for name, values in zip(table.target_names, table.target.reshape(len(table.target), -1).T, strict=True):
        wrong = np.flatnonzero((values < 0) | (values > 1))
        if len(wrong):
            place = table.place(int(wrong[0]))
            raise ConfigError(
                f"metric bernoulli is for targets of 0 and 1, and shares between them, and target {name!r} has "
                f"{values[wrong[0]]:g} in {place} ({len(wrong):,} such rows in all): --metric rmse takes any number."
            )


def _inputs(schema: Schema, config: TrainConfig) -> InputConfig:
    target = schema.target
    has_classes = isinstance(target, ClassTarget)
    out_features = len(target.labels) if isinstance(target, ClassTarget) else len(schema.values)
    places: dict[str, list[int]] = {"number": [], "flag": [], "index": []}
    for at, feature in enumerate(schema.features):
        places[feature.kind].append(at)
    return InputConfig(
        numbers=tuple(places["number"]),
        flags=tuple(places["flag"]),
        indices=tuple(places["index"]),
        categories=tuple(schema.features[at].categories for at in places["index"]),
        clip=config.clip_inputs,
        frequencies=config.frequencies,
        periodic_size=PERIODIC_SIZE,
        embedding_size=(config.embedding_size or _DEFAULT_EMBEDDING_SIZE)
        + (
            statistics_size(out_features, has_classes=has_classes)
            if config.category_statistics and places["index"]
            else 0
        ),
        scale=config.scale_inputs,
    )
