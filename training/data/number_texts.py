"""Reads texts such as `1.234,56 €` or `(12)` as numbers, given the decimal and thousands marks.

Columns have millions of cells, so Arrow reads the texts. Only the signs around the digits are handled one by one,
because a column has few different ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Numbers as JSON and spreadsheets write them, without Python's 1_000. Infinities match, to be refused by name later.
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"

_DIGITS = r"^\d+$"
_CODE = r"^0\d+$"
_SHOWN = 60  # digits of a code in a message

# Marks that divide thousands and are nowhere a decimal mark: blanks of several widths, and apostrophes.
NEUTRAL = " \u00a0\u2007\u2009\u202f'\u2019"
_BLANK = " \u00a0\u2007\u2009\u202f"
_MINUS = "-\u2212\u2013\ufe63\uff0d"  # hyphen, minus sign, en dash, small hyphen, full-width hyphen
_CODES = (
    "AED|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|DM|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PKR|PLN|"
    "RMB|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_CURRENCY = rf"(?:(?:US|AU|CA|NZ|HK|NT|MX|A|C|R|S)?\p{{Sc}}|{_CODES}|Euro|kr\.?|zł|Kč|Ft|Fr\.?|Rs\.?|R\$)"
_PER_CENT = "%‰٪％"
_LEAD = rf"(?P<lead>(?:[(+{re.escape(_MINUS)}{_BLANK}]|{_CURRENCY})*)"
_TRAIL = rf"(?P<trail>(?:[){_PER_CENT}{_BLANK}]|{_CURRENCY})*)"
_EXPONENT = r"(?P<exponent>(?:[eE][+-]?\d+)?)"
_AROUND = re.compile(rf"[(){_BLANK}{re.escape(_MINUS)}+]")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The marks between the digits of numbers in texts.

    Attributes:
        decimal: decimal mark, `.` or `,`.
        thousands: mark that may divide thousands in addition to blanks and apostrophes, `.`, `,` or empty. If empty and
            `neutral` is False, no mark divides thousands.
        neutral: True if blanks and apostrophes may divide thousands.
    """

    decimal: str = "."
    thousands: str = ""
    neutral: bool = True


PLAIN = Marks()


@dataclass(frozen=True, kw_only=True)
class Adornments:
    """The signs around the digits of some texts.

    Attributes:
        units: index of a text by currency or per cent sign; the empty sign stands for numbers other than 0 without one.
        bracketed: index of a text in brackets, or None.
        is_all_bracketed: True if all texts are in brackets.
        sign: index of a text with a minus sign that is not the hyphen, or None.
    """

    units: dict[str, int]
    bracketed: int | None
    is_all_bracketed: bool
    sign: int | None


def numbers_in(texts: pa.Array, marks: Marks = PLAIN) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reads texts as numbers.

    Args:
        texts: `(rows,)` strings, null for missing.
        marks: decimal and thousands marks.

    Returns:
        `(rows,)` values, NaN where a cell is missing or not a number, and `(rows,)` True for a number.
    """
    values, is_number = plain_numbers_in(texts, marks.decimal)
    rest = pc.is_valid(texts).to_numpy(zero_copy_only=False) & ~is_number
    if rest.any():
        values[rest], is_number[rest] = _adorned_numbers(texts.filter(pa.array(rest)), marks)
    return values, is_number


def code_in(texts: pa.Array) -> str | None:
    """Returns the first text that is a code such as `007`, a whole number with leading zeros; None without one."""
    # Quick tests first: a regular expression takes 100 ns a cell, and many columns have cells such as 0.25.
    is_fraction = pc.or_(pc.starts_with(texts, "0."), pc.starts_with(texts, "0,"))
    zeros = texts.filter(pc.and_not(pc.starts_with(texts, "0"), is_fraction))
    codes = zeros.filter(pc.match_substring_regex(zeros, _CODE))
    return str(codes[0].as_py()) if len(codes) else None


def code_as_number(code: str) -> str:
    """Returns words on a code that is read as a number, to follow the column's name."""
    return f"holds codes such as {code[:_SHOWN]!r}, read as the number {code.lstrip('0')[:_SHOWN] or '0'}"


def are_codes_of_one_width(texts: pa.Array) -> bool:
    """Returns True if all texts are whole numbers with the same number of digits."""
    return bool(pc.all(pc.match_substring_regex(texts, _DIGITS)).as_py()) and len(pc.unique(pc.utf8_length(texts))) == 1


