"""From a source to a table for training, and the configuration of the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import DataError
from models.network.config import Task
from models.store_entry import check_model_name
from training.config import TrainConfig, check_settings, resolve_for_table
from training.data.column_choices import ColumnChoices
from training.data.source import bare_stem, read_source
from training.data.table import Table
from training.data.text_format import TextFormat
from training.data.text_reading import TextReading, read_as
from training.data.training_table import TrainingTable
from training.data.understanding import read_training_table
from training.datasets import DATASETS, dataset
from training.recipes import task_of_metric

_LONGEST_NAME = 64  # longest name of a model, in characters


def read_table(
    source: object,
    *,
    target: str | Sequence[str] | None = None,
    name: str | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    missing_values: object = (),
    encoding: str | None = None,
    skip_lines: int = 0,
    comment: str | None = None,
    test: object = None,
    settings: Mapping[str, Any],
) -> tuple[TrainingTable, TrainConfig]:
    """Reads the table of a run and resolves the configuration, with the arguments of `training.fit.fit`.

    A built-in dataset has its own target and settings, over which the user's take precedence. If the user chooses a
    recipe, the settings of the dataset do not apply, except the split.

    Raises:
        DataError: the table cannot be used for training.
        ConfigError: a setting is unknown or impossible.
        InvalidName: the name of the model is not valid.
    """
    chosen = {**dataset_settings(source, settings), **settings}
    check_settings(chosen)
    called = name or model_name(source)
    check_model_name(called)
    text = TextFormat(delimiter=delimiter, encoding=encoding, skip_lines=skip_lines, comment=comment)
    reading = TextReading(decimal=decimal, thousands=thousands, missing_values=missing_values)
    raw, target, choices = read_raw(source, target=target, choices=choices, text_format=text, reading=reading)
    if target is None:
        shown = ", ".join(repr(column) for column in list(raw.columns)[:10])
        raise DataError(f"which column of {raw.source} is to be predicted? Name it (--target); there are {shown}.")
    test_part = None if test is None else read_as(read_source(test, text_format=text), reading, raw.as_precedent())
    task = task or task_of_metric(chosen.get("metric"))  # counts may look like numbered classes
    table = read_training_table(raw, name=called, target=target, task=task, choices=choices, test=test_part)
    return table, resolve_for_table(chosen, table)


def dataset_settings(source: object, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a built-in dataset, below the user's; none for another source.

    Args:
        source: source of the run.
        settings: choices of the user; a chosen recipe leaves only the dataset's split.
    """
    if not (isinstance(source, str) and source in DATASETS):
        return {}
    own = dataset(source).settings_for(settings.get("engine", "torch"))
    return own if "recipe" not in settings else {name: value for name, value in own.items() if name == "split"}


def read_raw(
    source: object,
    *,
    target: str | Sequence[str] | None,
    choices: ColumnChoices | None,
    text_format: TextFormat,
    reading: TextReading | None = None,
) -> tuple[Table, str | Sequence[str] | None, ColumnChoices | None]:
    """Reads a source; returns the raw table, the target and the choices, for a built-in dataset also its own.

    Raises:
        DataError: the source cannot be read.
    """
    reading = reading or TextReading()
    if not (isinstance(source, str) and source in DATASETS):
        return read_as(read_source(source, text_format=text_format, builtin=DATASETS), reading), target, choices
    builtin = dataset(source)
    if builtin.choices.keep_constant:
        choices = replace(choices or builtin.choices, keep_constant=True)
    return read_as(builtin.load(), reading), target or builtin.target, choices


def model_name(source: object) -> str:
    """Returns the default name of a model: the name of the dataset, the file or the folder."""
    if not isinstance(source, str | Path):
        return "model"
    path = Path(source)
    while path.name and any(sign in path.name for sign in "*?") and not path.exists():  # the folder of a pattern
        path = path.parent
    stem = bare_stem(path) or path.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:_LONGEST_NAME] or "model"
