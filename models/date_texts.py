"""Many ISO 8601 texts at once → datetime64 moments: digits as arrays, and no Python object a text.

The common layouts are read here; every other text is left to `models.dates.parse`, which is the one that decides what a
date is. Both give the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.dates import parse

Moments = NDArray[np.datetime64]  # in microseconds, UTC
_Digits = NDArray[np.uint8]

# Characters of a text → how many fields of its time are there: YYYY-MM-DD, then HH:MM, :SS and Z.
_TIME_FIELDS = {10: 0, 16: 2, 17: 2, 19: 3, 20: 3}
_WITH_ZONE = (17, 20)
_DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]  # places of digits
_NO_MOMENT = np.datetime64("NaT", "us")
_MICROSECONDS_A_SECOND, _SECONDS_A_DAY = 1_000_000, 86_400

# Days since 1970-01-01 of the first of January of the years 0 to 10,000; days before each month of a common and of a
# leap year, and its length.
_YEAR_STARTS = np.arange("0000", "10001", dtype="datetime64[Y]").astype("datetime64[D]").astype(np.int64)
_IS_LEAP = np.diff(_YEAR_STARTS) == 366
_MONTH_LENGTHS = np.array([[0, 31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] for leap in (0, 1)])
_MONTH_STARTS = np.cumsum(_MONTH_LENGTHS, axis=1) - _MONTH_LENGTHS


def parse_texts(texts: Sequence[str]) -> tuple[Moments, NDArray[np.bool_]]:
    """Parses dates as `models.dates.parse` does.

    Args:
        texts: texts, one a row.

    Returns:
        `(rows,)` moments in UTC, NaT where a text is no date, and `(rows,)` whether each text is one.
    """
    moments = np.full(len(texts), _NO_MOMENT)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    for length in _TIME_FIELDS:
        rows = np.flatnonzero(lengths == length)
        if len(rows):
            some = texts if len(rows) == len(texts) else [texts[row] for row in rows.tolist()]
            moments[rows] = _parse_layout(some, length)
    for row in np.flatnonzero(np.isnat(moments)).tolist():
        moment = parse(texts[row])
        if moment is not None:
            moments[row] = moment
    return moments, ~np.isnat(moments)


def _parse_layout(texts: Sequence[str], length: int) -> Moments:
    """`(rows,)` moments of texts of one length; NaT where a text is not certainly a date."""
    joined = "".join(texts)
    if not joined.isascii():
        return np.full(len(texts), _NO_MOMENT)
    # (length, rows): each place of all texts lies together
    letters = np.ascontiguousarray(np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), length).T)
    values = letters - np.uint8(ord("0"))  # what is below 0 wraps round
    fields = _TIME_FIELDS[length]
    sound = (values[_DIGITS[: 8 + 2 * fields]] <= 9).all(axis=0)
    sound &= (letters[4] == ord("-")) & (letters[7] == ord("-"))
    century, year_of_it, month, day = (_two_digits(values, at) for at in (0, 2, 5, 8))
    sound &= (century + year_of_it >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    year = np.where(sound, century.astype(np.intp) * 100 + year_of_it, 1)
    months = np.where(sound, month + 13 * _IS_LEAP[year], 1)  # places in the tables
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
    """`(rows,)` the number in two places of each text, where both are digits."""
    number: _Digits = values[at] * np.uint8(10) + values[at + 1]
    return number
