"""A column's values after reading: numbers, dates or categories."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import MISSING, DictionaryColumn

Kind = Literal["numeric", "categorical", "date"]

# `(rows,)` float64 with NaN for missing, datetime64[us] in UTC with NaT for missing, or categories.
Values = NDArray[Any] | DictionaryColumn


def kind_of(values: Values) -> Kind:
    """Returns the kind of a column's values."""
    if isinstance(values, DictionaryColumn):
        return "categorical"
    return "date" if values.dtype.kind == "M" else "numeric"


def missing_of(values: Values) -> NDArray[np.bool_]:
    """Returns `(rows,)` True for a missing value."""
    if isinstance(values, DictionaryColumn):
        return values.missing()
    return np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)


def joined(first: Values, second: Values) -> Values:
    """Concatenates the rows of two columns of one kind.

    Raises:
        TypeError: the columns are of different kinds.
    """
    if isinstance(first, DictionaryColumn) and isinstance(second, DictionaryColumn):
        return joined_names(first, second)
    if isinstance(first, DictionaryColumn) or isinstance(second, DictionaryColumn):
        raise TypeError("names cannot be joined to numbers or dates.")
    return np.concatenate((first, second))


def joined_names(first: DictionaryColumn, second: DictionaryColumn) -> DictionaryColumn:
    """Concatenates the rows of two categorical columns; the codes of the first do not change."""
    place = {name: i for i, name in enumerate(first.names)}
    places = [place.setdefault(name, len(place)) for name in second.names]
    codes = np.array([*places, MISSING], dtype=np.int32)[second.codes]  # code -1 takes the last element
    return DictionaryColumn(np.concatenate((first.codes, codes)), tuple(place))


def content_of(values: Values) -> tuple[str, bytes]:
    """Returns a column's kind and the SHA-256 of its cells, equal for equal columns in any memory layout."""
    if isinstance(values, DictionaryColumn):
        # Only categories that occur, sorted: the order in which they were found must not matter.
        names = sorted(values.distinct())
        place = {name: i for i, name in enumerate(names)}
        places = np.array([*(place.get(name, -1) for name in values.names), -1], dtype="<i4")
        head = "".join(f"{len(name)}:{name}" for name in names).encode()
        return "O", hashlib.sha256(head + b"\n" + places[values.codes].tobytes()).digest()
    if values.dtype.kind == "M":
        return "M", hashlib.sha256(values.astype("datetime64[us]").astype("<i8").tobytes()).digest()
    if values.dtype.kind != "f":
        return "i", hashlib.sha256(values.astype("<i8").tobytes()).digest()
    # All NaN get one bit pattern, and so do 0.0 and -0.0.
    return "f", hashlib.sha256(np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes()).digest()