def bodies_in(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Returns the digits and marks of texts that may be numbers with some marks, without the signs around the digits.

    Thousands that a blank or an apostrophe divides are joined: a mark that follows them is the decimal mark.

    Returns:
        `(rows,)` digits with `.` and `,`, null where a text is not a number with any marks, and `(rows,)` exponents.
    """
    found = pc.extract_regex(texts, rf"^{_LEAD}(?P<body>[\d.,{NEUTRAL}]*\d[\d.,]*){_EXPONENT}{_TRAIL}$")
    body, exponent = found.field("body"), found.field("exponent")
    if found.null_count:  # the fields of a null struct are not null
        is_found = pc.is_valid(found)
        body = pc.if_else(is_found, body, pa.scalar(None, body.type))
    neutral = pc.match_substring_regex(body, rf"^\d{{1,3}}(?:[{NEUTRAL}]\d{{3}})+(?:[.,]\d*)?$")
    joined = pc.replace_substring_regex(body, f"[{NEUTRAL}]", "")
    body = pc.if_else(neutral, joined, body)
    is_sound = pc.match_substring_regex(body, r"^[\d.,]+$")
    return pc.if_else(is_sound, body, pa.scalar(None, body.type)), exponent


def adornments_of(texts: pa.Array, values: NDArray[np.float64]) -> Adornments:
    """Returns the signs around the digits of texts that are numbers.

    Args:
        texts: `(texts,)` strings, none of them null.
        values: `(texts,)` values of the texts.
    """
    found = pc.extract_regex(texts, rf"^{_LEAD}(?P<body>[\d.,{NEUTRAL}]*\d[\d.,]*){_EXPONENT}{_TRAIL}$")
    leads, trails = found.field("lead").to_pylist(), found.field("trail").to_pylist()
    units: dict[str, int] = {}
    bracketed = sign = None
    count = 0
    for i, (lead, trail) in enumerate(zip(leads, trails, strict=True)):
        unit = _AROUND.sub("", f"{lead or ''}{trail or ''}")
        if unit or values[i] != 0:
            units.setdefault(unit, i)
        if lead and "(" in lead:
            bracketed, count = i if bracketed is None else bracketed, count + 1
        if sign is None and lead and any(mark in lead for mark in _MINUS[1:]):
            sign = i
    return Adornments(units=units, bracketed=bracketed, is_all_bracketed=count == len(leads) > 0, sign=sign)


def plain_numbers_in(texts: pa.Array, decimal: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reads texts as numbers without thousands marks and signs of units; arguments and results as `numbers_in`."""
    if decimal == ",":
        # In a column with decimal commas, a text with a dot is not a plain number.
        has_dot = pc.fill_null(pc.match_substring(texts, "."), False)
        if pc.any(has_dot).as_py():
            texts = pc.if_else(has_dot, pa.scalar("?", texts.type), texts)
        texts = pc.replace_substring(texts, ",", ".")
    is_present = _numpy(pc.is_valid(texts))
    try:
        # Arrow reads the same texts as the pattern does, and "nan" in addition.
        values = _numpy(pc.cast(texts, pa.float64())).astype(np.float64)
    except pa.ArrowInvalid:
        pass
    else:
        if not (np.isnan(values) & is_present).any():
            return values, is_present.copy()
    matches = pc.fill_null(pc.match_substring_regex(texts, _NUMBER), False)
    numbers = pc.cast(pc.if_else(matches, texts, pa.scalar(None, texts.type)), pa.float64())
    return _numpy(numbers).astype(np.float64), _numpy(matches).astype(np.bool_)


def _adorned_numbers(texts: pa.Array, marks: Marks) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Reads numbers with divided thousands, a currency or per cent sign, brackets, or a minus sign other than `-`."""
    values = np.full(len(texts), np.nan)
    found = pc.extract_regex(texts, rf"^{_LEAD}(?P<body>{_body(marks)}){_EXPONENT}{_TRAIL}$")
    is_number = _numpy(pc.is_valid(found)).astype(np.bool_)
    if not is_number.any():
        return values, is_number
    found = found.filter(pa.array(is_number))
    digits = pc.replace_substring_regex(found.field("body"), f"[{NEUTRAL}{re.escape(marks.thousands)}]", "")
    digits = pc.replace_substring(digits, marks.decimal, ".")
    sizes = _numpy(pc.cast(pc.binary_join_element_wise(digits, found.field("exponent"), ""), pa.float64()))
    is_blank_divided = _numpy(pc.match_substring_regex(found.field("body"), f"[{_BLANK}]")).tolist()
    signs = np.array(
        [
            _sign(lead, trail, is_divided)
            for lead, trail, is_divided in zip(
                found.field("lead").to_pylist(), found.field("trail").to_pylist(), is_blank_divided, strict=True
            )
        ]
    )  # (found,) 1, -1, or 0 for a text that is not a number
    rows = np.flatnonzero(is_number)
    values[rows] = np.where(signs == 0, np.nan, signs * sizes)
    is_number[rows] = signs != 0
    return values, is_number


@cache
def _body(marks: Marks) -> str:
    """Returns the pattern of a number's digits and marks."""
    decimal = re.escape(marks.decimal)
    forms = [rf"\d+(?:{decimal}\d*)?", rf"{decimal}\d+"]
    dividing = marks.thousands + (NEUTRAL if marks.neutral else "")
    forms += [rf"[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+(?:{decimal}\d*)?" for mark in dividing]
    if marks.thousands == ",":  # lakh and crore: 12,34,567
        forms.append(rf"[1-9]\d?(?:,\d\d)+,\d{{3}}(?:{decimal}\d*)?")
    return "|".join(forms)


@cache
def _sign(lead: str, trail: str, is_blank_divided: bool) -> int:
    """Returns the sign of a number, 1 or -1, from the signs around its digits; 0 if the text is not a number."""
    minus, plus = sum(lead.count(mark) for mark in _MINUS), lead.count("+")
    opened, closed = lead.count("("), trail.count(")")
    units = [unit for unit in (_AROUND.sub("", lead), _AROUND.sub("", trail)) if unit]
    if opened != closed or opened > 1 or minus + plus > 1 or (opened and minus + plus):
        return 0
    if len(units) > 1 or any(len(unit) > 1 and unit[0] in _PER_CENT for unit in units):
        return 0
    if plus and is_blank_divided:  # +49 123 456 is a telephone number
        return 0
    return -1 if minus or opened else 1


def _numpy(array: pa.Array) -> NDArray[Any]:
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
