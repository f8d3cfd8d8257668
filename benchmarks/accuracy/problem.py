"""A problem: a table, its target, and a split that is the same for every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import Task

SHARES = (0.70, 0.15, 0.15)
_SUBSAMPLE_SEED = 20_240_701  # large tables are cut to the same subsample for all seeds


@dataclass(frozen=True, kw_only=True)
class Split:
    """The row numbers of the training, validation and test part."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The result of a method on a problem.

    Attributes:
        answers: `(test rows, classes)` probabilities, or `(test rows,)` values.
        predict: function that answers rows of the problem once more, by their numbers, as the model is used.
        notes: figures to keep with the result, such as the number of the best epoch.
    """

    answers: Any
    predict: Callable[[NDArray[np.int64]], Any]
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The input of a method.

    Attributes:
        name: name of the data set.
        task: `classification` or `regression`.
        target: name of the column to predict.
        features: float64 columns with NaN for missing, and pandas categories with the codes of the whole table.
        y: `(rows,)` int64 indices into `labels`, or float64 values.
        labels: the classes, sorted; empty for regression.
        split: row numbers of each part.
        seed: seed of the split and of the method.
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
        """The names of the columns that hold categories."""
        return [name for name in self.features.columns if self.features[name].dtype != np.float64]

    @property
    def numeric(self) -> list[str]:
        """The names of the columns that hold numbers."""
        return [name for name in self.features.columns if self.features[name].dtype == np.float64]


def load_problem(
    path: Path,
    *,
    name: str,
    task: Task,
    target: str,
    seed: int,
    max_rows: int,
    group: str | None = None,
    time: str | None = None,
) -> Problem:
    """Returns a data set of the cache as a problem.

    Args:
        path: path of the Parquet file.
        name: name of the data set.
        task: `classification` or `regression`.
        target: name of the column to predict.
        seed: seed of the split.
        max_rows: largest number of rows; a larger table is subsampled, in the same way for all seeds.
        group: column whose equal values are in one part of the split, and which is no feature; None for none.
        time: column by which rows are split, the newest into the test part, whatever the seed; None for none.
    """
    table = pd.read_parquet(path)
    if len(table) > max_rows:
        drawn = np.random.default_rng(_SUBSAMPLE_SEED).choice(len(table), size=max_rows, replace=False)
        table = table.iloc[np.sort(drawn)].reset_index(drop=True)
    features = {}
    for column in table.columns.drop([target, *([] if group is None else [group])]):
        cells = table[column]
        features[column] = cells if cells.dtype == np.float64 else cells.astype(object).astype("category")
    if task == "classification":
        labels, y = np.unique(table[target].to_numpy(dtype=str), return_inverse=True)
        strata = y.astype(np.int64)
    else:
        labels, y = np.array([], dtype=str), table[target].to_numpy(dtype=np.float64)
        strata = np.zeros(len(y), dtype=np.int64)
    if group is not None:
        split = by_groups(table[group].to_numpy(), seed=seed)
    else:
        split = stratified(strata, seed=seed) if time is None else by_time(table[time].to_numpy())
    return Problem(
        name=name,
        task=task,
        target=target,
        features=pd.DataFrame(features),
        y=strata if task == "classification" else y,
        labels=tuple(str(label) for label in labels),
        split=split,
        seed=seed,
    )


def stratified(strata: NDArray[np.int64], *, seed: int) -> Split:
    """Returns a split of each stratum into 70 % train, 15 % validation and 15 % test, with each part shuffled.

    Args:
        strata: `(rows,)` the class of each row; a constant for regression.
        seed: seed of the shuffle.
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


def by_groups(groups: NDArray[Any], *, seed: int) -> Split:
    """Returns a split of whole groups, of which about 70 %, 15 % and 15 % are in the parts, in random order.

    Args:
        groups: `(rows,)` group of each row.
        seed: seed of the shuffle.
    """
    rng = np.random.default_rng(seed)
    names, group_of = np.unique(groups, return_inverse=True)
    place = rng.permutation(len(names))[group_of]  # of each row's group
    cuts = np.rint(np.cumsum(SHARES)[:2] * len(names))
    parts = [np.flatnonzero(np.searchsorted(cuts, place, side="right") == part) for part in range(3)]
    return Split(train=rng.permutation(parts[0]), validation=parts[1], test=parts[2])


def by_time(times: NDArray[Any]) -> Split:
    """Returns a split into the oldest 70 %, the next 15 % and the newest 15 % of the rows; equal times stay together.

    Args:
        times: `(rows,)` time of each row.
    """
    order = np.argsort(times, kind="stable")
    ends = np.rint(np.cumsum(SHARES)[:2] * len(times)).astype(np.int64)
    starts = [int(np.searchsorted(times[order], times[order][end])) for end in ends]
    train, validation, test = np.split(order, starts)
    return Split(train=train, validation=validation, test=test)
