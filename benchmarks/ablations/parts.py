"""The parts, and what each is compared with: methods that train on a table and return the metrics of its test part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from benchmarks.ablations.tables import CATEGORICAL, MIXED, AblationTable
from models.network.config import MLPConfig
from training.config import TrainConfig
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.engines.engine import Trained
from training.engines.network.losses import Loss
from training.engines.network.network import MemberBatch
from training.engines.train import train
from training.engines.trainer import Trainer
from training.fitted_model import fitted_model
from training.metrics import Metrics
from training.prepared_rows import PreparedRows, prepare, split_of
from training.sources import read_table

Method = Callable[[pd.DataFrame, str, int], Metrics]  # of a table, its target and a seed
Tensors = Mapping[str, NDArray[np.float32]]

MEMBERS = 4  # of the ensembles that share weights or not
_BINS = 16  # of a piecewise-linear encoding; the tables are small
_AVERAGED_FROM = 0.75  # share of the epochs after which weights are averaged
_SNAPSHOTS = (3 / 15, 7 / 15, 1.0)  # times at which the waves of the learning rate end
_OWN_OF_MEMBERS = "inputs.scale.weight"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part that a recipe could have.

    Attributes:
        about: description for the report.
        with_part: method with the part.
        without: method without the part.
        tables: tables on which the part is compared, by name.
    """

    about: str
    with_part: str
    without: str = "recipe"
    tables: Mapping[str, AblationTable] = field(default_factory=lambda: MIXED)


def by_settings(**settings: Any) -> Method:
    """Returns a method that trains by the default recipe with some settings."""

    def method(frame: pd.DataFrame, target: str, seed: int) -> Metrics:
        table, config = read_table(frame, target=target, settings={**settings, "seed": seed})
        return _metrics_of_run(table, config)

    return method


def by_columns(change: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame], **settings: Any) -> Method:
    """Returns a method that changes the columns of numbers first.

    Args:
        change: function from the columns of numbers of all rows, and of the training part, to other columns.
        settings: settings of the run.
    """

    def method(frame: pd.DataFrame, target: str, seed: int) -> Metrics:
        split = split_of(*read_table(frame, target=target, settings={"seed": seed}))
        numbers = frame.drop(columns=target).select_dtypes("number").astype(np.float64)
        others = frame.drop(columns=numbers.columns)
        changed = pd.concat([change(numbers, numbers.iloc[split.train]), others], axis=1)
        table, config = read_table(changed, target=target, settings={**settings, "seed": seed})
        return _metrics_of_run(table, config, split)

    return method


def quantile_normal(numbers: pd.DataFrame, train_part: pd.DataFrame) -> pd.DataFrame:
    """Returns the normal quantile of each value's rank among the values of training."""

    def ranked(column: pd.Series[float]) -> NDArray[np.float64]:
        known = np.sort(train_part[column.name].dropna().to_numpy())
        below, up_to = (np.searchsorted(known, column, side=side) for side in ("left", "right"))
        share = np.clip((below + up_to) / 2 / len(known), 0.5 / len(known), 1 - 0.5 / len(known))
        return np.where(column.isna(), np.nan, norm.ppf(share))

    return numbers.apply(ranked)


def piecewise_linear(numbers: pd.DataFrame, train_part: pd.DataFrame) -> pd.DataFrame:
    """Returns the columns, and the piecewise-linear encoding of each.

    A bin between two quantiles of training has 0 for values below, 1 for values above, and the share of the bin in
    between (Gorishniy et al. 2022, On embeddings for numerical features). The first layer of a network is then the
    embedding.
    """
    encoded = {}
    for name in numbers:
        edges = np.unique(train_part[name].quantile(np.linspace(0, 1, _BINS + 1)))
        if len(edges) > 2:
            for at, (low, high) in enumerate(itertools.pairwise(edges)):
                encoded[f"{name} bin {at}"] = ((numbers[name] - low) / (high - low)).clip(0, 1)
    return pd.concat([numbers, pd.DataFrame(encoded, index=numbers.index)], axis=1)


def averaged_weights(frame: pd.DataFrame, target: str, seed: int) -> Metrics:
    """Trains by the default recipe, and takes the mean of the weights after each of the last epochs.

    Izmailov et al. 2018, Averaging weights leads to wider optima and better generalization.
    """
    table, config, rows, trainer = _trainer(frame, target, seed)
    kept = [trainer.weights() for epoch in _epochs(trainer, config) if epoch > _AVERAGED_FROM * config.epochs]
    means = [torch.stack(tensors).mean(dim=0) for tensors in zip(*kept, strict=True)]
    return _metrics(table, config, rows, _trained(config, rows.architecture, trainer.tensors_of(means)))


