"""Dates as numbers: texts, numbers and datetime64 arrays become days since 1970 and parts of the calendar, in UTC.

Texts and arrays use the same integers and the same tables, so both give the same bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.date_fields import moment_in
from models.columns.date_forms import ISO, MAX_LENGTH, NUMBER_FORMS, is_number_form, pattern_of
from models.columns.date_numbers import moment_of_number

Part = Literal["month", "day", "weekday", "hour"]
PARTS: tuple[Part, ...] = ("month", "day", "weekday", "hour")
_PERIODS: dict[Part, int] = {"month": 12, "day": 31, "weekday": 7, "hour": 24}

# Days since 1970-01-01 at the limits of the years 1 to 9999, the years of Python's dates and of ISO 8601.
FIRST_DAY, LAST_DAY = -719_162.0, 2_932_897.0

_LONG_UNITS = ("Y", "M", "W")  # units of datetime64 in which a moment may have more days than an integer can hold

_MICROSECONDS_A_DAY = 86_400_000_000
_EPOCH, _LAST = datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59)  # in UTC, like all moments here
_EXAMPLE = datetime(2024, 5, 31)
_EPOCH_ORDINAL = _EPOCH.toordinal()
# Python's parser accepts more (week dates, no hyphens, any letter before the time), but few other parsers do.
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.ASCII | re.IGNORECASE
)

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def _circle(period: int) -> tuple[tuple[float, float], ...]:
    # Rounded below the resolution of float32, so that the last bit of a machine's sine makes no difference.
    turns = [2 * math.pi * i / period for i in range(period)]
    return tuple((round(math.sin(turn), 9), round(math.cos(turn), 9)) for turn in turns)


# Sine and cosine, by part and by the value of the part, counted from 0.
CIRCLES: dict[Part, tuple[tuple[float, float], ...]] = {part: _circle(period) for part, period in _PERIODS.items()}

# The same as arrays, with the point of a missing moment at the end.
_CIRCLE_POINTS = {part: np.array([*points, (0.0, 0.0)]) for part, points in CIRCLES.items()}

# Functions from a moment to the value of a part, counted from 0.
PART_OF: dict[Part, Callable[[datetime], int]] = {
    "month": lambda moment: moment.month - 1,
    "day": lambda moment: moment.day - 1,
    "weekday": lambda moment: moment.weekday(),
    "hour": lambda moment: moment.hour,
}


def parse(text: str, form: str | None = None) -> datetime | None:
    """Reads a date, with or without a time and an offset from UTC, as a datetime in UTC without a time zone.

    A date without an offset is in UTC, a date without a time is at midnight. ISO 8601 is always accepted.

    Args:
        text: text without blanks at the ends.
        form: form to accept besides ISO 8601 (`models.columns.date_forms`); None for ISO 8601 only.

    Returns:
        Moment; None for a text that is not such a date, or is outside the years 1 to 9999.
    """
    if _ISO.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text.upper())
            offset = moment.utcoffset()
            return moment if offset is None else moment.replace(tzinfo=None) - offset
        except (ValueError, OverflowError):
            return None
    if len(text) > MAX_LENGTH:
        return None
    for one in (ISO, form):
        if one is not None and one not in NUMBER_FORMS and (found := pattern_of(one).fullmatch(text)):
            return moment_in(found)
    if form is not None and is_number_form(form) and _NUMBER.fullmatch(text):
        return moment_of_number(float(text), form)
    return None


def written(form: str) -> str:
    """Writes an example date of 2024 in a form, for messages."""
    if form not in NUMBER_FORMS:
        return _EXAMPLE.strftime(form)
    days = _EXAMPLE.toordinal() - _EPOCH_ORDINAL
    if form in ("epoch-days", "excel-days"):
        return str(days + 25_569 * (form == "excel-days"))
    unit, _, _ = form.removeprefix("epoch-").partition("seconds")
    return str(days * 86_400 * {"": 1, "milli": 10**3, "micro": 10**6, "nano": 10**9}[unit])


def days_since_1970(moment: datetime) -> float:
    """Converts a moment in UTC to days since 1970-01-01T00:00Z."""
    seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
    days = moment.toordinal() - _EPOCH_ORDINAL
    return float(days * _MICROSECONDS_A_DAY + seconds * 1_000_000 + moment.microsecond) / _MICROSECONDS_A_DAY


def iso(days: float) -> str:
    """Writes days since 1970-01-01T00:00Z as an ISO 8601 moment, rounded to seconds."""
    seconds = min(round(days * 86_400), round((_LAST - _EPOCH).total_seconds()))
    return (_EPOCH + timedelta(seconds=seconds)).isoformat() + "Z"


def iso_text(moment: np.datetime64) -> str:
    """Formats a time in UTC as ISO 8601, without a time of day or fractions of a second that are zero."""
    return _shortest(str(moment.astype("datetime64[us]")))


def moment_text(moment: datetime) -> str:
    """Formats a moment as `iso_text` does; a moment without a time zone is in UTC.

    A moment outside the years 1 to 9999 in UTC keeps its own time zone.
    """
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(UTC)
        except (OverflowError, ValueError):  # ValueError: that of pandas
            return moment.isoformat(timespec="microseconds")
    return _shortest(moment.isoformat(timespec="microseconds").removesuffix("+00:00"))


def _shortest(text: str) -> str:
    """Shortens a time in UTC that is written to microseconds, and names the time zone of a time of day."""
    date, _, time = text.partition("T")
    if time == "00:00:00.000000":
        return date
    return f"{date}T{time.removesuffix('.000000')}Z"


def are_dates(values: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Returns a mask of the moments in the years 1 to 9999, `(rows,)`; False for NaT."""
    unit = "Y" if np.datetime_data(values.dtype)[0] in _LONG_UNITS else "D"  # microseconds could overflow
    count = values.astype(f"datetime64[{unit}]").astype(np.int64)  # since 1970; the lowest integer for NaT
    if unit == "Y":
        return (count >= 1 - 1970) & (count <= 9999 - 1970)
    return (count >= FIRST_DAY) & (count < LAST_DAY)


def elapsed_days(values: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Converts moments of the years 1 to 9999 to days since 1970-01-01T00:00Z, `(rows,)`; NaN for NaT."""
    microseconds = values.astype("datetime64[us]").astype(np.int64)
    return np.where(np.isnat(values), np.nan, microseconds.astype(np.float64) / _MICROSECONDS_A_DAY)


def part_values(part: Part, values: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Computes a part of each moment, `(rows,)`, counted from 0; undefined for NaT."""
    if part == "month":
        return np.remainder(values.astype("datetime64[M]").astype(np.int64), 12)
    if part == "day":
        months = values.astype("datetime64[M]").astype("datetime64[D]")
        return np.subtract(values.astype("datetime64[D]").astype(np.int64), months.astype(np.int64))
    if part == "weekday":
        return np.remainder(values.astype("datetime64[D]").astype(np.int64) + _EPOCH.weekday(), 7)
    return np.remainder(values.astype("datetime64[h]").astype(np.int64), 24)


def circle_points(part: Part, values: NDArray[np.datetime64]) -> NDArray[Any]:
    """Computes sine and cosine of a part of each moment, `(rows, 2)`; 0 and 0 for NaT."""
    points = _CIRCLE_POINTS[part]
    return points[np.where(np.isnat(values), len(points) - 1, part_values(part, values))]
