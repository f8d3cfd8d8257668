"""A change of task: a new version that predicts another target or kind of target than the current version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.columns.schema import Schema
from models.errors import AxonError
from models.model_store import ModelStore
from models.network.architecture import architecture_from_dict
from training.data.class_codes import classes_option
from training.data.listed_names import listed_names
from training.data.split import MIN_CLASS_ROWS
from training.data.training_table import TrainingTable
from training.fitted_model import FittedModel


def with_task_change(model: FittedModel, store: ModelStore) -> FittedModel:
    """Returns the model, with one more note if the published model of the same name has another task.

    Args:
        model: model to publish.
        store: store to publish to.
    """
    change = task_change(store, model.name, model.table)
    return model if change is None else replace(model, notes=(change, *model.notes))


def task_change(store: ModelStore, name: str, table: TrainingTable) -> str | None:
    """Returns a sentence if publishing would change the task of a name; None if not.

    Args:
        store: store to publish to.
        name: name of the model to publish.
        table: data of the model to publish.
    """
    try:
        before = store.resolve(name)
        header = before.read_header()
        task, target = architecture_from_dict(header["architecture"]).task, Schema.from_dict(header).target
    except (AxonError, KeyError, TypeError):
        return None  # there is no version of that name, or it is unreadable
    if task != table.task:
        return (
            f"{before} is a {task} of {listed_names(target.names)}, and this is a {table.task} of "
            f"{listed_names(table.target_names)}: whoever asks {name!r} gets answers of another kind.{_remedy(table)}"
        )
    if target.names != table.target_names:
        return (
            f"{before} predicts {listed_names(target.names)}, and this predicts "
            f"{listed_names(table.target_names)}: whoever asks {name!r} gets answers to another question."
        )
    return None


def _remedy(table: TrainingTable) -> str:
    """Returns a sentence on the option that keeps the former task; empty if the data do not allow that task."""
    if table.labels:
        return " To have a regression again, say --task regression." if table.label_type in ("int", "float") else ""
    if table.several_targets:
        return ""
    values, counts = np.unique(table.target[: table.rows - table.test_rows], return_counts=True)
    if (counts >= MIN_CLASS_ROWS).sum() < 2:
        return ""
    return f" To have a classification again, say {classes_option(values, counts)}."
