"""Checks for the fields of a header: any content of a hostile file gives a DataError of bounded length."""

from __future__ import annotations

import reprlib
from collections import Counter

from models.errors import DataError
from models.finite_number import is_finite_number

MAX_NAME_LENGTH = 1_000


def check_column_name(name: object) -> None:
    """Refuses a value that is not a column's name, a Unicode string of 1 to `MAX_NAME_LENGTH` characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise DataError(f"a column's name must be a string of 1 to {MAX_NAME_LENGTH} characters, got {shown(name)}.")
    check_unicode("a column's name", name)


def check_unicode(what: str, text: str) -> None:
    """Refuses a lone surrogate, which JSON can write, but which a response in UTF-8 could not repeat."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} must be Unicode text, got {shown(text)}.") from error


def distinct_strings(what: str, values: object) -> tuple[str, ...]:
    """Returns a list of distinct strings as a tuple, and refuses any other value."""
    # Without the check of types, a single string would pass as a sequence of letters, and a mapping as its keys.
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{what} must be a list of strings, got {shown(values)}.")
    if len(set(values)) != len(values):
        twice, _ = Counter(values).most_common(1)[0]
        raise DataError(f"{what}: {shown(twice)} stands twice.")
    for value in values:
        check_unicode(what, value)
    return tuple(values)


def finite(what: str, value: object) -> float:
    """Returns a finite number as a float, and refuses any other value."""
    if isinstance(value, int | float) and is_finite_number(value):
        return float(value)
    raise DataError(f"{what} must be a finite number, got {shown(value)}.")


def check_choice(column: str, field: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses a value that is not one of the choices of a field."""
    if value not in choices:
        raise DataError(f"column {column!r}: {field} must be one of {', '.join(choices)}; got {shown(value)}.")


def shown(value: object) -> str:
    """Writes a value for a message with a bounded length: a hostile header may have values of any size or depth."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write more than 4,300 digits
        return f"{type(value).__name__} of many digits"
