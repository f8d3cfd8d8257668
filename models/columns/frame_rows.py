"""Conversion of a data frame, an Arrow table, an array or a list to rows as clients send.

A cell of a frame becomes the cell of a JSON request: missing values become None, moments become ISO 8601 texts in UTC,
spelled as training spells the names of moments. So frames and requests are read by the same code,
`models.columns.encoding`. This module imports neither pandas nor
pyarrow: it recognises a frame by the frame's methods.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np

from models.columns.cell_text import decimal_text
from models.columns.dates import are_dates, iso_text, moment_text
from models.columns.row_names import RowNames
from models.errors import DataError

_LISTED = 10  # columns named in a message
# Types of numbers that training spells as categories by their own digits.
_TYPED_NUMBERS = frozenset({Decimal, np.float16, np.float32})
# Types of pandas' missing values, recognised by name, because pandas may not be installed.
_GAPS = frozenset({"NAType", "NaTType"})
# Floats of less than 64 bits, as pandas, polars and Arrow write their types in lower case.
_SHORT_FLOATS = frozenset({"float16", "float32", "float", "halffloat", "float[pyarrow]", "halffloat[pyarrow]"})


def rows_of(
    data: Any, names: Sequence[str], *, categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> Sequence[Any]:
    """Returns rows that `RowEncoder.encode` takes: lists of cells in column order, or mappings by column name.

    Args:
        data: pandas or polars DataFrame, Arrow table, pandas Series (one row), two-dimensional array, mapping (one
            row), or a list of lists or mappings. Columns of a frame that the model does not know are ignored.
        names: names of the model's columns, in order.
        categorical: names of the model's columns of categories. In these columns, numbers are spelled as training
            spells those of a typed table: a float32 by its shortest digits (0.1), a decimal with all of its digits
            (1.10).
        numeric: names of the model's columns of numbers. In these columns of a frame, truth values are 1 and 0, as in a
            typed table of training.

    Raises:
        DataError: `data` has no rows, or is a frame that lacks one of the columns.
    """
    if isinstance(data, str | bytes):
        raise DataError("a text is no table: give a data frame, an Arrow table or a list of rows.")
    if isinstance(data, Mapping):
        return _listed_rows([data], names, categorical)
    own = partial(_from_columns, names=names, categorical=categorical, numeric=numeric)
    if is_arrow(data):
        return own(data.column_names, data.column, _arrow_cells)
    is_series = is_pandas(data) and data.ndim == 1  # whose names are attributes, too
    if hasattr(data, "columns") and hasattr(data, "dtypes") and not is_series:  # pandas and polars
        labels = {str(label): label for label in data.columns}
        present = list(map(str, data.columns))
        return own(present, lambda name: data[labels[name]], lambda column: column.to_list())
    if hasattr(data, "index") and hasattr(data, "to_dict"):  # one row of a data frame
        cells = {str(key): cell for key, cell in data.items()}  # `to_dict` widens a float32
        return own(list(cells), lambda name: [cells[name]], list)
    if isinstance(data, np.ndarray):
        if data.ndim != 2:
            raise DataError(f"an array of shape {data.shape} is no table: give one of shape (rows, {len(names)}).")
        return _listed_rows(data.tolist(), names, categorical, is_short=_is_short(data.dtype))
    if not isinstance(data, Sequence):
        raise DataError(f"a {type(data).__name__} is no table: give a data frame, an Arrow table or a list of rows.")
    return _listed_rows(data, names, categorical)


def is_pandas(data: Any) -> bool:
    """Returns True for a data frame or a series of pandas, whose columns are attributes under any name."""
    return hasattr(data, "iloc")


def is_arrow(data: Any) -> bool:
    """Returns True for an Arrow table or a record batch."""
    return hasattr(data, "column_names") and hasattr(data, "column") and not is_pandas(data)


def has_typed_numbers(rows: Any) -> bool:
    """Returns True if some numbers are spelled otherwise as a category than as a number: decimals, and short floats.

    Args:
        rows: two-dimensional array, or a list of lists or mappings.
    """
    if isinstance(rows, np.ndarray) and rows.dtype != np.object_:
        return _is_short(rows.dtype)
    cells = (row.values() if isinstance(row, Mapping) else row for row in rows)
    return any(not _TYPED_NUMBERS.isdisjoint(map(type, some)) for some in cells if isinstance(some, Iterable))


def _is_short(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize < 8


def _from_columns(
    present: Sequence[str],
    column_of: Callable[[str], Any],
    cells_of: Callable[[Any], list[Any]],
    names: Sequence[str],
    categorical: Collection[str],
    numeric: Collection[str],
) -> list[list[Any]]:
    known = RowNames(names)
    found: dict[str, str] = {}
    for column in present:
        if (name := known.find(column)) is None:
            continue
        if name in found:
            raise DataError(f"the table has column {name!r} twice: as {found[name]!r} and as {column!r}.")
        found[name] = column
    if lacking := [name for name in names if name not in found]:
        there = ", ".join(map(repr, present[:_LISTED])) + (", …" if len(present) > _LISTED else "")
        raise DataError(
            f"the table lacks {_counted(lacking)}, which the model was trained with; its columns are {there}."
        )
    columns = []
    for name in names:
        column = column_of(found[name])
        kind = str(getattr(column, "dtype", getattr(column, "type", ""))).lower()
        cells = _seconds(column, kind) or cells_of(column)
        if name in categorical:
            cells = [_category(cell, is_short=kind in _SHORT_FLOATS) for cell in cells]
        elif name in numeric:
            cells = [int(cell) if isinstance(cell, bool | np.bool_) else cell for cell in cells]
        columns.append([_cell(cell) for cell in cells])
    return [list(row) for row in zip(*columns, strict=True)]


def _arrow_cells(column: Any) -> list[Any]:
    # Arrow lists the numbers by which it stores the periods of pandas.
    is_periods = hasattr(getattr(column, "type", None), "freq")
    return list(column.to_pandas() if is_periods else column.to_pylist())


def _seconds(column: Any, kind: str) -> list[float | None] | None:
    """Returns durations and times of day that are stored in nanoseconds as seconds; None for another column.

    Python's own types, in which pyarrow, polars and pandas list such cells, end at microseconds.
    """
    if kind.startswith(("duration[ns]", "time64[ns]")) and hasattr(column, "cast"):  # Arrow
        whole = column.cast("int64").to_pylist()
    elif kind.startswith(("duration[ns]", "time64[ns]")) and hasattr(column, "astype"):  # pandas
        whole = column.astype("int64[pyarrow]").to_list()
    elif kind in ("duration(time_unit='ns')", "time") and hasattr(column, "to_physical"):  # polars
        whole = column.to_physical().to_list()
    else:
        return None
    return [number / 1e9 if isinstance(number, int) else None for number in whole]


def _category(cell: Any, *, is_short: bool) -> Any:
    """Returns a number as the name of a category; leaves other cells unchanged."""
    if isinstance(cell, Decimal):
        return decimal_text(cell) if cell.is_finite() else cell
    if isinstance(cell, np.floating) and cell.dtype.itemsize < 8:
        is_short = True
    if is_short and isinstance(cell, float | np.floating) and cell == cell:
        return float(str(np.float32(cell)))
    return cell


def _counted(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:_LISTED])) + (", …" if len(names) > _LISTED else "")
    return f"column {listed}" if len(names) == 1 else f"columns {listed}"


def _listed_rows(
    rows: Sequence[Any], names: Sequence[str], categorical: Collection[str], *, is_short: bool = False
) -> list[Any]:
    """Converts lists of cells and mappings; leaves rows of other types unchanged.

    Args:
        rows: lists of cells in the order of the columns, or mappings by name.
        names: names of the model's columns, in order.
        categorical: names of the model's columns of categories.
        is_short: True if all cells are floats of less than 64 bits.
    """
    known = RowNames(names)
    return [_row(row, names, known, categorical, is_short=is_short) for row in rows]


def _row(row: Any, names: Sequence[str], known: RowNames, categorical: Collection[str], *, is_short: bool) -> Any:
    if isinstance(row, np.ndarray):
        row = list(row) if row.ndim == 1 else row.tolist()  # `tolist` widens a float32
    is_mapping = isinstance(row, Mapping)
    if not is_mapping and not isinstance(row, list | tuple):
        return row
    cells = row.values() if is_mapping else row
    if is_short or not _TYPED_NUMBERS.isdisjoint(map(type, cells)):
        columns = map(known.find, row) if is_mapping else chain(names, repeat(None))
        cells = [
            _category(cell, is_short=is_short) if column in categorical else cell
            for column, cell in zip(columns, cells, strict=False)
        ]
    return dict(zip(row, map(_cell, cells), strict=True)) if is_mapping else list(map(_cell, cells))


def _cell(cell: Any) -> Any:
    """Converts a cell to the cell of a JSON request; the encoder refuses cells of other types, which stay unchanged.

    As in training, durations and times of day become seconds, and periods become the dates of their beginnings.
    """
    kind = type(cell)
    if kind is str or kind is int or cell is None:
        return cell
    if isinstance(cell, float):  # NumPy's float64 is one too
        return float(cell) if cell == cell else None
    if kind.__name__ in _GAPS:
        return None
    if isinstance(cell, np.datetime64 | np.timedelta64) and np.isnat(cell):
        return None
    if isinstance(cell, np.datetime64):
        return iso_text(cell) if are_dates(np.asarray(cell)) else str(cell)
    if isinstance(cell, np.timedelta64):
        return float(cell / np.timedelta64(1, "s"))
    if isinstance(cell, np.floating):  # also numbers of more than 64 bits, which are their own items
        return _cell(float(cell))
    if isinstance(cell, np.generic):
        item = cell.item()
        return cell if isinstance(item, np.generic) else _cell(item)
    if isinstance(cell, datetime):
        return moment_text(cell)
    if isinstance(cell, date | uuid.UUID):
        return str(cell)
    return _measured(cell)


def _measured(cell: Any) -> Any:
    if isinstance(cell, Decimal):
        return float(cell)
    if hasattr(cell, "to_timedelta64"):  # a duration of pandas, whose `total_seconds` rounds, or drops nanoseconds
        return _cell(cell.to_timedelta64())
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, time):
        return cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6
    # Periods of pandas, which may not be installed.
    return _cell(cell.to_timestamp()) if hasattr(cell, "to_timestamp") else cell
