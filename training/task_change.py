"""A change of task: a new version that answers otherwise than the one that its name means so far."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.columns.schema import Schema
from models.errors import AxonError
from models.network.config import MLPConfig
from models.store import Store
from training.data.class_codes import classes_option
from training.data.split import MIN_CLASS_ROWS
from training.data.training_table import TrainingTable
from training.fit import FittedModel


def with_task_change(model: FittedModel, store: Store) -> FittedModel:
    """The model, with a note first where it predicts another thing than what its name means in a store.

    Args:
        model: what is to be published.
        store: where it is to be published.
    """
    change = task_change(store, model.name, model.table)
    return model if change is None else replace(model, notes=(change, *model.notes))


def task_change(store: Store, name: str, table: TrainingTable) -> str | None:
    """A sentence on a model that predicts another thing than what its name means so far; None where it does not.

    Args:
        store: where it is to be published.
        name: the name under which it is to be published.
        table: what it was trained on.
    """
    try:
        before = store.resolve(name)
        header = before.read_header()
        task, target = MLPConfig.from_dict(header["architecture"]).task, Schema.from_dict(header).target
    except (AxonError, KeyError, TypeError):
        return None  # there is none before it, or none that can be read
    if task != table.task:
        return (
            f"{before} is a {task} of {target.name!r}, and this is a {table.task} of {table.target_name!r}: whoever "
            f"asks {name!r} gets answers of another kind.{_remedy(table)}"
        )
    if target.name != table.target_name:
        return (
            f"{before} predicts {target.name!r}, and this predicts {table.target_name!r}: whoever asks {name!r} gets "
            "answers to another question."
        )
    return None


def _remedy(table: TrainingTable) -> str:
    """How the target is read as it was before, where it can be."""
    if table.labels:
        return " To have a regression again, say --task regression." if table.label_type in ("int", "float") else ""
    values, counts = np.unique(table.target[: table.rows - table.test_rows], return_counts=True)
    if (counts >= MIN_CLASS_ROWS).sum() < 2:
        return ""
    return f" To have a classification again, say {classes_option(values, counts)}."
