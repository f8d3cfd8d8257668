"""The text of a cell of names or dates, read in the same way from a training table and from a client's row.

Two cells that a person would call the same get the same text, from a CSV file, a Parquet file, a data frame or JSON:
` lead`, `lead` and `lead` with a zero-width space; é as one character and as two; `TRUE`, `True` and true; 10115,
10115.0 and `10115`.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any

# The texts that count as missing. pandas' longer list would make categories such as "None" and "n/a" missing.
MISSING_TEXTS = ("", "NA", "NaN", "nan", "null", "NULL")

# Unicode's white space, the characters for which `str.isspace` is true.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Characters that print nothing: soft hyphen, marks of direction, zero-width space, word joiner, byte order mark. The
# zero-width joiners are not in this list: Persian, Hindi and emoji need them.
INVISIBLE = "\xad\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
BLANKS = WHITE_SPACE + INVISIBLE

# Longer texts are only stripped: the time to normalise a hostile run of combining marks grows with the square of the
# length (200 take 0.07 ms, 2,000 take 6 ms).
MAX_NORMALISED = 256
_MAX_NUMBER_BITS = 1_024  # enough for each whole float64; Python refuses to write thousands of digits

_WITHOUT_INVISIBLE = str.maketrans("", "", INVISIBLE)
_WHOLE = re.compile(r"(-?[0-9]+)(\.0+)?", re.ASCII)


class NoCategory(Exception):
    """A cell of a type that names no category, such as a list."""


def bare(text: str) -> str:
    """Removes the blanks at both ends of a text."""
    return text.strip(BLANKS)


def is_missing(text: str) -> bool:
    """Returns True if a text stands for a missing value."""
    return bare(text) in MISSING_TEXTS


def tidy(text: str) -> str:
    """Normalises a name: NFC, no invisible characters, one space for each run of white space, none at the ends."""
    text = text.strip(BLANKS)
    if not text.isascii():
        if len(text) > MAX_NORMALISED:
            return text
        text = unicodedata.normalize("NFC", text.translate(_WITHOUT_INVISIBLE))
    return " ".join(text.split())


def category_of(cell: Any) -> str | None:
    """Returns the category that a cell names, None for a missing cell.

    Booleans become `true` and `false`, whole numbers are written without a decimal part, and other numbers as in JSON.
    A text is changed in three ways only: by `tidy`, by lower case for true and false, and by removing the zeros of
    `3.0`. So `1.10` stays different from `1.1`, and `007` from the number 7.

    Args:
        cell: value from a JSON parser or a table's column: text, number, boolean or None.

    Raises:
        NoCategory: The cell is a list, an object, an infinity or a number of hundreds of digits.
    """
    if isinstance(cell, str):
        return _written(tidy(cell))
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return _digits(cell)
    if isinstance(cell, float):
        return _number(cell)
    raise NoCategory


def decimal_text(number: Decimal) -> str:
    """Writes a decimal with all of its digits and without an exponent, as in a CSV file: 1.10 and 0.00000010."""
    return f"{number:f}"


def _written(text: str) -> str | None:
    if text in MISSING_TEXTS:
        return None
    if len(text) <= len("false") and text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return text
    return "0" if whole[1] == "-0" else whole[1]


def _number(cell: float) -> str | None:
    if cell != cell:  # NaN, a missing value in a data frame
        return None
    if cell in (float("inf"), float("-inf")):
        raise NoCategory
    if cell == int(cell):
        return _digits(int(cell))
    return repr(float(cell))


def _digits(number: int) -> str:
    if number.bit_length() > _MAX_NUMBER_BITS:
        raise NoCategory
    return int.__repr__(number)
