"""Reads a column's cells as numbers, dates or categories.

A column has millions of cells, so no Python object is made for each cell: Arrow and NumPy read the texts. Distinct
names are few, so those are handled one by one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.cell_text import BLANKS, MISSING_TEXTS, category_of, decimal_text
from models.columns.date_forms import ISO
from models.columns.date_texts import parse_letters
from models.columns.dates import are_dates, iso_text
from models.columns.dictionary_column import MISSING, DictionaryColumn
from training.data.missing_texts import stands_for_missing
from training.data.number_texts import Marks, numbers_in

_MAX_DIGITS = 1_000
_WHOLE = re.compile(r"-?[0-9]+(\.0+)?")
_ISO_BEGINS = r"^\d{4}-\d{1,2}-\d"  # a quick test, so that a column of names is not parsed
# A date as people write it: numbers in any order, or the name of a month in any language.
_LOCAL_DATE = re.compile(
    r"(\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{1,2}(st|nd|rd|th)?[ .-]+[^\W\d_]{3,10}[ .,-]+\d{2,4}"
    r"|[^\W\d_]{3,10}[ .-]+\d{1,2}(st|nd|rd|th)?,? \d{4})([ T,]+\d{1,2}[:.]\d{2}.*)?"
)


def dictionary_encoded(array: pa.Array) -> tuple[NDArray[np.int32], pa.Array]:
    """Dictionary-encodes a column.

    Returns:
        `(rows,)` index of each cell's value, -1 for missing, and the distinct values: each occurs, and none is null.
    """
    if not pa.types.is_dictionary(array.type):
        array = pc.dictionary_encode(array)
    codes = _numpy(pc.fill_null(pc.cast(array.indices, pa.int32()), MISSING))
    values = array.dictionary
    occurs = np.zeros(len(values) + 1, dtype=np.bool_)
    occurs[codes] = True  # code -1 marks the last element, which belongs to no value
    keep = occurs[:-1] & _numpy(pc.is_valid(values))
    if keep.all():
        return codes, values
    places = np.full(len(values) + 1, MISSING, dtype=np.int32)
    places[:-1][keep] = np.arange(keep.sum(), dtype=np.int32)
    return places[codes], values.filter(pa.array(keep))


def without_null_values(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """Returns a dictionary array in which a missing cell has no index, in place of the index of a null value.

    Both are valid Arrow, but `null_count` counts the first kind alone, and dictionaries with nulls cannot be joined.
    """
    if not array.dictionary.null_count:
        return array
    codes, values = dictionary_encoded(array)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == MISSING), values)


def dates_in(texts: pa.Array, form: str = ISO) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Reads texts as dates of one form, with or without a time and an offset from UTC.

    Args:
        texts: `(rows,)` strings, null for missing.
        form: form of the dates; ISO 8601 by default.

    Returns:
        `(rows,)` datetime64[us] in UTC, NaT where a cell is missing or not a date, and `(rows,)` True for a date.
    """
    dates = np.full(len(texts), "NaT", dtype="datetime64[us]")
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
    """Returns True if a person would take a text for a date, although its form is not known."""
    return _LOCAL_DATE.fullmatch(text) is not None


def values_of(array: pa.Array) -> NDArray[np.float64]:
    """Returns `(rows,)` numbers or booleans as float64, NaN for missing."""
    numbers = pc.cast(array, pa.int8()) if pa.types.is_boolean(array.type) else array
    # Columns hold float64, so whole numbers above 2⁵³ are rounded.
    return _numpy(pc.cast(numbers, pa.float64(), safe=False)).astype(np.float64, copy=False)


