"""Detects numbers that stand for dates: epoch seconds, a spreadsheet's serial days, 20240531."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from models.columns.date_forms import digits_of
from models.columns.date_numbers import moments_of_numbers
from models.columns.dates import iso_text
from training.data.date_columns import option
from training.data.typed_options import typed

# This many distinct whole numbers are dates under any column name, if all are calendar dates and span more than one
# month (for `%Y%m`, one year): a run of counting numbers would leave the calendar at the end of a month.
_LEAST_DATES = 8
_DIGIT_FORMS = ("%Y%m", "%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")
_DIGIT_LIMITS = ("19000101000000", "21001231235959")
_EPOCHS = (
    ("epoch-seconds", "epoch seconds", 1),
    ("epoch-milliseconds", "epoch milliseconds", 10**3),
    ("epoch-microseconds", "epoch microseconds", 10**6),
    ("epoch-nanoseconds", "epoch nanoseconds", 10**9),
)
_EPOCH_SECONDS = (631_152_000, 2_208_988_800)  # 1990 to 2040
_EPOCH_DAYS = (7_305, 25_567)  # 1990 to 2040
_EXCEL_DAYS = (27_395, 54_789)  # 1975 to 2050; lower numbers may be days since 1970
_EXCEL_DAYS_OF_NOW = (36_526, 47_849)  # 2000 to 2031

_MOMENTS = frozenset({"t", "ts", "epoch", "unix", "when", "dt", "at", "utc", "created", "updated", "modified", "dob"})
_NO_MOMENTS = frozenset(
    {"update", "candidate", "mandate", "validate", "lifetime", "runtime", "overtime", "downtime", "uptime", "halftime"}
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def form_of_numbers(name: str, numbers: NDArray[np.float64]) -> tuple[str | None, str | None]:
    """Detects dates in a column of numbers.

    Args:
        name: name of the column.
        numbers: `(rows,)` numbers, NaN for missing.

    Returns:
        The form with which the numbers are read as dates, None if they stay numbers; and a remark, as words that
        follow the column's name, or None.
    """
    present = numbers[~np.isnan(numbers)]
    if not len(present) or not np.isfinite(present).all():
        return None, None
    low, high = float(present.min()), float(present.max())
    form, called, is_plain = _candidate(name, present, low, high)
    if form is None and low <= 0 < high:  # 0 and -1 often stand for missing
        above = present[present > 0]
        form, called, _ = _candidate(name, above, float(above.min()), high)
        form = form if form is not None and form.startswith("epoch") else None  # in other forms, 0 is not a date
        is_plain, present = False, above
        called = f"{called} but for those that are 0 or less"
    if form is None:
        return None, None
    example = f"{present[0]:.15g}"
    moment = iso_text(moments_of_numbers(present[:1], form)[0])
    if is_plain:
        remark = f"holds {called} and is read as dates: {example} is {moment}."
        return form, f"{remark} As numbers: {typed('--numeric', name)}."
    would_be = f"looks like {called} ({example} would be {moment}) and is read as numbers."
    return None, f"{would_be} As dates: {option(name, form)}."


def forms_for(numbers: NDArray[np.float64]) -> list[str]:
    """Lists the forms in which numbers, NaN for missing, are dates of our time; the column's name does not count."""
    present = numbers[~np.isnan(numbers)]
    if not len(present) or not np.isfinite(present).all():
        return []
    low, high = float(present.min()), float(present.max())
    forms = [form for form in _DIGIT_FORMS if _is_calendar(present, low, high, form)]
    forms += [form for form, _, unit in _EPOCHS if _within(low, high, _EPOCH_SECONDS, unit)]
    of_days = (("excel-days", _EXCEL_DAYS), ("epoch-days", _EPOCH_DAYS))
    return forms + [form for form, days in of_days if _within(low, high, days)]


def _candidate(name: str, present: NDArray[np.float64], low: float, high: float) -> tuple[str | None, str, bool]:
    """Returns a form of dates or None, the form's name in words, and True if the numbers are certainly dates."""
    for form in _DIGIT_FORMS:
        if _is_calendar(present, low, high, form):
            distinct = np.unique(present)
            is_spread = len(distinct) >= _LEAST_DATES and distinct[0] // 100 != distinct[-1] // 100
            is_plain = is_spread or (_is_named(name) and form != "%Y%m")
            return (form if len(distinct) > 1 else None), f"dates of the form {form}", is_plain
    for form, called, unit in _EPOCHS:
        if low < high and _within(low, high, _EPOCH_SECONDS, unit):
            is_named = _is_named(name)
            # Whole numbers of 18 digits are more often identifiers than nanoseconds.
            return (form if is_named or unit < 10**9 else None), called, is_named
    if low < high and _is_named(name):
        if _within(low, high, _EXCEL_DAYS):
            return "excel-days", "serial days as Excel has them", _ends_in_date(name) or _are_times_of_day(present)
        if _within(low, high, _EPOCH_DAYS) and _are_whole(present):
            return "epoch-days", "days since 1970", False
    if _within(low, high, _EXCEL_DAYS_OF_NOW) and _are_times_of_day(present):
        return "excel-days", "serial days as Excel has them", False
    return None, "", False


def _is_calendar(present: NDArray[np.float64], low: float, high: float, form: str) -> bool:
    first, last = (float(text[: digits_of(form)]) for text in _DIGIT_LIMITS)
    if not (first <= low and high <= last and _are_whole(present)):
        return False
    return not np.isnat(moments_of_numbers(present, form)).any()


def _within(low: float, high: float, limits: tuple[int, int], unit: int = 1) -> bool:
    return limits[0] * unit <= low and high < limits[1] * unit


def _are_whole(numbers: NDArray[np.float64]) -> bool:
    return bool((np.trunc(numbers) == numbers).all())


def _are_times_of_day(days: NDArray[np.float64]) -> bool:
    """Returns True if most days have a fraction and all are whole seconds, which is unlikely in other units."""
    seconds = days * 86_400
    has_fraction = np.trunc(days) != days
    return bool(2 * has_fraction.sum() > len(days) and (np.abs(seconds - np.rint(seconds)) < 1e-2).all())


def _is_named(name: str) -> bool:
    """Returns True if a column has a name that suggests dates: created_at, saleDate, ts."""
    words = [word.casefold() for word in _WORDS.findall(name)]
    return any(
        word in _MOMENTS or (word.endswith(("date", "time", "timestamp", "day")) and word not in _NO_MOMENTS)
        for word in words
    )


def _ends_in_date(name: str) -> bool:
    words = [word.casefold() for word in _WORDS.findall(name)]
    return any(
        word in ("dob", "dt", "birthday") or (word.endswith(("date", "datetime")) and word not in _NO_MOMENTS)
        for word in words
    )
