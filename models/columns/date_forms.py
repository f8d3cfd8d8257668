"""Forms of dates: the notation of the dates in a column, in the codes of strptime or as a unit of numbers.

A form describes only the date, such as `%d/%m/%Y`; a time of day may follow in any common notation. Each form has one
pattern, with which both a single text and many texts are read.
"""

from __future__ import annotations

import functools
import re
from typing import Literal, get_args

from models.columns.fields import shown
from models.errors import DataError

NumberForm = Literal[
    "epoch-seconds", "epoch-milliseconds", "epoch-microseconds", "epoch-nanoseconds", "epoch-days", "excel-days"
]
NUMBER_FORMS: tuple[NumberForm, ...] = get_args(NumberForm)

ISO = "%Y-%m-%d"  # every column of dates accepts this one in addition to its own form

# The forms that are tried on the texts of a column.
TEXT_FORMS = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%d-%m-%y", "%m-%d-%y"),
    "%y-%m-%d",
    *("%d.%m.%Y", "%m.%d.%Y", "%d.%m.%y", "%m.%d.%y", "%Y/%m/%d", "%Y.%m.%d", "%Y:%m:%d"),
    *("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S", "%Y%m%dT%H%M", "%Y%m%dT%H%M%S"),
    *("%d %b %Y", "%d %b %y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d. %b %Y", "%d%b%Y", "%d%b%y"),
    *("%b %d, %Y", "%Y-%b-%d", "%Y %b %d", "%a %b %d %H:%M:%S %Y"),
    *("%Y-%m", "%b %Y", "%b-%Y", "%b-%y", "%m/%Y"),
)

MAX_LENGTH = 100  # characters of a text that may be a date
_MAX_FORM = 40  # characters of a form

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month_name>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_BLANK = "[ \xa0\u2009\u202f]"  # present-day browsers and spreadsheets write the last one before PM
_WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:r|rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?"
# UTC or an offset from UTC, and perhaps the name of the zone: +0100 CET, GMT+0100 (Central European Standard Time).
_ZONE = (
    rf"(?:{_BLANK}?(?:z|utc|gmt|(?:utc|gmt)?(?P<sign>[+\u2212-])(?P<off_hour>\d\d)(?::?(?P<off_minute>\d\d))?"
    rf"(?:{_BLANK}[a-z]{{3,5}}|{_BLANK}\([a-z ]{{1,40}}\))?)(?:\[[a-z0-9_/+-]{{1,40}}\])?)?"
)
_FRACTION = r"(?:[.,](?P<fraction>\d{1,9}))?"
_CLOCK = (
    rf"(?P<hour>\d{{1,2}})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d){_FRACTION})?"
    rf"(?:{_BLANK}?(?P<half>[ap])\.?m\.?)?{_ZONE}"
)
_TIME = rf"(?:(?:[t:-]|,?{_BLANK}{{1,3}}(?:at{_BLANK})?){_CLOCK})?"

_CODES = {
    "%Y": r"(?P<year>\d{4})",
    "%y": r"(?P<short_year>\d\d)",
    "%m": r"(?P<month>\d{1,2})",
    "%d": r"(?P<day>\d{1,2})",
    "%b": _MONTH,
    "%a": _WEEKDAY,
    "%H": r"(?P<hour>\d\d)",
    "%M": r"(?P<minute>\d\d)",
    "%S": r"(?P<second>\d\d)",
}
_SAME = {"%B": "%b", "%A": "%a", "%e": "%d", "%-d": "%d", "%-m": "%m"}
_LITERALS = "/.-:, T"
_CODES_OR_MARKS = re.compile(r"%-?[A-Za-z]|.", re.DOTALL)
_TIME_OF_FORM = re.compile(r"[T ,]+%[HI]:%M(:%S([.,]%f)?)?( ?%p)?( ?(%[zZ]|Z|UTC))?$")


