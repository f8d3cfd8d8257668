"""Conversion of numbers such as epoch seconds, serial days or 20240531 to moments in UTC.

One number and an array go through the same float64 arithmetic, so both give the same moments.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from models.columns.date_fields import Moments, full_years, moment_in, moments_of
from models.columns.date_forms import digit_codes, digits_of, pattern_of

_EPOCH = datetime(1970, 1, 1)
_DAY = 86_400_000_000  # microseconds
_FIRST, _LAST = -719_162 * _DAY, 2_932_897 * _DAY  # range of the years 1 to 9999, in microseconds since 1970

_EXCEL_EPOCH = 25_569.0  # the serial day of 1970-01-01
# Excel counts 1900-02-29, which did not exist, as day 60. Earlier days have a different distance from 1970.
_FIRST_EXCEL_DAY = 61.0

# Factor from the unit to the step of rounding, and that step in microseconds. A serial day in float64 is exact to a
# microsecond, and a spreadsheet shows milliseconds.
_UNITS = {
    "epoch-seconds": (1e6, 1),
    "epoch-milliseconds": (1e3, 1),
    "epoch-microseconds": (1.0, 1),
    "epoch-nanoseconds": (1e-3, 1),
    "epoch-days": (86_400_000.0, 1_000),
    "excel-days": (86_400_000.0, 1_000),
}
_FIELDS = {"%m": "month", "%d": "day", "%H": "hour", "%M": "minute", "%S": "second"}


def moment_of_number(number: float, form: str) -> datetime | None:
    """Computes the moment that a number stands for; None for a number that is not a date of the form.

    Args:
        number: number, finite or not.
        form: one of `NUMBER_FORMS`, or a form that consists only of digits.
    """
    digits = digits_of(form)
    if digits is None:
        if form == "excel-days" and not number >= _FIRST_EXCEL_DAY:
            return None
        factor, step = _UNITS[form]
        scaled = (number - (_EXCEL_EPOCH if form == "excel-days" else 0.0)) * factor
        if not _FIRST <= scaled * step < _LAST - 1_000:  # also if the number is NaN
            return None
        return _EPOCH + timedelta(microseconds=round(scaled) * step)
    if not 0 <= number < 10**digits or number != int(number):
        return None
    found = pattern_of(form).fullmatch(str(int(number)).zfill(digits))
    return None if found is None else moment_in(found)


def moments_of_numbers(numbers: NDArray[np.float64], form: str) -> Moments:
    """Computes the moments of numbers, `(rows,)`, NaT for a number that is NaN or not a date of the form."""
    digits = digits_of(form)
    if digits is not None:
        is_whole = (numbers >= 0) & (numbers < 10**digits) & (numbers == np.trunc(numbers))
        rest = np.where(is_whole, numbers, 0).astype(np.int64)
        fields: dict[str, NDArray[np.int64]] = {}
        for code in reversed(digit_codes(form)):
            rest, value = np.divmod(rest, 10_000 if code == "%Y" else 100)
            fields[_FIELDS.get(code, "year")] = full_years(value) if code == "%y" else value
        return np.where(is_whole, moments_of(fields), np.datetime64("NaT", "us"))
    factor, step = _UNITS[form]
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN give NaT below
        scaled = (numbers - (_EXCEL_EPOCH if form == "excel-days" else 0.0)) * factor
        is_moment = (scaled * step >= _FIRST) & (scaled * step < _LAST - 1_000)
        if form == "excel-days":
            is_moment &= numbers >= _FIRST_EXCEL_DAY
    microseconds = np.rint(np.where(is_moment, scaled, 0.0)).astype(np.int64) * step
    return np.where(is_moment, microseconds.view("datetime64[us]"), np.datetime64("NaT", "us"))
