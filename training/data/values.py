"""A column's values once it is understood: numbers, dates or names."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import MISSING, DictionaryColumn

Kind = Literal["numeric", "categorical", "date"]

# `(rows,)` float64 with NaN for missing, datetime64[us] of UTC with NaT for missing, or names.
Values = NDArray[Any] | DictionaryColumn


def kind_of(values: Values) -> Kind:
    """What a column's values are."""
    if isinstance(values, DictionaryColumn):
        return "categorical"
    return "date" if values.dtype.kind == "M" else "numeric"


def missing_of(values: Values) -> NDArray[np.bool_]:
    """`(rows,)` whether there is no value."""
    if isinstance(values, DictionaryColumn):
        return values.missing()
    return np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)


def joined(first: Values, second: Values) -> Values:
    """One column of the rows of two columns of one kind.

    Raises:
        TypeError: they are not of one kind.
    """
    if isinstance(first, DictionaryColumn) and isinstance(second, DictionaryColumn):
        return joined_names(first, second)
    if isinstance(first, DictionaryColumn) or isinstance(second, DictionaryColumn):
        raise TypeError("names cannot be joined to numbers or dates.")
    return np.concatenate((first, second))


def joined_names(first: DictionaryColumn, second: DictionaryColumn) -> DictionaryColumn:
    """One column of the rows of two; the codes of the first stay as they are."""
    place = {name: i for i, name in enumerate(first.names)}
    places = [place.setdefault(name, len(place)) for name in second.names]
    codes = np.array([*places, MISSING], dtype=np.int32)[second.codes]  # code -1 is the last
    return DictionaryColumn(np.concatenate((first.codes, codes)), tuple(place))


def content_of(values: Values) -> tuple[str, bytes]:
    """A column's kind and a SHA-256 over its cells: equal for equal columns, however they are held in memory."""
    if isinstance(values, DictionaryColumn):
        # Names in their own order and only those that occur, so that the order in which they were found does not tell.
        names = sorted(values.distinct())
        place = {name: i for i, name in enumerate(names)}
        places = np.array([*(place.get(name, -1) for name in values.names), -1], dtype="<i4")
        head = "".join(f"{len(name)}:{name}" for name in names).encode()
        return "O", hashlib.sha256(head + b"\n" + places[values.codes].tobytes()).digest()
    if values.dtype.kind == "M":
        return "M", hashlib.sha256(values.astype("datetime64[us]").astype("<i8").tobytes()).digest()
    if values.dtype.kind != "f":
        return "i", hashlib.sha256(values.astype("<i8").tobytes()).digest()
    # One bit pattern for NaN and one for zero, whatever the file had.
    return "f", hashlib.sha256(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes()).digest()
