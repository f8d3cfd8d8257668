"""The marks of JSON (quotes, brackets and commas) and the values between two marks.

The searches are a few operations over the whole text, so that each takes about as long for any text. Escaped quotes are
overwritten first, so that each quote that is left begins or ends a text.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

_QUOTE, _COMMA, _COLON, _BRACKET = b'",:['
_OPENING, _CLOSING = b"{}"
_BRACE_BIT = 0x20  # all that a brace has more than a bracket
_PLAIN = re.compile(rb'[^"\[\]{}, \t\n\r]++')


def opened(text: bytes) -> int:
    """Returns the number of opening brackets and braces in a text."""
    return int(np.count_nonzero((np.frombuffer(text, dtype=np.uint8) | _BRACE_BIT) == _OPENING))


def end_of_values(text: bytes) -> int | None:
    """Returns the position behind the last complete value of a list or an object.

    Args:
        text: part of the list or the object, which begins with a value or a key.

    Returns:
        The position of the closing bracket, if it is there, or of the last comma; otherwise the position behind the
        last list or object in it, or None.
    """
    marks, outside = _marks(text)
    braces = marks | _BRACE_BIT
    opened, closed = outside & (braces == _OPENING), outside & (braces == _CLOSING)
    depth = np.cumsum(opened.view(np.int8) - closed.view(np.int8), dtype=np.int32)
    if depth.min() < 0:
        return int((depth < 0).argmax())
    is_here = depth == 0
    ends = np.flatnonzero(is_here & outside & (marks == _COMMA))
    if len(ends):
        return int(ends[-1])
    ends = np.flatnonzero(is_here & closed)
    return int(ends[-1]) + 1 if len(ends) else None


def colons_and_lists(text: bytes) -> tuple[int, list[int]]:
    """Returns the number of colons outside of texts, and the positions of all opening brackets outside of texts."""
    marks, outside = _marks(text)
    return int(np.count_nonzero(outside & (marks == _COLON))), np.flatnonzero(outside & (marks == _BRACKET)).tolist()


def end_of_scalar(text: bytes, *, is_all: bool) -> int | None:
    """Returns the position behind a text, a number, true, false or null at the beginning of a text; or None.

    Args:
        text: part of a JSON text.
        is_all: True if nothing follows the part.
    """
    if text[:1] == b'"':
        return _without_escapes(text).find(b'"', 1) + 1 or None
    found = _PLAIN.match(text)
    return None if found is None or (found.end() == len(text) and not is_all) else found.end()


def _marks(text: bytes) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Returns the bytes of a text, and True for each byte that is outside of texts."""
    marks = np.frombuffer(_without_escapes(text), dtype=np.uint8)
    return marks, np.cumsum(marks == _QUOTE, dtype=np.uint8) & 1 == 0


def _without_escapes(text: bytes) -> bytes:
    """Returns a text of the same length without escaped quotes and backslashes."""
    return text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ") if b"\\" in text else text
