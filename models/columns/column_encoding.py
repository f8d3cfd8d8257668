"""Whole columns → the float32 matrix that a network takes, as training encodes them: arrays, no loop over rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import UNKNOWN, Refused, category_finder, category_numbers, reason
from models.columns.column import FLOAT32_LIMIT, CategoricalColumn, DateColumn, NumericColumn
from models.columns.dates import are_dates, circle_points, elapsed_days
from models.columns.dictionary_column import DictionaryColumn
from models.columns.schema import Schema
from models.errors import DataError

_NO_CATEGORY, _REFUSED = -1, -2  # beside the positions of categories


def encode_columns(schema: Schema, columns: Mapping[str, NDArray[Any] | DictionaryColumn]) -> NDArray[np.float32]:
    """Encodes whole columns, as training does; the same numbers as `RowEncoder` gives row by row.

    Args:
        schema: the columns.
        columns: `rows` values by column name: integers or floats, with NaN for missing, in a numeric column;
            `DictionaryColumn`, or an array of strings, integers or booleans with None for missing, in a categorical
            column; datetime64, with NaT for missing, in a column of dates.

    Returns:
        `(rows, width)` float32.

    Raises:
        DataError: a column that is not there or holds what its schema refuses, by name.
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
        column: the column.
        values: `(rows,)` integers or floats, NaN where a value is missing.
        block: `(rows, width)` zeros, written to.

    Raises:
        DataError: values that are no numbers, or one that the column refuses.
    """
    # NumPy would turn strings and booleans into numbers, and a client's are refused.
    if isinstance(values, DictionaryColumn) or values.dtype.kind not in "iuf":
        raise DataError(f"column {column.name!r} holds {_kind(values)}, not numbers.")
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    _take_missing(column, missing, block)
    numbers[missing] = column.fill
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused in the next line
        numbers -= column.origin
    refused = ~(np.abs(numbers) < FLOAT32_LIMIT)
    if refused.any():
        at = int(refused.argmax())
        raise DataError(f"column {column.name!r}: row {at}: {reason(column, values[at].item())}.")
    block[:, 0] = numbers


def encode_dates(column: DateColumn, values: NDArray[Any] | DictionaryColumn, block: NDArray[np.float32]) -> None:
    """Encodes one column of dates.

    Args:
        column: the column.
        values: `(rows,)` datetime64, NaT where a date is missing.
        block: `(rows, width)` zeros, written to.

    Raises:
        DataError: values that are no dates, or one that the column refuses.
    """
    if isinstance(values, DictionaryColumn) or values.dtype.kind != "M":
        raise DataError(f"column {column.name!r} holds {_kind(values)}, not dates.")
    missing = np.isnat(values)
    _take_missing(column, missing, block)
    beyond = ~(are_dates(values) | missing)
    if beyond.any():
        raise DataError(f"column {column.name!r}: row {int(beyond.argmax())} is outside the years 1 to 9999.")
    block[:, 0] = np.where(missing, column.fill, elapsed_days(values)) - column.origin
    for i, part in enumerate(column.parts):
        block[:, 1 + 2 * i : 3 + 2 * i] = circle_points(part, values)


def _take_missing(column: NumericColumn | DateColumn, missing: NDArray[np.bool_], block: NDArray[np.float32]) -> None:
    """Refuses missing values, or writes their indicator where the column has one."""
    if column.missing == "refuse" and missing.any():
        raise DataError(f"column {column.name!r}: row {int(missing.argmax())} has no value.")
    if column.missing == "indicator":
        block[:, -1] = missing


def _encode_categories(
    column: CategoricalColumn, values: NDArray[Any] | DictionaryColumn, block: NDArray[np.float32]
) -> None:
    cells: list[Any] = [*values.names, None] if isinstance(values, DictionaryColumn) else values.tolist()
    positions = _positions(column, cells)  # of each name and, last, of a missing one; or of each row's cell
    if isinstance(values, DictionaryColumn):
        positions = positions[values.codes]  # a missing name's code, -1, is the last
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
    """`(cells,)` the position of each cell's category, or what stands for none or a refusal."""
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
