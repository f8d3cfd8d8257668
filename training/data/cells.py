"""Cells: what a column's texts and values mean, as numbers, as dates or as names.

Columns have millions of cells, so there is no Python object a cell: texts are read by Arrow and NumPy, and names, which
are few, are looked at one by one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.dates import are_dates
from models.names import MISSING, Names

# As JSON and spreadsheets write them: not Python's 1_000, and infinities so that they can be refused by their name.
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
_MAX_DIGITS = 1_000
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
# What `models.dates.parse` reads, which is what a client may send: a test holds the two together.
_DATE = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<off_hour>\d\d)(?::?(?P<off_minute>\d\d))?)?)?$"
)
# A date as people write it where its day and month, or its century, cannot be told for certain.
_LOCAL_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}([ T]\d{1,2}:\d{2}.*)?")


def encoded(array: pa.Array) -> tuple[NDArray[np.int32], pa.Array]:
    """A column as the places of its cells in its distinct values.

    Returns:
        `(rows,)` places, -1 for missing, and the values, each of which occurs, none of them null.
    """
    if not pa.types.is_dictionary(array.type):
        array = pc.dictionary_encode(array)
    codes = _numpy(pc.fill_null(pc.cast(array.indices, pa.int32()), MISSING))
    values = array.dictionary
    occurs = np.zeros(len(values) + 1, dtype=np.bool_)
    occurs[codes] = True  # code -1 marks the last, which is no value's
    keep = occurs[:-1] & _numpy(pc.is_valid(values))
    if keep.all():
        return codes, values
    places = np.full(len(values) + 1, MISSING, dtype=np.int32)
    places[:-1][keep] = np.arange(keep.sum(), dtype=np.int32)
    return places[codes], values.filter(pa.array(keep))


def numbers_in(texts: pa.Array, *, decimal: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reads texts as numbers.

    Args:
        texts: `(rows,)` strings, null for missing.
        decimal: "," where 5,1 may stand for 5.1.

    Returns:
        `(rows,)` values, NaN where a cell is missing or no number, and `(rows,)` whether it is a number.
    """
    if decimal == ",":
        texts = pc.replace_substring(texts, ",", ".")
    is_present = _numpy(pc.is_valid(texts))
    try:
        # Arrow takes the same texts for numbers as the pattern does, and "nan" beside.
        values = _numpy(pc.cast(texts, pa.float64())).astype(np.float64)
    except pa.ArrowInvalid:
        pass
    else:
        if not (np.isnan(values) & is_present).any():
            return values, is_present
    matches = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
    numbers = pc.cast(pc.if_else(matches, texts, pa.scalar(None, texts.type)), pa.float64())
    return _numpy(numbers).astype(np.float64), _numpy(matches).astype(np.bool_)


def dates_in(texts: pa.Array) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Reads texts as ISO 8601 dates, with or without a time and an offset from UTC.

    Args:
        texts: `(rows,)` strings, null for missing.

    Returns:
        `(rows,)` datetime64[us] of UTC, NaT where a cell is missing or no date, and `(rows,)` whether it is a date.
    """
    dates = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[us]")
    is_date = _numpy(pc.fill_null(pc.match_substring_regex(texts, _DATE), False)).astype(np.bool_)
    if is_date.any():
        found = pc.extract_regex(texts.filter(pa.array(is_date)), _DATE)
        moments, are_real = _moments({name: found.field(name) for name in (field.name for field in found.type)})
        rows = np.flatnonzero(is_date)
        is_date[rows[~are_real]] = False
        dates[rows[are_real]] = moments[are_real]
    return dates, is_date


def looks_like_a_date(text: str) -> bool:
    """Whether a person would take a text for a date, although it is not written in an order that is known."""
    return _LOCAL_DATE.fullmatch(text) is not None


def values_of(array: pa.Array) -> NDArray[np.float64]:
    """`(rows,)` numbers or truth values as float64, NaN for missing."""
    numbers = pc.cast(array, pa.int8()) if pa.types.is_boolean(array.type) else array
    # Whole numbers above 2⁵³ are rounded: float64 is what columns hold.
    return _numpy(pc.cast(numbers, pa.float64(), safe=False)).astype(np.float64, copy=False)


def moments_of(array: pa.Array) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Dates and timestamps, those with a time zone as UTC.

    Returns:
        `(rows,)` datetime64[us], NaT for missing, and `(rows,)` whether the year is outside 1 to 9999; such are NaT.
    """
    moments = _numpy(array)
    is_outside = ~np.isnat(moments) & ~are_dates(moments)
    if is_outside.any():
        moments = np.where(is_outside, np.datetime64("NaT"), moments)
    return moments.astype("datetime64[us]"), is_outside


def names_of(array: pa.Array) -> Names:
    """`(rows,)` names in their order (`in_order`), each of which occurs.

    Truth values are `true` and `false`, however they were written, and whole numbers are written without a decimal
    part where all of the column are whole (a table with gaps turns 3 into 3.0): a client can then send JSON's own
    true and 3.
    """
    if pa.types.is_boolean(array.type):
        array = pc.if_else(array, "true", "false")
    elif pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    codes, values = encoded(array)
    written = _as_json_writes_them(pc.cast(values, pa.large_string()).to_pylist())
    names = in_order(set(written))
    place = {name: i for i, name in enumerate(names)}
    places = np.array([*(place[name] for name in written), MISSING], dtype=np.int32)
    return Names(places[codes], names)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted, by value where all of them are whole numbers: 2 before 10."""
    # Python reads whole numbers of up to 4,300 digits.
    if all(len(name) <= _MAX_DIGITS and name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _as_json_writes_them(names: list[str]) -> list[str]:
    folded = [name.lower() for name in names]
    if all(name in ("true", "false") for name in folded):
        return folded
    if all(_WHOLE.fullmatch(name) for name in names):
        return [name.partition(".")[0] for name in names]
    return names


def _moments(parts: dict[str, pa.Array]) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Moments of UTC from the parts of their texts, and whether the calendar and the clock have them."""

    def part(name: str) -> NDArray[np.int64]:
        # A group that took no part in a match is an empty text.
        written = pc.if_else(pc.equal(parts[name], ""), "0", parts[name])
        return _numpy(pc.cast(written, pa.int64())).astype(np.int64)

    year, month, day = part("year"), part("month"), part("day")
    clock = {name: part(name) for name in ("hour", "minute", "second", "off_hour", "off_minute")}
    fraction = pc.utf8_rpad(pc.utf8_slice_codeunits(parts["fraction"], 0, 6), 6, "0")
    microseconds = _numpy(pc.cast(fraction, pa.int64())).astype(np.int64)

    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = months.astype("datetime64[D]") + (day - 1)
    is_real = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("datetime64[M]") == months)
    for name, values in clock.items():
        is_real &= values < (24 if name.endswith("hour") else 60)
    seconds = (clock["hour"] * 60 + clock["minute"]) * 60 + clock["second"]
    ahead = np.where(_numpy(pc.equal(parts["sign"], "-")), -1, 1)
    seconds -= ahead * (clock["off_hour"] * 60 + clock["off_minute"]) * 60
    moments = days.astype("datetime64[us]") + (seconds * 1_000_000 + microseconds)
    return moments, is_real & are_dates(moments)


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
