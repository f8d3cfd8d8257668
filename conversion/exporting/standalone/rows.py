"""The rows of an exported model: lists, mappings of columns and data frames become one matrix of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from conversion.exporting.standalone.columns import CellError
from models.columns.frame_rows import rows_of
from models.columns.row_names import RowNames


class Column(Protocol):
    """A column of the model."""

    @property
    def name(self) -> str:
        """Name of the column."""

    def encode(self, cells: Sequence[Any]) -> NDArray[np.float32]:
        """Returns the features of cells, (rows, width)."""


def encode_rows(data: Any, columns: Sequence[Column]) -> NDArray[np.float32]:
    """Returns the features of rows, (rows, width).

    Args:
        data: list of mappings by column name, list of lists in column order, mapping of columns, data frame, or array
            of two dimensions.
        columns: columns of the model.

    Raises:
        ValueError: The model does not take a cell; the message names row and column.
    """
    names = [column.name for column in columns]
    if isinstance(data, Mapping) and any(isinstance(cells, list | tuple | np.ndarray) for cells in data.values()):
        data = rows_of_columns(data, names)
    known = RowNames(names)
    rows = [ordered(i, row, names, known) for i, row in enumerate(rows_of(data, names))]
    return np.hstack([column.encode([row[at] for row in rows]) for at, column in enumerate(columns)])


def rows_of_columns(data: Mapping[Any, Any], names: Sequence[str]) -> list[list[Any]]:
    """Returns the rows of a mapping of columns; columns that the model does not have are ignored."""
    known = RowNames(names)
    found = {name: cells for key, cells in data.items() if (name := known.find(key)) is not None}
    if lacking := [name for name in names if name not in found]:
        raise CellError(f"the table lacks column {lacking[0]!r}.")
    return [list(row) for row in zip(*(found[name] for name in names), strict=True)]


def ordered(i: int, row: Any, names: Sequence[str], known: RowNames) -> Sequence[Any]:
    """Returns the cells of a row in column order."""
    if isinstance(row, Mapping):
        for key, _ in known.misfits(row):
            raise CellError(f"row {i}: {key!r} is not a column of this model, or names one twice.")
        cells = {known.find(key): cell for key, cell in row.items()}
        for name in names:
            if name not in cells:
                raise CellError(f"row {i}, column {name!r}: this column is missing.")
        return [cells[name] for name in names]
    if not isinstance(row, list | tuple) or len(row) != len(names):
        raise CellError(f"row {i}: a list of {len(names)} values or a mapping by column name is expected.")
    return row


def check_finite(answers: NDArray[np.float32]) -> None:
    """Raises an error for the first row whose answer is not finite."""
    for row in np.flatnonzero(~np.isfinite(answers).all(axis=1)):
        raise CellError(f"row {row}: the answer is not finite: a number is far outside the range that training saw.")
