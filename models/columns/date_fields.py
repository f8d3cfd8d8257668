"""Conversion of the fields of a date (year, month, …, offset from UTC) to a moment in UTC, for one text or for many.

Both ways do the same integer arithmetic, so both give the same moments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from models.columns.date_forms import MONTHS

Moments = NDArray[np.datetime64]  # in microseconds, UTC
Fields = Mapping[str, NDArray[np.int64]]

_FIRST, _LAST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")
_PIVOT = 69  # as in POSIX and strptime: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068
_MICROSECONDS = 6  # digits of a fraction that are read
_CLOCK = (("hour", 24), ("minute", 60), ("second", 60), ("off_hour", 24), ("off_minute", 60))


def moment_in(found: re.Match[str]) -> datetime | None:
    """Computes the moment of a match of a form's pattern; None for a date or time that does not exist."""
    written = found.groupdict()

    def number(name: str, default: int) -> int:
        text = written.get(name)
        return int(text) if text else default

    year = number("year", -1)
    if year < 0:
        year = _full_year(number("short_year", 0))
    name = written.get("month_name")
    month = MONTHS.index(name[:3].lower()) + 1 if name else number("month", 1)
    hour, half = number("hour", 0), written.get("half")
    off_hour, off_minute = number("off_hour", 0), number("off_minute", 0)
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half in "pP")
    if off_hour >= 24 or off_minute >= 60:
        return None
    fraction = int((written.get("fraction") or "")[:_MICROSECONDS].ljust(_MICROSECONDS, "0"))
    offset = timedelta(hours=off_hour, minutes=off_minute)
    try:
        local = datetime(year, month, number("day", 1), hour, number("minute", 0), number("second", 0), fraction)
        return local - offset if written.get("sign") == "+" else local + offset
    except (ValueError, OverflowError):
        return None


def moments_in(letters: NDArray[np.uint8], text: str, found: re.Match[str]) -> Moments:
    """Computes the moments of texts that differ only in their digits.

    Args:
        letters: `(bytes, rows)` texts in UTF-8.
        text: one of the texts, with these or other digits.
        found: match of the form's pattern in `text`.

    Returns:
        `(rows,)` moments, NaT for a date or time that does not exist.
    """
    written = found.groupdict()

    def digits(name: str, most: int = 9) -> NDArray[np.int64]:
        value = np.zeros(letters.shape[1], dtype=np.int64)
        if written.get(name):
            begin, end = (len(text[:at].encode()) for at in found.span(name))
            for place in range(begin, min(end, begin + most)):
                value = value * 10 + (letters[place] - np.uint8(ord("0")))
        return value

    fields = {name: digits(name) for name, _ in _CLOCK}
    fields["year"] = digits("year") if written.get("year") else full_years(digits("short_year"))
    if name := written.get("month_name"):
        fields["month"] = np.full(letters.shape[1], MONTHS.index(name[:3].lower()) + 1)
    elif written.get("month"):
        fields["month"] = digits("month")
    if written.get("day"):
        fields["day"] = digits("day")
    if fraction := written.get("fraction"):
        fields["microsecond"] = digits("fraction", _MICROSECONDS) * 10 ** max(_MICROSECONDS - len(fraction), 0)
    is_sound = np.ones(letters.shape[1], dtype=np.bool_)
    if half := written.get("half"):
        is_sound = (fields["hour"] >= 1) & (fields["hour"] <= 12)
        fields["hour"] = fields["hour"] % 12 + 12 * (half in "pP")
    moments = moments_of(fields, ahead=1 if written.get("sign") == "+" else -1)
    return np.where(is_sound, moments, np.datetime64("NaT", "us"))


def full_years(short: NDArray[np.int64]) -> NDArray[np.int64]:
    """Adds the century to `(rows,)` years of two digits."""
    return short + np.where(short >= _PIVOT, 1900, 2000)


def moments_of(fields: Fields, *, ahead: int = 1) -> Moments:
    """Computes moments from their fields.

    Args:
        fields: `(rows,)` non-negative numbers by field: `year`, and any of `month`, `day`, `hour`, `minute`, `second`,
            `microsecond`, `off_hour` and `off_minute`.
        ahead: 1 if the offset is ahead of UTC, -1 if it is behind.

    Returns:
        `(rows,)` moments, NaT for a date or time that does not exist or is outside the years 1 to 9999.
    """
    year = fields["year"]
    zeros, ones = np.zeros_like(year), np.ones_like(year)
    month, day = fields.get("month", ones), fields.get("day", ones)
    is_real = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    clock = {name: fields.get(name, zeros) for name, _ in _CLOCK}
    for name, limit in _CLOCK:
        is_real &= clock[name] < limit
    months = (np.where(is_real, year, 1970) - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    days = months.astype("datetime64[D]") + (day - 1)
    is_real &= days.astype("datetime64[M]") == months
    seconds = (clock["hour"] * 60 + clock["minute"]) * 60 + clock["second"]
    seconds -= ahead * (clock["off_hour"] * 60 + clock["off_minute"]) * 60
    moments = days.astype("datetime64[us]") + (seconds * 1_000_000 + fields.get("microsecond", zeros))
    is_real &= (moments >= _FIRST) & (moments <= _LAST)
    return np.where(is_real, moments, np.datetime64("NaT", "us"))


def _full_year(short: int) -> int:
    return short + (1900 if short >= _PIVOT else 2000)
