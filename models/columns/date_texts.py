"""Parsing of many date texts at once as datetime64 moments, with arrays of digits and no Python object per text.

The common layouts of ISO 8601 are read by the positions of their digits. Other texts are grouped by shape, the text
with all digits masked. A form's pattern is matched once per shape, because the match does not depend on the digits.
`models.columns.dates.parse` reads a single text, and defines what a date is. All ways give the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.columns.date_fields import Moments, moments_in
from models.columns.date_forms import ISO, MAX_LENGTH, NUMBER_FORMS, is_number_form, pattern_of
from models.columns.dates import parse

_Digits = NDArray[np.uint8]

# Length of a text → number of fields of the time of day: YYYY-MM-DD, then HH:MM, :SS and Z.
_TIME_FIELDS = {10: 0, 16: 2, 17: 2, 19: 3, 20: 3}
_WITH_ZONE = (17, 20)
_DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]  # positions of digits
_NO_MOMENT = np.datetime64("NaT", "us")
_MICROSECONDS_A_SECOND, _SECONDS_A_DAY = 1_000_000, 86_400

_MANY = 16  # from this number of texts on, shapes are faster than one text after the other
_LEAST_LENGTH, _LEAST_DIGITS = 4, 2  # fewest bytes and digits of a date in any form, such as 2/24 and feb24
_MOST_BYTES = 3 * MAX_LENGTH  # of MAX_LENGTH characters: a blank may have three bytes
_FEW_SHAPES = 32  # shapes that are found by comparison; texts of further shapes are sorted
_BLOCK_ROWS = 1 << 16  # texts that are read at a time, so that their bytes stay in the cache

# Days from 1970-01-01 to the first of January of the years 0 to 10,000; for a common and for a leap year, the length of
# each month and the days before it.
_YEAR_STARTS = np.arange("0000", "10001", dtype="datetime64[Y]").astype("datetime64[D]").astype(np.int64)
_IS_LEAP = np.diff(_YEAR_STARTS) == 366
_MONTH_LENGTHS = np.array([[0, 31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] for leap in (0, 1)])
_MONTH_STARTS = np.cumsum(_MONTH_LENGTHS, axis=1) - _MONTH_LENGTHS


def parse_texts(texts: Sequence[str], form: str | None = None) -> tuple[Moments, NDArray[np.bool_]]:
    """Parses dates as `models.columns.dates.parse` does.

    Args:
        texts: one text per row.
        form: form to accept besides ISO 8601; None for ISO 8601 only.

    Returns:
        `(rows,)` moments in UTC, NaT for a text that is not a date, and a `(rows,)` mask of the texts that are dates.
    """
    moments = np.full(len(texts), _NO_MOMENT)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    for length in _TIME_FIELDS:
        rows = np.flatnonzero(lengths == length)
        if len(rows):
            some = texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()]
            moments[rows] = _parse_layout(some, length)
    left = np.flatnonzero(np.isnat(moments))
    if len(left) >= _MANY:
        letters = [texts[row].encode("utf-8", "surrogatepass") for row in left.tolist()]
        ends = np.cumsum(np.fromiter(map(len, letters), dtype=np.int64, count=len(left)))
        starts = np.concatenate(([0], ends[:-1]))
        data = np.frombuffer(b"".join(letters), dtype=np.uint8)
        for one in (ISO, form):
            if one is not None and one not in NUMBER_FORMS:
                read = parse_letters(data, starts, ends - starts, one)
                moments[left] = np.where(np.isnat(moments[left]), read, moments[left])
        left = np.flatnonzero(np.isnat(moments)) if is_number_form(form) else left[:0]
    for row in left.tolist():
        moment = parse(texts[row], form)
        if moment is not None:
            moments[row] = moment
    return moments, ~np.isnat(moments)


def parse_letters(data: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64], form: str) -> Moments:
    """Parses the texts of one form, and of no other.

    Args:
        data: `(bytes,)` texts in UTF-8, one after the other.
        starts: `(rows,)` position of each text's first byte.
        lengths: `(rows,)` number of bytes of each text.
        form: form of texts.

    Returns:
        `(rows,)` moments in UTC, NaT for a text that is not a date of this form.
    """
    moments = np.full(len(starts), _NO_MOMENT)
    for length in np.unique(lengths).tolist():
        if not _LEAST_LENGTH <= length <= _MOST_BYTES:
            continue
        of_length = np.flatnonzero(lengths == length)
        for at in range(0, len(of_length), _BLOCK_ROWS):
            rows = of_length[at : at + _BLOCK_ROWS]
            # (length, rows): the bytes of all texts at one position are adjacent
            letters = data[starts[rows] + np.arange(length)[:, np.newaxis]]
            moments[rows] = _parse_shapes(letters, form)
    return moments


def _parse_shapes(letters: NDArray[np.uint8], form: str) -> Moments:
    """Parses texts `(length, rows)` of one form to `(rows,)` moments, NaT for a text that is not a date."""
    moments = np.full(letters.shape[1], _NO_MOMENT)
    is_digit = letters - np.uint8(ord("0")) <= 9  # bytes below "0" wrap round to large numbers
    shapes = np.where(is_digit, np.uint8(ord("0")), letters)
    left = np.flatnonzero(is_digit.sum(axis=0) >= _LEAST_DIGITS)
    for _ in range(_FEW_SHAPES):
        if not len(left):
            return moments
        is_alike = (shapes[:, left] == shapes[:, left[:1]]).all(axis=0)
        _parse_shape(letters, shapes, left[is_alike], form, moments)
        left = left[~is_alike]
    if len(left):
        whole = np.ascontiguousarray(shapes[:, left].T).view(f"V{len(letters)}").ravel()
        order = np.argsort(np.unique(whole, return_inverse=True)[1], kind="stable")
        ordered = whole[order]
        for rows in np.split(left[order], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1):
            _parse_shape(letters, shapes, rows, form, moments)
    return moments


def _parse_shape(
    letters: NDArray[np.uint8], shapes: NDArray[np.uint8], rows: NDArray[np.int64], form: str, moments: Moments
) -> None:
    """Writes the moments of rows whose texts have one shape."""
    text = shapes[:, rows[0]].tobytes().decode("utf-8", "replace")
    found = pattern_of(form).fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is not None:
        moments[rows] = moments_in(letters[:, rows], text, found)


def _parse_layout(texts: Sequence[str], length: int) -> Moments:
    """Parses ISO 8601 texts of one length to `(rows,)` moments, NaT for a text of any other layout."""
    joined = "".join(texts)
    if not joined.isascii():
        return np.full(len(texts), _NO_MOMENT)
    # (length, rows): the bytes of all texts at one position are adjacent
    letters = np.ascontiguousarray(np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), length).T)
    values = letters - np.uint8(ord("0"))  # bytes below "0" wrap round to large numbers
    fields = _TIME_FIELDS[length]
    sound = (values[_DIGITS[: 8 + 2 * fields]] <= 9).all(axis=0)
    sound &= (letters[4] == ord("-")) & (letters[7] == ord("-"))
    century, year_of_it, month, day = (_two_digits(values, at) for at in (0, 2, 5, 8))
    sound &= (century + year_of_it >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    year = np.where(sound, century.astype(np.intp) * 100 + year_of_it, 1)
    months = np.where(sound, month + 13 * _IS_LEAP[year], 1)  # positions in the tables
    sound &= day <= _MONTH_LENGTHS.ravel()[months]
    seconds = (_YEAR_STARTS[year] + _MONTH_STARTS.ravel()[months] + day - 1) * _SECONDS_A_DAY
    if fields:
        sound &= (letters[10] == ord("T")) | (letters[10] == ord(" "))
    for at, largest, unit in ((11, 23, 3600), (14, 59, 60), (17, 59, 1))[:fields]:
        value = _two_digits(values, at)
        sound &= value <= largest
        seconds += value.astype(np.int64) * unit
        if at > 11:
            sound &= letters[at - 1] == ord(":")
    if length in _WITH_ZONE:
        sound &= letters[-1] == ord("Z")
    return np.where(sound, (seconds * _MICROSECONDS_A_SECOND).view("datetime64[us]"), _NO_MOMENT)


def _two_digits(values: NDArray[np.uint8], at: int) -> _Digits:
    """Computes the two-digit number at a position of each text, `(rows,)`, if both characters are digits."""
    number: _Digits = values[at] * np.uint8(10) + values[at + 1]
    return number
