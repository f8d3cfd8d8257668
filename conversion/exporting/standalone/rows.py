"""The rows of an exported model: lists, mappings of columns and data frames become one matrix of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    categorical = [column.name for column in columns if hasattr(column, "categories")]
    if isinstance(data, Mapping) and any(map(is_column, data.values())):
        data = table_of(data, names)
    numeric = [column.name for column in columns if not hasattr(column, "categories") and not hasattr(column, "parts")]
    known = RowNames(names)
    given = rows_of(data, names, categorical=categorical, numeric=numeric)
    rows = [ordered(i, row, names, known) for i, row in enumerate(given)]
    return np.hstack([column.encode([row[at] for row in rows]) for at, column in enumerate(columns)])


@dataclass(frozen=True)
class TableColumn:
    """A column of a table of columns.

    Attributes:
        cells: list, tuple, array, or series of pandas, polars or Arrow.
    """

    cells: Any

    @property
    def dtype(self) -> Any:
        """Type of the cells; an empty text if unknown."""
        return getattr(self.cells, "dtype", getattr(self.cells, "type", ""))

    def to_pylist(self) -> list[Any]:
        """Returns the cells as a list."""
        cells = self.cells
        return list(cells.to_pylist() if hasattr(cells, "to_pylist") else cells)


@dataclass(frozen=True)
class ColumnTable:
    """A mapping of columns that `rows_of` reads as an Arrow table.

    Attributes:
        columns: columns by name.
    """

    columns: Mapping[str, Any]

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self.columns)

    def column(self, name: str) -> TableColumn:
        """Returns a column."""
        return TableColumn(self.columns[name])


def is_column(cells: Any) -> bool:
    """Returns True for the cells of a column, as opposed to one cell."""
    is_listed = isinstance(cells, list | tuple | np.ndarray)
    return is_listed or hasattr(cells, "to_list") or hasattr(cells, "to_pylist")


def table_of(data: Mapping[Any, Any], names: Sequence[str]) -> ColumnTable:
    """Returns a mapping of columns as a table; columns that the model does not have are ignored."""
    known = RowNames(names)
    found: dict[str, Any] = {}
    for key, cells in data.items():
        if (name := known.find(key)) is None:
            continue
        if name in found:
            raise CellError(f"the table has column {name!r} twice.")
        found[name] = cells
    if lacking := [name for name in names if name not in found]:
        raise CellError(f"the table lacks column {lacking[0]!r}.")
    return ColumnTable(found)


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
