"""Encoding of whole columns as the float32 matrix of a network's input, for training: arrays, no loop over rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import NoCategory, category_of
from models.columns.cells import UNKNOWN, Refused, category_finder, category_numbers, reason
from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.dates import are_dates, circle_points, elapsed_days
from models.columns.dictionary_column import DictionaryColumn
from models.columns.gaps import CategoryGaps, NumberGaps
from models.columns.schema import Schema
from models.errors import DataError

_NO_CATEGORY, _REFUSED = -1, -2  # instead of the position of a category


def encode_columns(schema: Schema, columns: Mapping[str, NDArray[Any] | DictionaryColumn]) -> NDArray[np.float32]:
    """Encodes whole columns, with the same numbers as `RowEncoder` row by row.

    Args:
        schema: schema of the columns.
        columns: `(rows,)` values by column name. A numeric column has integers or floats, NaN for missing; a
            categorical column is a `DictionaryColumn` or an array of strings, integers or booleans, None for missing; a
            column of dates has datetime64, NaT for missing.

    Returns:
        `(rows, width)` float32.

    Raises:
        DataError: A column is absent, or has a value that the schema refuses; the message names the column.
    """
    arrays: list[NDArray[Any] | DictionaryColumn] = []
    for column in schema.columns:
        if column.name not in columns:
            raise DataError(f"column {column.name!r} is missing.")
        given = columns[column.name]
        arrays.append(given if isinstance(given, DictionaryColumn) else np.asarray(given))
        shape, expected = _shape(arrays[-1]), _shape(arrays[0])[:1]
        if len(shape) != 1 or shape != expected:
            raise DataError(f"column {column.name!r} has shape {shape} where {expected} is expected: one value a row.")
    matrix = np.zeros((len(arrays[0]), schema.width), dtype=np.float32)
    at = 0
    for column, values in zip(schema.columns, arrays, strict=True):
        block = matrix[:, at : at + column.width]
        if isinstance(column, CategoricalColumn):
            _encode_categories(column, values, block)
        elif isinstance(column, DateColumn):
            encode_dates(column, values, block)
        else:
            encode_numbers(column, values, block)
        at += column.width
    return matrix


def _shape(values: NDArray[Any] | DictionaryColumn) -> tuple[int, ...]:
    return (len(values),) if isinstance(values, DictionaryColumn) else values.shape


def encode_numbers(column: NumericColumn, values: NDArray[Any] | DictionaryColumn, block: NDArray[np.float32]) -> None:
    """Encodes one column of numbers.

    Args:
        column: description of the column.
        values: `(rows,)` integers or floats, NaN for a missing value.
        block: `(rows, width)` zeros to write to.

    Raises:
        DataError: The values are not numbers, or the column refuses a value.
    """
    # NumPy would convert strings and booleans to numbers, but those of a client are refused.
    if isinstance(values, DictionaryColumn) or values.dtype.kind not in "iuf":
        raise DataError(f"column {column.name!r} holds {_kind(values)}, not numbers.")
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    if column.gaps:
        missing |= declared_gap_rows(column, numbers)
    _take_missing(column, missing, block)
    numbers[missing] = column.fill
    with np.errstate(over="ignore"):  # an overflow gives infinity, which the next line refuses
        numbers -= column.origin
    refused = ~(np.abs(numbers) < FLOAT32_LIMIT)
    if refused.any():
        at = int(refused.argmax())
        raise DataError(f"column {column.name!r}: row {at}: {reason(column, values[at].item())}.")
    block[:, 0] = numbers


def encode_dates(column: DateColumn, values: NDArray[Any] | DictionaryColumn, block: NDArray[np.float32]) -> None:
    """Encodes one column of dates.

    Args:
        column: description of the column.
        values: `(rows,)` datetime64, NaT for a missing date.
        block: `(rows, width)` zeros to write to.

    Raises:
        DataError: The values are not dates, or the column refuses a value.
    """
    if isinstance(values, DictionaryColumn) or values.dtype.kind != "M":
        raise DataError(f"column {column.name!r} holds {_kind(values)}, not dates.")
    missing = np.isnat(values)
    if column.gaps:
        missing |= declared_gap_rows(column, values)
        values = np.where(missing, np.array("NaT", values.dtype), values)
    _take_missing(column, missing, block)
    beyond = ~(are_dates(values) | missing)
    if beyond.any():
        raise DataError(f"column {column.name!r}: row {int(beyond.argmax())} is outside the years 1 to 9999.")
    block[:, 0] = np.where(missing, column.fill, elapsed_days(values)) - column.origin
    for i, part in enumerate(column.parts):
        block[:, 1 + 2 * i : 3 + 2 * i] = circle_points(part, values)


def declared_gap_rows(column: Column, values: NDArray[Any] | DictionaryColumn) -> NDArray[np.bool_]:
    """Returns `(rows,)` True where a cell holds a declared gap of the column, such as -999.

    Args:
        column: description of the column.
        values: `(rows,)` values of the column's kind, as `encode_columns` takes them.
    """
    if not column.gaps:
        return np.zeros(len(values), dtype=np.bool_)
    if isinstance(column, CategoricalColumn):
        gaps = CategoryGaps(column.gaps)
        cells: list[Any] = [*values.names, None] if isinstance(values, DictionaryColumn) else values.tolist()
        found = np.array([_category(cell) in gaps for cell in cells], dtype=np.bool_)
        return found[values.codes] if isinstance(values, DictionaryColumn) else found
    assert not isinstance(values, DictionaryColumn)  # noqa: S101 -- only categories are names
    if isinstance(column, DateColumn):
        return np.isin(elapsed_days(values), column.gaps)
    return NumberGaps(column.gaps).rows(values)


def _category(cell: Any) -> str | None:
    try:
        return category_of(cell)
    except NoCategory:
        return None


def _take_missing(column: NumericColumn | DateColumn, missing: NDArray[np.bool_], block: NDArray[np.float32]) -> None:
    """Refuses missing values, or writes the indicator of missing values if the column has one."""
    if column.missing == "refuse" and missing.any():
        raise DataError(f"column {column.name!r}: row {int(missing.argmax())} has no value.")
    if column.missing == "indicator":
        block[:, -1] = missing


def _encode_categories(
    column: CategoricalColumn, values: NDArray[Any] | DictionaryColumn, block: NDArray[np.float32]
) -> None:
    cells: list[Any] = [*values.names, None] if isinstance(values, DictionaryColumn) else values.tolist()
    positions = _positions(column, cells)  # positions of the names and of a missing name; or of each row's cell
    if isinstance(values, DictionaryColumn):
        positions = positions[values.codes]  # the code of a missing name, -1, is the last position
    refused = positions == _REFUSED
    if refused.any():
        row = int(refused.argmax())
        cell = values[row] if isinstance(values, DictionaryColumn) else cells[row]
        raise DataError(f"column {column.name!r}: row {row}: {reason(column, cell)}.")
    known = np.flatnonzero(positions != _NO_CATEGORY)
    if column.encoding == "one_hot":
        block[known, positions[known]] = 1.0
    else:
        block[known, 0] = np.array(category_numbers(column), dtype=np.float32)[positions[known]]


def _positions(column: CategoricalColumn, cells: list[Any]) -> NDArray[np.int64]:
    """Returns the position of each cell's category, `(cells,)`, or `_NO_CATEGORY` or `_REFUSED`."""
    find = category_finder(column)
    positions = np.empty(len(cells), dtype=np.int64)
    for i, cell in enumerate(cells):
        try:
            position = find(cell)
            positions[i] = _NO_CATEGORY if position is None or position == UNKNOWN else position
        except Refused:
            positions[i] = _REFUSED
    return positions


def _kind(values: NDArray[Any] | DictionaryColumn) -> str:
    return "names" if isinstance(values, DictionaryColumn) else str(values.dtype)
