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

from models.columns.cell_text import BLANKS, MISSING_TEXTS, category_of
from models.columns.date_forms import ISO
from models.columns.date_texts import parse_letters
from models.columns.dates import are_dates
from models.columns.dictionary_column import MISSING, DictionaryColumn

_MAX_DIGITS = 1_000
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
_ISO_BEGINS = r"^\d{4}-\d{1,2}-\d"  # which spares a column of names the rest
# A date as people write it, in whichever order or with the name of a month in whichever language.
_LOCAL_DATE = re.compile(
    r"(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}(st|nd|rd|th)?[ .-]+[^\W\d_]{3,10}[ .,-]+\d{2,4}"
    r"|[^\W\d_]{3,10}[ .-]+\d{1,2}(st|nd|rd|th)?,? \d{4})([ T,]+\d{1,2}[:.]\d{2}.*)?"
)


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


def dates_in(texts: pa.Array, form: str = ISO) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Reads texts as dates of one form, with or without a time and an offset from UTC.

    Args:
        texts: `(rows,)` strings, null for missing.
        form: form of texts; that of ISO 8601 unless said otherwise.

    Returns:
        `(rows,)` datetime64[us] of UTC, NaT where a cell is missing or no date, and `(rows,)` whether it is a date.
    """
    dates = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[us]")
    letters = pc.cast(texts, pa.large_binary())
    _, offsets, data = letters.buffers()
    may_be_one = pc.match_substring_regex(texts, _ISO_BEGINS) if form == ISO else pc.is_valid(texts)
    rows = np.flatnonzero(_numpy(pc.fill_null(may_be_one, False)))
    if len(rows) and data is not None:
        places = np.frombuffer(offsets, dtype=np.int64)[letters.offset : letters.offset + len(letters) + 1]
        bytes_of_all = np.frombuffer(data, dtype=np.uint8)
        dates[rows] = parse_letters(bytes_of_all, places[:-1][rows], np.diff(places)[rows], form)
    return dates, ~np.isnat(dates)


def looks_like_a_date(text: str) -> bool:
    """Whether a person would take a text for a date, although it is not written in an order that is known."""
    return _LOCAL_DATE.fullmatch(text) is not None


def iso_text(moment: np.datetime64) -> str:
    """A moment of UTC as ISO 8601, and no longer than it has to be."""
    text = str(moment.astype("datetime64[us]"))
    date, _, time = text.partition("T")
    if time == "00:00:00.000000":
        return date
    return f"{date}T{time.removesuffix('.000000')}Z"


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


def bare_texts(texts: pa.Array) -> pa.Array:
    """Strips texts of the blanks around them; null for those that count as missing."""
    stripped = pc.utf8_trim(texts, characters=BLANKS)
    missing = pc.is_in(stripped, value_set=pa.array(MISSING_TEXTS, stripped.type))
    return pc.if_else(missing, pa.scalar(None, stripped.type), stripped)


def bare_cells(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The cells of a dictionary of texts, each text as `bare_texts` gives it; null where it counts as missing."""
    texts = bare_texts(array.dictionary)
    if texts.equals(array.dictionary):
        return array
    together = texts.dictionary_encode()
    places = np.append(_numpy(pc.fill_null(together.indices, MISSING)), MISSING).astype(np.int32)
    codes = places[_numpy(pc.fill_null(pc.cast(array.indices, pa.int32()), MISSING))]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == MISSING), together.dictionary)


def names_of(array: pa.Array) -> DictionaryColumn:
    """`(rows,)` names in their order (`in_order`), each of which occurs, as a target has them.

    Truth values are `true` and `false`, however they were written, and whole numbers are written without a decimal
    part where all of the column are whole (a table with gaps turns 3 into 3.0): a client can then send JSON's own
    true and 3.
    """
    codes, values = encoded(_present(array))
    return _named(codes, _as_json_writes_them(pc.cast(values, pa.large_string()).to_pylist()))


def categories_of(array: pa.Array) -> tuple[DictionaryColumn, tuple[str, ...]]:
    """Reads a column's cells as categories, each as serving reads it (`models.columns.cell_text.category_of`).

    Returns:
        `(rows,)` names in their order (`in_order`), each of which occurs, and the cells of one category that is
        written in more than one way; none where there is no such category.
    """
    codes, values = encoded(_present(array))
    cells = _as_python_has_them(values)
    categories = [category_of(cell) for cell in cells]
    spellings: dict[str | None, Any] = {}
    twice: tuple[str, ...] = ()
    for cell, category in zip(cells, categories, strict=True):
        first = spellings.setdefault(category, cell)
        if first is not cell and category is not None and not twice:
            twice = (str(first), str(cell))
    return _named(codes, categories), twice


def _present(array: pa.Array) -> pa.Array:
    """The array with truth values as texts and with NaN as null."""
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def _as_python_has_them(values: pa.Array) -> list[Any]:
    """Numbers as int or float, the rest as texts, dates in ISO 8601: what JSON would carry."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return [None if np.isnat(moment) else iso_text(moment) for moment in moments_of(values)[0]]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return [float(str(value)) for value in _numpy(values)]  # 0.1, and not the float64 that is nearest to its bits
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return list(values.to_pylist())
    return list(pc.cast(values, pa.large_string()).to_pylist())


def _named(codes: NDArray[np.int32], written: list[str | None]) -> DictionaryColumn:
    """Names of rows, from the places of their cells and what the cell of each place is called."""
    names = in_order({name for name in written if name is not None})
    place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    places = np.array([*(place.get(name, MISSING) for name in written), MISSING], dtype=np.int32)
    return DictionaryColumn(places[codes], names)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted, by value where all of them are whole numbers: 2 before 10."""
    # Python reads whole numbers of up to 4,300 digits.
    if all(len(name) <= _MAX_DIGITS and name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _as_json_writes_them(names: list[str]) -> list[str | None]:
    folded = [name.lower() for name in names]
    if all(name in ("true", "false") for name in folded):
        return [*folded]
    if all(_WHOLE.fullmatch(name) for name in names):
        return [name.partition(".")[0] for name in names]
    return [*names]


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
