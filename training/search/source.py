"""What a search is on: a table read as `fit` reads it, and the settings that a built-in dataset brings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.config import Task
from models.errors import DataError
from models.store import check_name
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table
from training.datasets import DATASETS, dataset
from training.sources import model_name as name_of
from training.sources import read_source as read_raw

if TYPE_CHECKING:
    from training.data.column_choices import ColumnChoices


def read_source(
    source: Any,
    *,
    target: str | None,
    name: str | None,
    task: Task | None,
    choices: ColumnChoices | None,
    delimiter: str | None,
    settings: dict[str, Any],
) -> tuple[TrainingTable, dict[str, Any]]:
    """The table, and the fields of `TrainConfig` that are set: a dataset's own under the user's.

    Raises:
        AxonError: as `fit` does.
    """
    builtin = dataset(source) if isinstance(source, str) and source in DATASETS else None
    model_name = name or name_of(source)
    check_name(model_name)
    if builtin is not None:
        settings = {**builtin.settings_for(settings.get("engine", "torch")), **settings}
        target = target or builtin.target
        choices = replace(choices or builtin.choices, keep_constant=True) if builtin.choices.keep_constant else choices
    raw = builtin.load() if builtin is not None else read_raw(source, delimiter)
    if target is None:
        shown = ", ".join(repr(column) for column in list(raw.columns)[:10])
        raise DataError(f"which column of {raw.source} is to be predicted? Name it (--target); there are {shown}.")
    return read_training_table(raw, name=model_name, target=target, task=task, choices=choices), settings
