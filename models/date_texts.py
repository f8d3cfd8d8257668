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
    letters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(len(texts), length)
    year, month, day = _number(letters, 0, 4), _number(letters, 5, 2), _number(letters, 8, 2)
    sound = (letters[:, 4] == ord("-")) & (letters[:, 7] == ord("-"))
    sound &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(sound, (year - 1970) * 12 + month - 1, 0)
    first, after = _first_day(months), _first_day(months + 1)
    sound &= day <= after - first
    seconds = (first + day - 1) * 86_400
    fields = _TIME_FIELDS[length]
    if fields:
        sound &= (letters[:, 10] == ord("T")) | (letters[:, 10] == ord(" "))
        for at, largest, unit in ((11, 23, 3600), (14, 59, 60), (17, 59, 1))[:fields]:
            value = _number(letters, at, 2)
            sound &= (value >= 0) & (value <= largest)
            seconds += value * unit
            if at > 11:
                sound &= letters[:, at - 1] == ord(":")
    if length in _WITH_ZONE:
        sound &= letters[:, -1] == ord("Z")
    return np.where(sound, (seconds * 1_000_000).view("datetime64[us]"), _NO_MOMENT)


def _number(letters: NDArray[np.uint8], at: int, digits: int) -> _Digits:
    """`(rows,)` the decimal number in some columns; far below 0 where one of them is not a digit."""
    values = letters[:, at : at + digits].astype(np.int64) - ord("0")
    number = values @ (10 ** np.arange(digits - 1, -1, -1))
    return np.where(((values >= 0) & (values <= 9)).all(axis=1), number, -1_000_000)


def _first_day(months: _Digits) -> _Digits:
    """`(rows,)` days since 1970-01-01 of the first of each month, which is counted since 1970."""
    days: _Digits = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return days
