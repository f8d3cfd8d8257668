"""Rows of the user's own for the comparison of an imported model, from a table in a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.importing.affine_features import NumberStatistics
from models.columns.column import Column
from models.columns.dictionary_column import DictionaryColumn
from training.data.source import read_source
from training.predictions import read_columns


def rows_and_statistics(
    source: str, columns: Sequence[Column], notes: list[str]
) -> tuple[list[list[Any]], dict[str, NumberStatistics]]:
    """Reads the rows of a table, and computes the statistics of its columns of numbers.

    Args:
        source: path of a CSV or Parquet file.
        columns: columns of the model, in order; other columns of the table are ignored.
        notes: list to which notes on how cells are read are appended.

    Raises:
        DataError: The table cannot be read, or lacks a column.
    """
    values = read_columns(columns, read_source(source), notes)
    statistics: dict[str, NumberStatistics] = {}
    cells: list[list[Any]] = []
    for name, column in values.items():
        if isinstance(column, DictionaryColumn):
            cells.append(column.to_strings().tolist())
            continue
        cells.append([None if np.isnan(number) else number for number in column.tolist()])
        present = column[~np.isnan(column)]
        if len(present):
            spread = float(present.std())
            statistics[name] = NumberStatistics(
                mean=float(present.mean()),
                std=spread if spread > 0 else 1.0,
                minimum=float(present.min()),
                maximum=float(present.max()),
            )
    return [list(row) for row in zip(*cells, strict=True)], statistics