def snapshots(frame: pd.DataFrame, target: str, seed: int) -> Metrics:
    """Trains by the default recipe, and answers by the mean of the networks at the ends of three waves.

    Huang et al. 2017, Snapshot ensembles: train 1, get M for free.
    """
    table, config, rows, trainer = _trainer(frame, target, seed)
    ends = {max(round(time * config.epochs), 1) for time in _SNAPSHOTS}
    kept = [trainer.network.tensors() for epoch in _epochs(trainer, config) if epoch in ends]
    stacked = {name: np.stack([tensors[name] for tensors in kept]) for name in kept[0]}
    return _metrics(table, config, rows, _trained(config, replace(rows.architecture, members=len(kept)), stacked))


def shared_weights(frame: pd.DataFrame, target: str, seed: int) -> Metrics:
    """Trains members that share all weights but the scale of the inputs and the last layer, as TabM-mini does.

    Gorishniy, Kotelnikov & Babenko 2025, TabM: advancing tabular deep learning with parameter-efficient ensembling.
    The scales begin as random signs.
    """
    table, config, rows, trainer = _trainer(frame, target, seed, members=MEMBERS)
    network = trainer.network
    head = f"layers.{len(network.config.layer_sizes) - 2}."
    gradients = network.parameters.gradients
    shared = [name for name in gradients if name != _OWN_OF_MEMBERS and not name.startswith(head)]
    tensors = dict(network.tensors())
    for name in shared:
        tensors[name] = np.repeat(tensors[name][:1], MEMBERS, axis=0)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], tensors[_OWN_OF_MEMBERS].shape)
    network.load({**tensors, _OWN_OF_MEMBERS: signs.astype(np.float32)})
    learn = network.learn

    def learn_together(batch: MemberBatch, loss: Loss) -> Tensor:
        found = learn(batch, loss)
        for name in shared:
            gradients[name].copy_(gradients[name].mean(dim=0, keepdim=True))
        return found

    network.learn = learn_together  # type: ignore[method-assign]
    best: tuple[float, list[Tensor]] | None = None
    for _ in _epochs(trainer, config):
        figures = trainer.evaluate()
        error = float(figures.error.mean())
        if best is None or error <= best[0]:
            best = error, trainer.weights()
    assert best is not None
    return _metrics(table, config, rows, _trained(config, rows.architecture, trainer.tensors_of(best[1])))


def _metrics_of_run(table: TrainingTable, config: TrainConfig, split: Split | None = None) -> Metrics:
    rows = prepare(table, config, split=split)
    return _metrics(table, config, rows, train(config, rows.architecture, rows.matrices(), device="cpu"))


def _trainer(
    frame: pd.DataFrame, target: str, seed: int, **settings: Any
) -> tuple[TrainingTable, TrainConfig, PreparedRows, Trainer]:
    table, config = read_table(frame, target=target, settings={**settings, "seed": seed})
    rows = prepare(table, config)
    return table, config, rows, Trainer(config, rows.architecture, rows.matrices(), device=torch.device("cpu"))


def _epochs(trainer: Trainer, config: TrainConfig) -> Iterable[int]:
    """Trains epoch by epoch, and yields the number of each epoch that has ended."""
    for epoch in range(1, config.epochs + 1):
        trainer.epoch()
        yield epoch


def _trained(config: TrainConfig, architecture: MLPConfig, tensors: Tensors) -> Trained:
    epochs = config.epochs
    return Trained(
        architecture=architecture, tensors=tensors, epochs_run=epochs, best_epoch=epochs, stopped="epochs", history={}
    )


def _metrics(table: TrainingTable, config: TrainConfig, rows: PreparedRows, trained: Trained) -> Metrics:
    return fitted_model(table, config, rows, trained).metrics["test"]


METHODS: Mapping[str, Method] = {
    "recipe": by_settings(),
    "category statistics": by_settings(category_statistics=True),
    "quantile inputs": by_columns(quantile_normal),
    "piecewise-linear inputs": by_columns(piecewise_linear, frequencies=0),
    "averaged weights": averaged_weights,
    "snapshots": snapshots,
    "members": by_settings(members=MEMBERS),
    "shared weights": shared_weights,
}

PARTS: Mapping[str, Part] = {
    "category-statistics": Part(
        about="mean target and count of each category beside its embedding",
        tables=CATEGORICAL,
        with_part="category statistics",
    ),
    "quantile-inputs": Part(
        about="numbers by the normal quantile of their rank",
        with_part="quantile inputs",
    ),
    "piecewise-linear": Part(
        about="piecewise-linear encoding of numbers, in place of the periodic embedding",
        with_part="piecewise-linear inputs",
    ),
    "averaged-weights": Part(
        about="mean of the weights of the last quarter of the epochs",
        with_part="averaged weights",
    ),
    "snapshots": Part(
        about="mean of the networks at the ends of three waves of the learning rate",
        with_part="snapshots",
    ),
    "shared-weights": Part(
        about=f"{MEMBERS} members that share weights, beside {MEMBERS} that do not",
        without="members",
        with_part="shared weights",
    ),
}
