"""Axon's own recipes, answered as a server and bulk scoring answer: raw cells, the fused network, the same bits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.problem import Learned, Problem
from models.columns.named_columns import Cells
from scoring.answering import BatchAnswerer
from training.budget import TimeBudget
from training.data.split import Split
from training.data.training_table import ColumnChoices
from training.fit import fit_table
from training.prepared_rows import with_folds
from training.sources import read_table


def learn(problem: Problem, *, budget: float | None = None, **settings: Any) -> Learned:
    """Learns a problem; the notes have the number of the epoch that was kept.

    Args:
        problem: problem whose validation part chooses the best epoch; with folds, training and validation part are
            divided among the members.
        budget: wall-clock seconds for all of it; None for no budget.
        settings: fields of `TrainConfig`.
    """
    begun = time.monotonic()
    torch.set_num_threads(1)
    target = problem.y if not problem.labels else np.array(problem.labels, dtype=object)[problem.y]
    split = Split(train=problem.split.train, validation=problem.split.validation, test=problem.split.test)
    table, config = read_table(
        problem.features.assign(**{problem.target: target}),
        target=problem.target,
        name=problem.name,
        task=problem.task,
        choices=ColumnChoices(unknown="ignore", keep_constant=True),
        settings={"seed": problem.seed, **settings},
    )
    if config.folds:
        split = with_folds(split, table, config)
    limit = None if budget is None else TimeBudget(seconds=budget, begun=begun)
    fitted = fit_table(table, config, device="cpu", split=split, threads=1, budget=limit)
    assert np.array_equal(fitted.split.test, problem.split.test), "scored on the rows that all methods are scored on"
    checkpoint = fitted.checkpoint
    answerer = BatchAnswerer(checkpoint)
    labels = list(getattr(checkpoint.schema.target, "labels", ()))
    order = [labels.index(label) for label in problem.labels]

    def predict(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        some = problem.features.iloc[rows]
        found = answerer.answer([_cells(some[name]) for name in checkpoint.schema.names], len(rows))
        assert not found.faults, found.faults[0]
        return np.asarray(found.answers[:, order] if order else found.answers[:, 0], dtype=np.float64)

    notes = {"epoch": fitted.trained.best_epoch, "epochs": fitted.trained.epochs_run}
    return Learned(answers=predict(problem.split.test), predict=predict, notes=notes)


def _cells(column: pd.Series[Any]) -> Cells:
    """Returns the cells of a column as bulk scoring passes columns of a file."""
    if column.dtype == np.float64:
        return column.to_numpy()
    return [cell if isinstance(cell, str) else None for cell in column]
