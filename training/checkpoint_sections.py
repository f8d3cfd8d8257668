"""What a checkpoint's header tells of a run: how it was trained, on what, and sentences that the user should read."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.columns.schema import Schema
from training.config import TrainConfig
from training.data.equal_rows import UNNOTED_ROWS, equal_rows_note, shown_share
from training.data.preprocessing import unseen_categories
from training.data.split import Split
from training.data.training_table import TrainingTable
from training.data.typical_rows import typical_rows
from training.engines.engine import Trained

_EXAMPLES = 5
_EXAMPLE_CELLS = 4_000  # bounds the checkpoint's header, which every reader parses


def training_section(config: TrainConfig, trained: Trained, *, rows: int) -> dict[str, Any]:
    """How it was trained: the settings and the history.

    Args:
        config: the run's.
        trained: what it came to.
        rows: of the training part.
    """
    section = config.to_dict() | {
        "epochs_run": trained.epochs_run,
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        # Seven digits are all that float32 has.
        "history": {name: [float(f"{value:.7g}") for value in values] for name, values in trained.history.items()},
    }
    if config.engine not in ("perceptron", "linear"):
        section["batch_size"] = config.batch_size_for(rows)
    return section if trained.verdict is None else section | {"verdict": trained.verdict}


def data_section(table: TrainingTable, config: TrainConfig, split: Split) -> dict[str, Any]:
    """What it was trained on: name, fingerprint, counts and a few example rows as a client would send them."""
    return {
        "name": table.name,
        "fingerprint": table.fingerprint(),
        "rows": table.rows,
        "columns": len(table.features),
        "split": split.sizes(),
        "whole_table": config.split is None,
        "examples": _examples(table, split),
    }


def notes(table: TrainingTable, schema: Schema, config: TrainConfig, trained: Trained, split: Split) -> list[str]:
    """What the figures do not tell."""
    told = [] if trained.verdict is None else [trained.verdict]
    told += table.notes
    if config.split is None:
        if table.equal_rows is not None:  # there are no parts that they could be in
            told = [note for note in told if note != equal_rows_note(table.equal_rows, table.choices)]
        told.append(f"Trained, validated and tested on the same {table.rows} rows: the figures tell what was learned.")
    elif (known := _known_rows(table, split)) is not None:
        told.append(known)
    if config.class_weight == "balanced":
        told.append(
            "Classes are balanced (class_weight): rare ones are found more often, and probabilities are those of a "
            "table whose classes are equally common. Leave --class-weight out for probabilities as the table has them."
        )
    if trained.stopped == "asked":
        told.append(f"Stopped on request after epoch {trained.epochs_run}; epoch {trained.best_epoch} is kept.")
    for name, count in unseen_categories(schema, table).items():
        categories = "1 category" if count == 1 else f"{count} categories"
        told.append(f"Column {name!r} has {categories} outside the training part only: the model does not know them.")
    return told


def _known_rows(table: TrainingTable, split: Split) -> str | None:
    """A sentence on rows of a test part that training knows; of a file's, the table's notes tell."""
    is_told = split.has_test_file or (split.by == "chance" and table.choices.equal_rows != "scatter")
    if table.equal_rows is None or is_told:
        return None
    known, identical = table.equal_rows.known(split.test, split.train)
    if known <= UNNOTED_ROWS:
        return None
    return (
        f"{shown_share(known, len(split.test))} of the test part have the same features as a row of the training part, "
        f"and {identical:,} of them the same target too: the test figures tell in part what was remembered."
    )


def _examples(table: TrainingTable, split: Split) -> list[dict[str, Any]]:
    """Made-up rows or, where the user asks for them, rows of the training part."""
    wanted = min(max(_EXAMPLE_CELLS // len(table.features), 3), _EXAMPLES)
    if table.choices.examples == "typical":
        return typical_rows(table, split.train, most=wanted)
    return [table.example(row) for row in _example_rows(table, split, wanted)]


def _example_rows(table: TrainingTable, split: Split, wanted: int) -> list[int]:
    """A few rows of the training part, without gaps where that can be, and of every class in turn."""
    has_gap = np.any([table.missing(name)[split.train] for name in table.features], axis=0)  # (train rows,)
    complete_first = split.train[np.argsort(has_gap, kind="stable")]
    if not table.labels:
        return [int(row) for row in complete_first[:wanted]]
    classes = table.target[complete_first]
    turn = np.zeros(len(classes), dtype=np.int64)  # which of its class a row is, from 0
    for label in range(len(table.labels)):
        of_class = classes == label
        turn[of_class] = np.arange(of_class.sum())
    return [int(row) for row in complete_first[np.lexsort((classes, turn))][:wanted]]
