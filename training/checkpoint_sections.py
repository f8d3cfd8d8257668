"""The sections of a checkpoint's header on a run: settings, history, data, and notes for the user."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.columns.dates import iso
from models.columns.schema import CategoricalColumn, Schema
from models.explaining.background import MOST_BACKGROUND_ROWS
from training.config import DECIDED_METRICS, TrainConfig
from training.data.equal_rows import UNNOTED_ROWS, equal_rows_note, shown_share
from training.data.listed_names import listed_names
from training.data.notation import missing_section, notation_section
from training.data.preprocessing import columns_without_effect, unseen_categories
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.data.typical_rows import typical_rows
from training.engines.engine import Trained

_EXAMPLES = 5
_BACKGROUND_CELLS = 20_000
_EXAMPLE_CELLS = 4_000  # bounds the checkpoint's header, which every reader parses


def training_section(config: TrainConfig, trained: Trained, *, rows: int) -> dict[str, Any]:
    """Returns the section on the training: the settings and the history.

    Args:
        config: settings of the run.
        trained: result of the run.
        rows: number of rows of the training part.
    """
    section = config.to_dict() | {
        "epochs_run": trained.epochs_run,
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        # float32 has no more than seven digits.
        "history": {name: [float(f"{value:.7g}") for value in values] for name, values in trained.history.items()},
    }
    if config.engine not in ("perceptron", "linear"):
        section["batch_size"] = config.batch_size_for(rows)
    return section if trained.verdict is None else section | {"verdict": trained.verdict}


def data_section(table: TrainingTable, config: TrainConfig, split: Split) -> dict[str, Any]:
    """Returns the section on the data: name, fingerprint, counts and a few example rows in the form of a request."""
    section = {
        "name": table.name,
        "fingerprint": table.fingerprint(),
        "rows": table.rows,
        "columns": len(table.features),
        "split": split.sizes(),
        "whole_table": config.split is None,
        "examples": _examples(table, split),
        "examples_kind": table.choices.examples,
    }
    if table.notations is not None:
        learned = (*table.features, *table.target_names)
        known = {name: table.notations[name] for name in learned if name in table.notations}
        section["numbers"] = notation_section(known)
        if table.missing_values:
            section["missing_values"] = missing_section(table.missing_values, table.features)
    return section | {"background": _background(table, split)} if table.choices.background == "rows" else section


def notes(table: TrainingTable, schema: Schema, config: TrainConfig, trained: Trained, split: Split) -> list[str]:
    """Returns notes for the user that the figures do not show."""
    sentences = [] if trained.verdict is None else [trained.verdict]
    sentences += table.notes
    if config.split is None:
        if table.equal_rows is not None:  # every part has all rows, so the note on equal rows in parts is wrong
            sentences = [note for note in sentences if note != equal_rows_note(table.equal_rows, table.choices)]
        sentences.append(
            f"Trained, validated and tested on the same {table.rows} rows: the figures tell what was learned."
        )
    elif (known := _known_rows(table, split)) is not None:
        sentences.append(known)
    if config.class_weight == "balanced":
        sentences.append(
            "Classes are balanced (class_weight): rare ones are found more often, and probabilities are those of a "
            "table whose classes are equally common. Leave --class-weight out for probabilities as the table has them."
        )
    if config.metric in DECIDED_METRICS:
        sentences.append(
            f"The decision between classes is for {config.metric}: the logits are shifted, so that rarer classes are "
            "answered earlier, and the probabilities are not those of the table. Leave --metric out for such."
        )
    if config.quantile is not None:
        sentences.append(
            f"The answers are the {config.quantile:g} quantile: that share of the true values should not be above them "
            "(share_below). RMSE, R² and the residuals judge the answers as a mean, which they are not."
        )
    if trained.stopped == "time":
        sentences.append(f"The time was up after epoch {trained.epochs_run}; epoch {trained.best_epoch} is kept.")
    if trained.stopped == "asked":
        sentences.append(f"Stopped on request after epoch {trained.epochs_run}; epoch {trained.best_epoch} is kept.")
    sentences += _unlearned(table, schema, split)
    for name, count in unseen_categories(schema, table).items():
        categories = "1 category" if count == 1 else f"{count} categories"
        sentences.append(
            f"Column {name!r} has {categories} outside the training part only: the model does not know them."
        )
    return sentences


def _unlearned(table: TrainingTable, schema: Schema, split: Split) -> list[str]:
    """Returns sentences on values and gaps that only the validation and test parts have."""
    sentences = []
    constant = {target.name: target.minimum for target in schema.values if target.minimum == target.maximum}
    if len(constant) == 1:
        [(name, value)] = constant.items()
        sentences.append(
            f"Target {name!r} is {value:.7g} in every row of the training part: nothing could be learned about other "
            "values of it."
        )
    elif constant:
        names = listed_names(list(constant))
        sentences.append(f"Targets {names} have one value each in the training part: nothing was learned of others.")
    alone = columns_without_effect(schema)
    if len(alone) == 1:
        [(name, value)] = alone.items()
        shown = iso(value) if table.kind(name) == "date" else f"{value:.7g}"
        sentences.append(
            f"Column {name!r} has one value only in the training part, {shown}: another value changes no answer."
        )
    elif alone:
        names = listed_names(list(alone))
        sentences.append(f"Columns {names} have one value each in the training part: others change no answer.")
    gaps = [
        column.name
        for column in schema.columns
        if not isinstance(column, CategoricalColumn)
        and column.missing == "mean"
        and not table.missing(column.name)[split.train].any()
    ]
    if gaps:
        subject, verb = ("Column", "has") if len(gaps) == 1 else ("Columns", "have")
        sentences.append(
            f"{subject} {listed_names(gaps)} {verb} missing values outside the training part only: the model answers "
            "them as an average value."
        )
    return sentences


def _known_rows(table: TrainingTable, split: Split) -> str | None:
    """Returns a sentence on test rows that are also in the training part; None if there are few.

    For a test file, and for equal rows kept together, the notes of the table have such a sentence.
    """
    is_noted = split.has_test_file or (split.by == "chance" and table.choices.equal_rows != "scatter")
    if table.equal_rows is None or is_noted:
        return None
    known, identical = table.equal_rows.known(split.test, split.train)
    if known <= UNNOTED_ROWS:
        return None
    return (
        f"{shown_share(known, len(split.test))} of the test part have the same features as a row of the training part, "
        f"and {identical:,} of them the same target too: the test figures tell in part what was remembered."
    )


def _background(table: TrainingTable, split: Split) -> list[dict[str, Any]]:
    """Chooses the rows of the training part with which explanations compare. A table always gives the same rows."""
    wanted = min(max(_BACKGROUND_CELLS // len(table.features), 1), MOST_BACKGROUND_ROWS, len(split.train))
    chosen = np.random.default_rng(0).choice(split.train, wanted, replace=False)
    return [table.example(int(row)) for row in np.sort(chosen)]


def _examples(table: TrainingTable, split: Split) -> list[dict[str, Any]]:
    """Returns typical rows, which are made up, or rows of the training part if the user asks for such."""
    wanted = min(max(_EXAMPLE_CELLS // len(table.features), 3), _EXAMPLES)
    if table.choices.examples == "typical":
        return typical_rows(table, split.train, most=wanted)
    return [table.example(row) for row in _example_rows(table, split, wanted)]


def _example_rows(table: TrainingTable, split: Split, wanted: int) -> list[int]:
    """Returns a few rows of the training part, if possible without gaps, with the classes in turn."""
    has_gap = np.any([table.missing(name)[split.train] for name in table.features], axis=0)  # (train rows,)
    complete_first = split.train[np.argsort(has_gap, kind="stable")]
    if not table.labels:
        return [int(row) for row in complete_first[:wanted]]
    classes = table.target[complete_first]
    turn = np.zeros(len(classes), dtype=np.int64)  # position of a row in its class, from 0
    for label in range(len(table.labels)):
        of_class = classes == label
        turn[of_class] = np.arange(of_class.sum())
    return [int(row) for row in complete_first[np.lexsort((classes, turn))][:wanted]]