def moments_of(array: pa.Array) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Returns dates and timestamps, those with a time zone in UTC.

    Returns:
        `(rows,)` datetime64[us], NaT for missing, and `(rows,)` True if the year is outside 1 to 9999; such cells are
        NaT too.
    """
    moments = _numpy(array)
    is_outside = ~np.isnat(moments) & ~are_dates(moments)
    if is_outside.any():
        moments = np.where(is_outside, np.array("NaT", moments.dtype), moments)
    return moments.astype("datetime64[us]"), is_outside


def bare_texts(texts: pa.Array) -> pa.Array:
    """Strips the blanks around texts, and makes texts that count as missing null."""
    stripped = pc.utf8_trim(texts, characters=BLANKS)
    missing = pc.is_in(stripped, value_set=pa.array(MISSING_TEXTS, stripped.type))
    return pc.if_else(missing, pa.scalar(None, stripped.type), stripped)


def bare_cells(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """Applies `bare_texts` to the texts of a dictionary array; cells that count as missing become null."""
    texts = bare_texts(array.dictionary)
    if texts.equals(array.dictionary):
        return array
    together = texts.dictionary_encode()
    places = np.append(_numpy(pc.fill_null(together.indices, MISSING)), MISSING).astype(np.int32)
    codes = places[_numpy(pc.fill_null(pc.cast(array.indices, pa.int32()), MISSING))]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes == MISSING), together.dictionary)


def names_of(array: pa.Array) -> DictionaryColumn:
    """Reads a column's cells as class names: `(rows,)` names in the order of `in_order`, each of which occurs.

    Booleans become `true` and `false`, however they are written. Whole numbers are written without a decimal part if
    all numbers of the column are whole (a table with gaps turns 3 into 3.0). A client can then send JSON's own true
    and 3.
    """
    codes, values = dictionary_encoded(_present(array))
    return _column_of_names(codes, _json_spellings(_texts(values)))


def categories_of(array: pa.Array) -> tuple[DictionaryColumn, tuple[str, ...]]:
    """Reads a column's cells as categories by the rule of serving (`models.columns.cell_text.category_of`).

    Returns:
        `(rows,)` categories in the order of `in_order`, each of which occurs, and two spellings of one category; empty
        if each category has one spelling.
    """
    codes, values = dictionary_encoded(_present(array))
    cells = _json_values(values)
    categories = [category_of(cell) for cell in cells]
    spellings: dict[str | None, Any] = {}
    two_spellings: tuple[str, ...] = ()
    for cell, category in zip(cells, categories, strict=True):
        first = spellings.setdefault(category, cell)
        if first is not cell and category is not None and not two_spellings:
            two_spellings = (str(first), str(cell))
    return _column_of_names(codes, categories), two_spellings


def categories_of_numbers(numbers: NDArray[np.float64]) -> DictionaryColumn:
    """Reads finite numbers, NaN for missing, as categories with names as JSON writes numbers."""
    distinct, places = np.unique(numbers, return_inverse=True)  # NaN comes last, if there is any
    names = [name for number in distinct if (name := category_of(float(number))) is not None]
    return DictionaryColumn(np.where(places < len(names), places, MISSING).astype(np.int32), tuple(names))


def numbered_names(array: pa.DictionaryArray, marks: Marks) -> DictionaryColumn:
    """Reads texts as categories: numbers get the names that JSON gives, and texts for missing are gaps."""
    codes, texts = dictionary_encoded(array)
    numbers, is_number = numbers_in(texts, marks)
    written = [
        float(number) if is_one and np.isfinite(number) else None if stands_for_missing(text) else text
        for text, number, is_one in zip(texts.to_pylist(), numbers, is_number, strict=True)
    ]
    return _column_of_names(codes, [category_of(cell) for cell in written])


def _present(array: pa.Array) -> pa.Array:
    """Returns the array with booleans as texts and with NaN as null."""
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "true", "false")
    if pa.types.is_floating(array.type):
        return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    return array


def _json_values(values: pa.Array) -> list[Any]:
    """Returns the values as JSON would carry each: numbers as int or float, dates in ISO 8601, the rest as texts."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return [None if np.isnat(moment) else iso_text(moment) for moment in moments_of(values)[0]]
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return [float(str(value)) for value in _numpy(values)]  # 0.1, not the float64 that is nearest to the float32
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return list(values.to_pylist())
    return _texts(values)


def _texts(values: pa.Array) -> list[str]:
    """Returns values as texts; decimals with all of their digits, where Arrow would write 0.00000010 as 1.0E-7."""
    if pa.types.is_decimal(values.type):
        return [decimal_text(value) for value in values.to_pylist()]
    return list(pc.cast(values, pa.large_string()).to_pylist())


def _column_of_names(codes: NDArray[np.int32], written: list[str | None]) -> DictionaryColumn:
    """Returns the names of rows, given each row's index among the distinct values, and each value's name."""
    names = in_order({name for name in written if name is not None})
    place: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    places = np.array([*(place.get(name, MISSING) for name in written), MISSING], dtype=np.int32)
    return DictionaryColumn(places[codes], names)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Returns sorted names. If all are whole numbers, they are sorted by value, so that 2 comes before 10."""
    # Python refuses to read whole numbers of more than 4,300 digits.
    if all(len(name) <= _MAX_DIGITS and name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _json_spellings(names: list[str]) -> list[str | None]:
    folded = [name.lower() for name in names]
    if all(name in ("true", "false") for name in folded):
        return [*folded]
    if all(_WHOLE.fullmatch(name) for name in names):
        return [name.partition(".")[0] for name in names]
    return [*names]


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
