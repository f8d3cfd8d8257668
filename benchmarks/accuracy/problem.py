"""A problem: a table, its target, and the split that every method is given alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import Task

SHARES = (0.70, 0.15, 0.15)
_SUBSAMPLE_SEED = 20_240_701  # one subsample of a large table for all seeds


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers: to learn from, to stop or select by, and to be scored on."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a method is given.

    Attributes:
        name: the data set's.
        task: `classification` or `regression`.
        target: the name of the column to predict.
        features: float64 columns with NaN for missing, and pandas categories, whose codes are those of the whole table.
        y: `(rows,)` int64 indices into `labels`, or float64 values.
        labels: the classes, sorted; empty for regression.
        split: which rows are for what.
        seed: of the split, and of the method.
    """

    name: str
    task: Task
    target: str
    features: pd.DataFrame
    y: NDArray[np.int64] | NDArray[np.float64]
    labels: tuple[str, ...]
    split: Split
    seed: int

    @property
    def categorical(self) -> list[str]:
        """The columns that hold categories."""
        return [name for name in self.features.columns if self.features[name].dtype != np.float64]

    @property
    def numeric(self) -> list[str]:
        """The columns that hold numbers."""
        return [name for name in self.features.columns if self.features[name].dtype == np.float64]


def load_problem(path: Path, *, name: str, task: Task, target: str, seed: int, max_rows: int) -> Problem:
    """A data set of the cache as a problem.

    Args:
        path: its Parquet file.
        name: what it is called.
        task: `classification` or `regression`.
        target: the column to predict.
        seed: of the split.
        max_rows: a larger table is cut to this many rows, drawn once for all seeds.
    """
    table = pd.read_parquet(path)
    if len(table) > max_rows:
        drawn = np.random.default_rng(_SUBSAMPLE_SEED).choice(len(table), size=max_rows, replace=False)
        table = table.iloc[np.sort(drawn)].reset_index(drop=True)
    features = {}
    for column in table.columns.drop(target):
        cells = table[column]
        features[column] = cells if cells.dtype == np.float64 else cells.astype(object).astype("category")
    if task == "classification":
        labels, y = np.unique(table[target].to_numpy(dtype=str), return_inverse=True)
        strata = y.astype(np.int64)
    else:
        labels, y = np.array([], dtype=str), table[target].to_numpy(dtype=np.float64)
        strata = np.zeros(len(y), dtype=np.int64)
    return Problem(
        name=name,
        task=task,
        target=target,
        features=pd.DataFrame(features),
        y=strata if task == "classification" else y,
        labels=tuple(str(label) for label in labels),
        split=stratified(strata, seed=seed),
        seed=seed,
    )


def stratified(strata: NDArray[np.int64], *, seed: int) -> Split:
    """70 % of each stratum to train with, 15 % to validate, 15 % to test, each part shuffled.

    Args:
        strata: `(rows,)` a row's class; all the same for regression.
        seed: of the shuffle.
    """
    rng = np.random.default_rng(seed)
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        cuts = np.rint(np.cumsum(SHARES)[:2] * len(rows)).astype(np.int64)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    train, validation, test = (rng.permutation(np.concatenate(part)) for part in parts)
    return Split(train=train, validation=validation, test=test)
