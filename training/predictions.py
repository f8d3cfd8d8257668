"""Predictions for a table in a file: the columns are read as in training, and the model answers each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.cell_text import tidy
from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.column_encoding import encode_columns
from models.columns.dictionary_column import DictionaryColumn
from models.columns.labels import Label
from models.columns.schema import ValuesTarget
from models.covered_answers import covering_columns, names_of_bounds, value_columns
from models.errors import DataError, RowError
from models.label_arrays import label_array_type
from training.data.features import read_as_earlier
from training.data.notation import Precedent, precedent_of
from training.data.raw_column import RawColumn
from training.data.table import Table
from training.data.text_reading import with_earlier_gaps
from training.data.values import Kind, Values


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The answers of a model for the rows of a table.

    Attributes:
        answers: label, or value in the unit of the target, of each row; of several targets, the list of the values.
        classes: labels in the order of the probabilities; empty for a regression.
        probabilities: `(rows, classes)` float32; None for a regression or a perceptron.
        unknown: number of cells with a category unknown from training, by column.
        intervals: `(rows, 2)` lower and upper bounds of the values, `(rows, targets, 2)` of several targets; None if
            they were not asked for.
        sets: labels that each row may have; None if they were not asked for.
        targets: names of several targets, in the order of the values; empty for one target.
        notes: sentences on how the cells of the table were read.
    """

    answers: list[Any]
    classes: tuple[Label, ...]
    probabilities: NDArray[np.float32] | None
    unknown: Mapping[str, int]
    intervals: NDArray[np.float64] | None = None
    sets: list[list[Label]] | None = None
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def beside(self, table: Table, *, prefix: str = "") -> pa.Table:
        """Returns the table with new columns `prediction`, and `probability LABEL` for each class.

        With intervals, `low` and `high` follow; or `set`, the JSON list of the labels. Each of several targets has its
        own `prediction_TARGET`, `prediction_TARGET_low` and `prediction_TARGET_high`.

        Args:
            table: table of the answered rows.
            prefix: prefix of the new columns' names.

        Raises:
            DataError: the table has a column with such a name, or two new columns would have the same.
        """
        columns = {name: table.unchanged(name) for name in table.columns}
        columns = {name: _plain(cells) for name, cells in columns.items()}
        new = self._columns_of_targets(prefix) if self.targets else {f"{prefix}prediction": self._labels_or_values()}
        if self.probabilities is not None:
            for i, label in enumerate(self.classes):
                new[f"{prefix}probability {_written(label)}"] = pa.array(self.probabilities[:, i])
        sets = None if self.sets is None else [orjson.dumps(labels).decode() for labels in self.sets]
        if not self.targets:
            new |= {name: pa.array(cells) for name, cells in covering_columns(self.intervals, sets, prefix).items()}
        if taken := next((name for name in new if name in columns), None):
            raise DataError(
                f"{table.source} has a column {taken!r}: have the new ones named otherwise (--prefix NAME)."
            )
        return pa.table(columns | new)

    def _labels_or_values(self) -> pa.Array:
        return pa.array(self.answers, type=label_array_type(self.classes) if self.classes else pa.float64())

    def _columns_of_targets(self, prefix: str) -> dict[str, pa.Array]:
        """Returns the predictions of several targets, and then their bounds, by the name of the column."""
        names = value_columns(self.targets, prefix)
        values = np.array(self.answers, dtype=np.float64).reshape(-1, len(names))
        cells = list(values.T)
        if self.intervals is not None:
            names += names_of_bounds(names)
            cells += list(self.intervals.reshape(len(values), -1).T)
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise DataError(
                f"a bound of a target and the predictions of another would both be the column {twice[0]!r}: leave out "
                "--intervals, or train with other names."
            )
        return {name: pa.array(np.ascontiguousarray(own)) for name, own in zip(names, cells, strict=True)}


def predict_table(checkpoint: Checkpoint, table: Table, *, level: float | None = None) -> Predictions:
    """Answers each row of a table.

    Args:
        checkpoint: checkpoint of the model.
        table: table with the columns of the model in any order; other columns are ignored.
        level: level of intervals or sets; None for an answer without.

    Raises:
        DataError: a column is missing, the model does not accept a cell, or an answer is not finite.
        ConfigError: the model has no calibration rows, or does not support the level.
    """
    schema, target = checkpoint.schema, checkpoint.schema.target
    if table.precedent is None:
        table = replace(table, precedent=training_notation(checkpoint.data))
    notes: list[str] = []
    values = read_columns(schema.columns, table, notes)
    answerer = Answerer(checkpoint)
    x = encode_columns(schema, values)
    try:
        answers = answerer.finite_answer(x)
    except RowError as error:
        fault = error.faults[0]
        column = "" if fault.column is None else f", column {fault.column!r}"
        raise DataError(f"{table.source}: {table.locate(fault.row)}{column}: {fault.message}.") from None
    classes = answerer.classes
    covered = None if level is None else answerer.covered(answers, level)
    return Predictions(
        answers=answers.tolist() if isinstance(target, ValuesTarget) else answerer.labelled(answers),
        classes=classes,
        probabilities=answers.astype(np.float32) if checkpoint.config.has_probabilities else None,
        unknown={
            column.name: count
            for column in schema.columns
            if isinstance(column, CategoricalColumn) and (count := _count_unknown(column, values[column.name]))
        },
        intervals=None if covered is None else covered.intervals,
        sets=None if covered is None else covered.sets,
        targets=target.names if isinstance(target, ValuesTarget) else (),
        notes=tuple(notes),
    )


def training_notation(data: Mapping[str, Any]) -> Precedent | None:
    """Returns how the training table wrote its numbers and gaps; None for a model that does not say so.

    Args:
        data: section of a checkpoint on the data.

    Raises:
        DataError: this version of Axon does not read what the section says.
    """
    return precedent_of(data.get("numbers"), data.get("missing_values"), source="the training table")


def read_columns(columns: Sequence[Column], table: Table, notes: list[str]) -> dict[str, Values]:
    """Reads the columns of a model from a table, each as the kind of the model's column.

    The values that were declared missing in training are gaps.

    Args:
        columns: columns of the model.
        table: table with these columns in any order; other columns are ignored.
        notes: list to which notes on how cells are read are appended.

    Returns:
        The values of each column, by name, in the order of the model's columns.

    Raises:
        DataError: a column is missing, or a cell is of another kind or unit.
    """
    # Training tidies the names of columns; an imported model has those of its table, such as " b" of a CSV file.
    places = {column.name: column.name if column.name in table.columns else tidy(column.name) for column in columns}
    table = with_earlier_gaps(table, places.values(), notes)
    return {column.name: _read(RawColumn(table, places[column.name]), column, notes) for column in columns}


def _read(column: RawColumn, like: Column, notes: list[str]) -> Values:
    """Reads a column as the kind of the model's column."""
    kind: Kind = "date" if isinstance(like, DateColumn) else "numeric"
    if isinstance(like, CategoricalColumn):
        return read_as_earlier(column, "categorical", notes, form=None, categories=like.categories)
    form = like.form if isinstance(like, DateColumn) else None
    return read_as_earlier(column, kind, notes, form=form, categories=None)


def _count_unknown(column: CategoricalColumn, values: Values) -> int:
    if not isinstance(values, DictionaryColumn):
        return 0
    known = set(column.categories)
    is_unknown = np.array([*(name not in known for name in values.names), False])  # a missing name's code is -1
    return int(is_unknown[values.codes].sum())


def _plain(cells: pa.Array) -> pa.Array:
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells


def _written(label: Label) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
