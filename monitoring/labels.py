"""Labels that came later: a table with a label for each request, joined with logged rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import NoCategory, bare, category_of, decimal_text
from models.columns.cells import listed
from models.columns.column import Column, NumericColumn
from models.columns.date_fields import Moments
from models.columns.dates import iso_text, moment_text
from models.columns.labels import label_text
from models.errors import DataError
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from monitoring.number_keys import NumberKeys
from training.data.number_texts import Marks
from training.data.raw_column import RawColumn
from training.data.source import read_source
from training.data.table import Table
from training.data.text_format import TextFormat

REQUEST_ID, ROW = "request_id", "row"
_LABEL_NAMES = ("label", "truth", "target")
_SHOWN = 3
_SECONDS_A_DAY, _MICROSECONDS_A_DAY = 86_400, 86_400_000_000
_NO_LABEL = -1

Key = tuple[str, int] | str


@dataclass
class Labels:
    """The labels of a file.

    Attributes:
        path: path of the file.
        column: name of the column of labels.
        on: name of the input column by which rows are joined; None for the request id and the row.
        by_key: label, which is the text of a class or a value, and its row in the file, by key.
        locate: function from a row of the file to its place in words.
        marks: decimal and thousands marks of the keys; None if their texts have two readings.
        missing: number of lines without a label.
        repeated: number of lines that repeat an earlier line.
        has_rows: True if the file has a column of row numbers.
        notes: sentences on how the cells of the file were read.
        used: keys that some logged row has.
        foreign: texts that are no class of the model, by number of rows.
    """

    path: Path
    column: str
    on: str | None
    by_key: dict[Key, tuple[str | float, int]]
    locate: Callable[[int], str]
    marks: Marks | None
    missing: int = 0
    repeated: int = 0
    has_rows: bool = False
    notes: tuple[str, ...] = ()
    used: set[Key] = field(default_factory=set)
    foreign: dict[str, int] = field(default_factory=dict)
    _numbers: dict[NumericColumn, NumberKeys] = field(default_factory=dict)

    def of(self, rows: LoggedRows) -> NDArray[Any]:
        """Returns the label of each row: `(rows,)` class indices, -1 without a label; or values, NaN without one.

        Raises:
            DataError: the column of the join is not logged, or a row of a request has no number.
        """
        version = rows.version
        found = [self.by_key.get(key) if key is not None else None for key in self._keys(rows)]
        if version.labels:
            classes = {category_of(label_text(label)): place for place, label in enumerate(version.labels)}
            truth = np.full(len(rows), _NO_LABEL, dtype=np.int64)
            for at, label in enumerate(found):
                if label is not None:
                    text = str(label[0])
                    truth[at] = classes.get(text, _NO_LABEL)
                    if truth[at] < 0:
                        self.foreign[text] = self.foreign.get(text, 0) + 1
            return truth
        return np.array([math.nan if label is None else label[0] for label in found], dtype=np.float64)

    def _keys(self, rows: LoggedRows) -> list[Key | None]:
        if self.on is not None:
            keys: list[Key | None] = list(self._input_keys(rows, self.on))
        elif self.has_rows:
            keys = list(zip(rows.request_ids, rows.places.tolist(), strict=True))
        else:
            keys = [(request_id, 0) for request_id in rows.request_ids]
            for key, row in zip(keys, rows.places.tolist(), strict=True):
                if row and key in self.by_key:
                    raise DataError(
                        f"request {key[0]!r} asked for several rows (row {row} is in the log): {self.path} needs a "
                        f"column {ROW!r} with the number of each row, from 0."
                    )
        self.used.update(key for key in keys if key in self.by_key)
        return keys

    def _input_keys(self, rows: LoggedRows, name: str) -> list[str | None]:
        """Returns the cells of a logged input column as keys of the labels."""
        for column, cells in zip(rows.version.columns, rows.columns, strict=True):
            if column.name != name:
                continue
            if isinstance(cells, list):
                return list(cells)
            if isinstance(column, NumericColumn):
                return [self._one_label(keys) for keys in self._numbers_of(column).of(cells)]
            return self._moment_keys(column, _as_moments(cells))
        raise DataError(f"{rows.version} has no logged column {name!r} to join by.")

    def _moment_keys(self, column: Column, moments: Moments) -> list[str | None]:
        """Returns logged moments as keys; refuses a time of day that has labels and may be rounded."""
        keys = [None if np.isnat(moment) else iso_text(moment) for moment in moments]
        days = moments.astype(np.int64) / _MICROSECONDS_A_DAY - getattr(column, "origin", 0.0)
        is_rounded = np.spacing(np.abs(days).astype(np.float32)) * _SECONDS_A_DAY > 1
        for key, may_be_other in zip(keys, is_rounded.tolist(), strict=True):
            if may_be_other and key is not None and "T" in key and key in self.by_key:
                raise DataError(
                    f"{self.path}: column {column.name!r} is logged as 32-bit floating point, which cannot tell {key} "
                    "from the seconds beside it, so that labels would go to rows of others. Join by the request id: "
                    "give the labels a column 'request_id', and leave out --on."
                )
        return keys

    def _numbers_of(self, column: NumericColumn) -> NumberKeys:
        # Versions of a model differ in their origins.
        if column not in self._numbers:
            if self.marks is None:
                raise DataError(
                    f"{self.path}: the numbers in column {self.on!r} can be read in two ways, with a decimal dot or a "
                    "decimal comma: say which one it is (--decimal)."
                )
            texts = [key for key in self.by_key if isinstance(key, str)]
            self._numbers[column] = NumberKeys(column, texts, self.path, marks=self.marks)
        return self._numbers[column]

    def _one_label(self, keys: list[str]) -> str | None:
        """Returns the key of several spellings of one number, such as `7` and `007`."""
        if len(keys) > 1:
            first = self.by_key[keys[0]]
            for other in (self.by_key[key] for key in keys[1:]):
                if other[0] != first[0]:
                    raise self.two_labels(f"{self.on} {keys[0]!r}", first, other)
            self.used.update(keys)
        return keys[0] if keys else None

    def two_labels(self, what: str, first: tuple[str | float, int], other: tuple[str | float, int]) -> DataError:
        """Returns the error for a key with two different labels.

        Args:
            what: key in words.
            first: label and row of the first line.
            other: label and row of the line that differs.
        """
        one, two = (f"{label!r} at {self.locate(row)}" for label, row in (first, other))
        return DataError(f"{self.path}: {what} has two labels: {one} and {two}.")

    def check_classes(self, version: LoggedVersion) -> None:
        """Refuses labels if none is a class of the model.

        Raises:
            DataError: the file has labels for logged rows, and all are unknown to the model.
        """
        if self.foreign and version.labels:
            shown = ", ".join(map(repr, list(self.foreign)[:_SHOWN]))
            classes = ", ".join(label_text(label) for label in version.labels[:_SHOWN])
            raise DataError(
                f"{self.path}: no label in column {self.column!r} is a class of {version}: it has {shown}, and the "
                f"classes are {classes}{', …' if len(version.labels) > _SHOWN else ''}."
            )

    def remarks(self) -> list[str]:
        """Returns sentences on what was not joined."""
        found = list(self.notes)
        if unused := len(self.by_key) - len(self.used):
            found.append(f"{unused:,} of {len(self.by_key):,} labels belong to no row of the log.")
        if self.foreign:
            shown = ", ".join(map(repr, list(self.foreign)[:_SHOWN]))
            found.append(f"{sum(self.foreign.values()):,} rows have a label that is no class of the model: {shown}.")
        if self.missing:
            found.append(f"{self.missing:,} lines of {self.path.name} have no label.")
        if self.repeated:
            found.append(f"{self.repeated:,} lines of {self.path.name} repeat an earlier line.")
        return found


def read_label_table(path: Path, text_format: TextFormat | None = None) -> Table:
    """Reads a table of labels, as a table to train with is read.

    Args:
        path: path of the file: CSV (packed or not) or Parquet.
        text_format: the user's description of a CSV file.

    Raises:
        DataError: the file cannot be read as a table.
    """
    try:
        return read_source(path, text_format=text_format)
    except DataError as error:
        raise DataError(f"{path} is no table of labels: {error}") from error


def read_labels(
    table: Table,
    path: Path,
    *,
    written: Table,
    target: str,
    is_of_values: bool,
    column: str | None = None,
    on: str | None = None,
) -> Labels:
    """Reads the labels of a table.

    Args:
        table: table of `read_label_table`, with the marks of its numbers or the notation of the training table.
        path: path of the file.
        written: the same table without marks and notation, for the request ids.
        target: name of the model's target, under which the labels are looked for.
        is_of_values: True if the labels are numbers, False if they are classes.
        column: name of the column of labels; None to find it.
        on: name of an input column by which rows are joined; None for the request id.

    Raises:
        DataError: the file lacks a column, has a value that is no number, or two different labels for one row.
    """
    names = list(table.columns)
    columns = listed(names)
    key = REQUEST_ID if on is None else on
    if key not in names:
        raise DataError(f"{path} has no column {key!r} to join by; its columns are {columns}.")
    if column is None:
        others = [name for name in names if name not in (key, ROW)]
        wanted = [name for name in (target, *_LABEL_NAMES) if name in others]
        if not wanted and len(others) != 1:
            raise DataError(f"{path} has no column {target!r}; --label names the column of labels out of {columns}.")
        column = wanted[0] if wanted else others[0]
    elif column not in names:
        raise DataError(f"{path} has no column {column!r}; its columns are {columns}.")
    # A note on the cells of the request ids does not hold, since these are read as the file has them.
    notes = [note for note in table.notes if on is not None or not note.startswith(f"Column {REQUEST_ID!r} of ")]
    cells = _values(table, column, target, notes) if is_of_values else _texts(table, column)
    labels = Labels(
        path=path,
        column=column,
        on=on,
        by_key={},
        locate=table.locate,
        marks=table.decision(key).marks,
        has_rows=on is None and ROW in names,
        notes=tuple(notes),
    )
    keys = _texts(table, key) if on is not None else _request_ids(written, table.missing.of(REQUEST_ID))
    rows = _row_numbers(path, table) if labels.has_rows else [0] * len(keys)
    for at, (one, row, label) in enumerate(zip(keys, rows, cells, strict=True)):
        if one is None or label is None:
            labels.missing += 1
            continue
        place: Key = one if on is not None else (one, row)
        known = labels.by_key.setdefault(place, (label, at))
        if known[1] != at:
            if known[0] != label:
                what = f"{on} {one!r}" if on is not None else f"request {one!r}, row {row},"
                raise labels.two_labels(what, known, (label, at))
            labels.repeated += 1
    if not labels.by_key:
        raise DataError(f"{path} has no label in column {column!r}.")
    return labels


def _texts(table: Table, name: str) -> list[str | None]:
    return [_text(cell) for cell in table.with_texts(name).to_pylist()]


def _request_ids(written: Table, missing: Collection[str]) -> list[str | None]:
    """Returns request ids as the log has these: texts unchanged, and whole numbers as digits; None for a missing one.

    A request id is no category: `1.0` and `1`, `TRUE` and `true` are different ids, and `NA` is one. Blanks at the ends
    are those of the file, since no header has any.

    Args:
        written: table as the file has it.
        missing: texts that the user declares missing.
    """
    cells = written.unchanged(REQUEST_ID).to_pylist()
    ids = [bare(cell) if isinstance(cell, str) else _text(cell) for cell in cells]
    return [one if one and one not in missing else None for one in ids]


def _values(table: Table, name: str, target: str, notes: list[str]) -> list[float | None]:
    """Reads labels that are numbers, with the marks and the unit of the target in training."""
    if table.precedent is not None and name != target:
        notations = {**table.precedent.notations, name: table.precedent.of(target)}
        table = replace(table, precedent=replace(table.precedent, notations=notations))
    column = RawColumn(table, name, "target")
    numbers = column.numbers(forced=True, remedy="leave the row out")
    if numbers is None:
        raise DataError(f"{column.called} holds no numbers.")
    column.check_range(numbers)
    notes += column.notes()
    return [None if math.isnan(number) else number for number in numbers.tolist()]


def _text(cell: Any) -> str | None:
    """Returns a cell as text, in the spelling of the model's categories; None for a missing cell."""
    if cell is None:
        return None
    if isinstance(cell, datetime):
        return moment_text(cell)
    if isinstance(cell, Decimal):
        cell = decimal_text(cell)
    try:
        return category_of(cell)
    except NoCategory:
        return str(cell)


def _row_numbers(path: Path, table: Table) -> list[int]:
    found = []
    for at, text in enumerate(_texts(table, ROW)):
        if text is None or not text.isdecimal():
            raise DataError(
                f"{path}, {table.locate(at)}: {text!r} in column {ROW!r} is no number of a row, which count from 0."
            )
        found.append(int(text))
    return found


def _as_moments(cells: NDArray[Any]) -> Moments:
    return cells.astype("datetime64[us]")
