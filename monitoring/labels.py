"""Labels that came later: a table with a label for each request, joined with logged rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.columns.cell_text import NoCategory, category_of, decimal_text
from models.columns.cells import listed
from models.columns.column import Column, NumericColumn
from models.columns.date_fields import Moments
from models.columns.dates import iso_text, moment_text
from models.columns.labels import label_text
from models.errors import DataError
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from monitoring.number_keys import NumberKeys

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
        by_key: label as text, and its line in the file, by key.
        missing: number of lines without a label.
        repeated: number of lines that repeat an earlier line.
        has_rows: True if the file has a column of row numbers.
        used: keys that some logged row has.
        foreign: texts that are no class of the model, by number of rows.
    """

    path: Path
    column: str
    on: str | None
    by_key: dict[Key, tuple[str, int]]
    missing: int = 0
    repeated: int = 0
    has_rows: bool = False
    used: set[Key] = field(default_factory=set)
    foreign: dict[str, int] = field(default_factory=dict)
    _numbers: dict[NumericColumn, NumberKeys] = field(default_factory=dict)

    def of(self, rows: LoggedRows) -> NDArray[Any]:
        """Returns the label of each row: `(rows,)` class indices, -1 without a label; or values, NaN without one.

        Raises:
            DataError: A label is no number, the column of the join is not logged, or a row of a request has no number.
        """
        version = rows.version
        found = [self.by_key.get(key) if key is not None else None for key in self._keys(rows)]
        if version.labels:
            classes = {category_of(label_text(label)): place for place, label in enumerate(version.labels)}
            truth = np.full(len(rows), _NO_LABEL, dtype=np.int64)
            for at, label in enumerate(found):
                if label is not None:
                    truth[at] = classes.get(label[0], _NO_LABEL)
                    if truth[at] < 0:
                        self.foreign[label[0]] = self.foreign.get(label[0], 0) + 1
            return truth
        return np.array([math.nan if label is None else self._number(*label) for label in found])

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
            texts = [key for key in self.by_key if isinstance(key, str)]
            self._numbers[column] = NumberKeys(column, texts, self.path)
        return self._numbers[column]

    def _one_label(self, keys: list[str]) -> str | None:
        """Returns the key of several spellings of one number, such as `7` and `007`."""
        if len(keys) > 1:
            first, line = self.by_key[keys[0]]
            for label, other in (self.by_key[key] for key in keys[1:]):
                if label != first:
                    raise DataError(
                        f"{self.path}: {self.on} {keys[0]!r} has two labels: {first!r} (line {line}) and {label!r} "
                        f"(line {other})."
                    )
            self.used.update(keys)
        return keys[0] if keys else None

    def _number(self, text: str, line: int) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise DataError(f"{self.path}, line {line}: {text!r} in column {self.column!r} is not a number.")
        return number

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
        found = []
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


def read_labels(path: Path, *, target: str, column: str | None = None, on: str | None = None) -> Labels:
    """Reads a table of labels: CSV (packed or not) or Parquet.

    Args:
        path: path of the file.
        target: name of the model's target, under which the labels are looked for.
        column: name of the column of labels; None to find it.
        on: name of an input column by which rows are joined; None for the request id.

    Raises:
        DataError: The file cannot be read, lacks a column, or has two different labels for one row.
    """
    frame = _read(path)
    names = list(frame.columns)
    columns = listed([str(name) for name in names])
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
    labels = Labels(path=path, column=column, on=on, by_key={}, has_rows=on is None and ROW in names)
    keys = [_text(cell) for cell in frame[key].tolist()]
    rows = _row_numbers(path, frame[ROW].tolist()) if labels.has_rows else [0] * len(keys)
    # The first line of a CSV file has the names.
    for line, (one, row, cell) in enumerate(zip(keys, rows, frame[column].tolist(), strict=True), start=2):
        label = _text(cell)
        if one is None or label is None:
            labels.missing += 1
            continue
        place: Key = one if on is not None else (one, row)
        known = labels.by_key.setdefault(place, (label, line))
        if known[1] != line:
            if known[0] != label:
                what = f"{on} {one!r}" if on is not None else f"request {one!r}, row {row},"
                raise DataError(
                    f"{path}: {what} has two labels: {known[0]!r} (line {known[1]}) and {label!r} (line {line})."
                )
            labels.repeated += 1
    if not labels.by_key:
        raise DataError(f"{path} has no label in column {column!r}.")
    return labels


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        separator = "\t" if ".tsv" in path.suffixes else ","
        return pd.read_csv(path, dtype=str, keep_default_na=False, sep=separator, skipinitialspace=True)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise DataError(f"{path} is no table of labels (CSV or Parquet): {error}") from None


def _text(cell: Any) -> str | None:
    """Returns a cell as text, in the spelling of the model's categories; None for a missing cell."""
    if cell is None or cell is pd.NaT or cell is pd.NA:
        return None
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, datetime):
        return moment_text(cell)
    if isinstance(cell, Decimal):
        cell = decimal_text(cell)
    try:
        return category_of(cell)
    except NoCategory:
        return str(cell)


def _row_numbers(path: Path, cells: list[Any]) -> list[int]:
    found = []
    for line, cell in enumerate(cells, start=2):
        text = _text(cell)
        if text is None or not text.isdecimal():
            raise DataError(
                f"{path}, line {line}: {text!r} in column {ROW!r} is no number of a row, which count from 0."
            )
        found.append(int(text))
    return found


def _as_moments(cells: NDArray[Any]) -> Moments:
    return cells.astype("datetime64[us]")
