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
_Digits = NDArray[np.int64]

# Characters of a text → how many fields of its time are there: YYYY-MM-DD, then HH:MM, :SS and Z.
_TIME_FIELDS = {10: 0, 16: 2, 17: 2, 19: 3, 20: 3}
_WITH_ZONE = (17, 20)
_DIGITS = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]  # places of digits
_NO_MOMENT = np.datetime64("NaT", "us")


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
    year, month, day = (
        100 * _two_digits(values, 0) + _two_digits(values, 2),
        _two_digits(values, 5),
        _two_digits(values, 8),
    )
    sound &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(sound, (year - 1970) * 12 + month - 1, 0)
    first, after = _first_day(months), _first_day(months + 1)
    sound &= day <= after - first
    seconds = (first + day - 1) * 86_400
    if fields:
        sound &= (letters[10] == ord("T")) | (letters[10] == ord(" "))
    for at, largest, unit in ((11, 23, 3600), (14, 59, 60), (17, 59, 1))[:fields]:
        value = _two_digits(values, at)
        sound &= value <= largest
        seconds += value * unit
        if at > 11:
            sound &= letters[at - 1] == ord(":")
    if length in _WITH_ZONE:
        sound &= letters[-1] == ord("Z")
    return np.where(sound, (seconds * 1_000_000).view("datetime64[us]"), _NO_MOMENT)


def _two_digits(values: NDArray[np.uint8], at: int) -> _Digits:
    """`(rows,)` the number in two places of each text."""
    number: _Digits = values[at].astype(np.int64) * 10 + values[at + 1]
    return number


def _first_day(months: _Digits) -> _Digits:
    """`(rows,)` days since 1970-01-01 of the first of each month, which is counted since 1970."""
    days: _Digits = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days
