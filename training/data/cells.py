"""Cells: what a column's texts and values mean, as numbers or as names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# As JSON and spreadsheets write them: not Python's 1_000, and infinities so that they can be refused by their name.
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
_WHOLE = r"^-?\d+(\.0+)?$"


def numbers_in(texts: pa.Array, *, decimal: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reads texts as numbers.

    Args:
        texts: `(rows,)` strings, null for missing.
        decimal: "," where 5,1 may stand for 5.1; a column is read so only if that makes numbers of more of its cells.

    Returns:
        `(rows,)` values, NaN where a cell is missing or no number, and `(rows,)` whether it is a number.
    """
    read, is_number = _parse(texts)
    if decimal == "," and not is_number.all():
        by_comma, is_number_by_comma = _parse(pc.replace_substring(texts, ",", "."))
        if is_number_by_comma.sum() > is_number.sum():
            return by_comma, is_number_by_comma
    return read, is_number


def values_of(array: pa.Array) -> NDArray[np.float64]:
    """`(rows,)` numbers or truth values as float64, NaN for missing."""
    numbers = pc.cast(array, pa.int8()) if pa.types.is_boolean(array.type) else array
    # Whole numbers above 2⁵³ are rounded: float64 is what columns hold.
    return _numpy(pc.cast(numbers, pa.float64(), safe=False)).astype(np.float64)


def names_of(array: pa.Array) -> NDArray[np.object_]:
    """`(rows,)` names, None for missing.

    Truth values are `true` and `false`, however they were written, and whole numbers are written without a decimal
    part where all of the column are whole (a table with gaps turns 3 into 3.0): a client can then send JSON's own
    true and 3.
    """
    if pa.types.is_boolean(array.type):
        array = pc.if_else(array, "true", "false")
    elif pa.types.is_floating(array.type):
        array = pc.cast(pc.if_else(pc.is_nan(array), None, array), pa.string())
    elif not pa.types.is_string(array.type):
        array = pc.cast(array, pa.string())
    folded = pc.utf8_lower(array)
    if pc.all(pc.is_in(folded.drop_null(), value_set=pa.array(["true", "false"]))).as_py():
        array = folded
    elif pc.all(pc.match_substring_regex(array, _WHOLE)).as_py():
        array = pc.replace_substring_regex(array, r"\.0+$", "")
    return _numpy(array).astype(np.object_)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted, by value where all of them are whole numbers: 2 before 10."""
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _parse(texts: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    matches = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
    values = pc.cast(pc.if_else(matches, texts, pa.scalar(None, pa.string())), pa.float64())
    return _numpy(values).astype(np.float64), _numpy(matches).astype(np.bool_)


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