def check_form(form: object) -> str:
    """Checks and normalises a form, without a time of day at the end, because a time is read in any case.

    Raises:
        DataError: The text is not a form.
    """
    if isinstance(form, str) and len(form) <= _MAX_FORM:
        if form in NUMBER_FORMS:
            return form
        parts = [_SAME.get(part, part) for part in _CODES_OR_MARKS.findall(_TIME_OF_FORM.sub("", form.strip()))]
        written = "".join(parts)
        # A form that matches 2024-05-31 in another order would be confused with ISO 8601, which each column accepts.
        if _is_sound(parts) and (written == ISO or not pattern_of(written).fullmatch("2000-01-01")):
            return written
    raise DataError(
        f"{shown(form)} is not a form of dates: it takes %d, %m (%b for a name), %Y (%y for two digits) and any of "
        f"/ . - , : or a blank between them, such as %d/%m/%Y, or is one of {', '.join(NUMBER_FORMS)}."
    )


def _is_sound(parts: list[str]) -> bool:
    codes = [part for part in parts if part.startswith("%")]
    if len(set(codes)) < len(codes) or not all(part in _CODES or part in _LITERALS for part in parts):
        return False
    clock = [code for code in codes if code in ("%H", "%M", "%S")]
    return (
        len({"%Y", "%y"} & set(codes)) == 1
        and len({"%m", "%b"} & set(codes)) == 1
        and clock == ["%H", "%M", "%S"][: len(clock)]
        and len(clock) != 1
    )


@functools.lru_cache(maxsize=256)
def digits_of(form: str) -> int | None:
    """Counts the digits of a form that consists only of digits, such as `%Y%m%d`; None for another form.

    Dates of such a form may be whole numbers in a table and in JSON.
    """
    parts = _CODES_OR_MARKS.findall(form)
    if form in NUMBER_FORMS or not all(map(_is_digits, parts)):
        return None
    return sum(4 if part == "%Y" else 2 for part in parts)


def is_number_form(form: str | None) -> bool:
    """Returns True if the dates of a form may be numbers."""
    return form is not None and (form in NUMBER_FORMS or digits_of(form) is not None)


def digit_codes(form: str) -> list[str]:
    """Lists the codes of a form that consists only of digits, in order."""
    return _CODES_OR_MARKS.findall(form)


def twin_of(form: str) -> str | None:
    """Swaps day and month in a form; None if the form cannot be confused with another."""
    if form.startswith(("%Y", "%y")) or not {"%d", "%m"} <= set(_CODES_OR_MARKS.findall(form)):
        return None
    return "".join({"%d": "%m", "%m": "%d"}.get(part, part) for part in _CODES_OR_MARKS.findall(form))


@functools.lru_cache(maxsize=256)
def pattern_of(form: str) -> re.Pattern[str]:
    """Compiles the pattern of a form's texts; the match does not depend on the values of a text's digits.

    Args:
        form: form of texts, normalised by `check_form`.
    """
    has_name = "%b" in form
    parts = _CODES_OR_MARKS.findall(form.replace("%H:%M:%S", "\0"))
    pieces = [] if "%a" in form or all(map(_is_digits, parts)) else [rf"(?:{_WEEKDAY},?{_BLANK})?"]
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        piece = _CODES.get(part)
        if part == "\0":
            piece = _CLOCK
        elif piece is None:
            piece = {" ": rf"{_BLANK}{{1,3}}", ",": ",?"}.get(part, re.escape(part))
        elif part in ("%d", "%m") and not has_name and (_is_digits(before) or _is_digits(after)):
            piece = piece.replace("{1,2}", "{2}")  # without a mark beside the number, both digits are required
        elif part == "%d" and has_name:
            piece += "(?:st|nd|rd|th)?"
        pieces.append(piece)
    end = _TIME if "%H" not in form else _FRACTION * ("%S" in form) + _ZONE
    if "\0" in parts:
        end = rf"(?:{_BLANK}(?:utc|gmt))?"
    elif "%d" not in form:
        end = ""
    return re.compile("".join(pieces) + end, re.ASCII | re.IGNORECASE)


def _is_digits(part: str) -> bool:
    return part.startswith("%") and part not in ("%a", "%b")
