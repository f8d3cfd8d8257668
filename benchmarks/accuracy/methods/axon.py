"""Axon's own recipes, used as the service uses a model: raw rows, encoded by the checkpoint's schema."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.problem import Problem
from models.columns.encoding import RowEncoder
from training.data.split import Split
from training.data.training_table import ColumnChoices
from training.fit import fit_table
from training.sources import read_table


def predict(problem: Problem, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Returns probabilities `(test rows, classes)` or values `(test rows,)`, and the number of the epoch that was kept.

    Args:
        problem: problem whose validation part chooses the best epoch.
        settings: fields of `TrainConfig`.
    """
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
    fitted = fit_table(table, config, device="cpu", split=split)
    assert np.array_equal(fitted.split.test, problem.split.test), "scored on the rows that all methods are scored on"
    rows = [fitted.table.example(int(row)) for row in problem.split.test]
    checkpoint = fitted.checkpoint
    answers = checkpoint.inference_network().answer(RowEncoder(checkpoint.schema).encode_matrix(rows))
    notes = {"epoch": fitted.trained.best_epoch, "epochs": fitted.trained.epochs_run}
    if problem.task == "regression":
        return answers[:, 0].astype(np.float64), notes
    labels = list(getattr(checkpoint.schema.target, "labels", ()))
    return answers[:, [labels.index(label) for label in problem.labels]].astype(np.float64), notes
