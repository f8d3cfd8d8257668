"""The fields of a header, checked: whatever a hostile file holds in one becomes a DataError of bounded length."""

from __future__ import annotations

import contextlib
import math
import reprlib
from collections import Counter

from models.errors import DataError

MAX_NAME_LENGTH = 1_000


def check_name(name: object) -> None:
    """Refuses what is not a column's name: a Unicode string of 1 to `MAX_NAME_LENGTH` characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise DataError(f"a column's name must be a string of 1 to {MAX_NAME_LENGTH} characters, got {shown(name)}.")
    check_unicode("a column's name", name)


def check_unicode(what: str, text: str) -> None:
    """Refuses half of a surrogate pair, which JSON can write: no response that repeats it could be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{what} must be Unicode text, got {shown(text)}.") from error


def distinct_strings(what: str, values: object) -> tuple[str, ...]:
    """A list of strings, each given once."""
    # A lone string would pass for a sequence of letters, and a mapping for its keys.
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise DataError(f"{what} must be a list of strings, got {shown(values)}.")
    if len(set(values)) != len(values):
        twice, _ = Counter(values).most_common(1)[0]
        raise DataError(f"{what}: {shown(twice)} stands twice.")
    for value in values:
        check_unicode(what, value)
    return tuple(values)


def finite(what: str, value: object) -> float:
    """A finite number, as a float."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number beyond what a float holds
            if math.isfinite(number := float(value)):
                return number
    raise DataError(f"{what} must be a finite number, got {shown(value)}.")


def check_choice(column: str, field: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses what is not one of a field's choices."""
    if value not in choices:
        raise DataError(f"column {column!r}: {field} must be one of {', '.join(choices)}; got {shown(value)}.")


def shown(value: object) -> str:
    """A value in a message, bounded: a hostile header may hold one of any size, depth or number of digits."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to write out more than 4,300 digits
        return f"{type(value).__name__} of many digits"
