"""JSON in many short calls, between which other threads of the process can run.

`json.loads` and `json.dumps` are one call each, and hold the interpreter's lock from beginning to end. For a header of
10,000 columns that takes 20 to 50 ms, in which a server would answer no request.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

_DEPTH = 3  # levels of nested objects and lists that are read or written member by member
_TOGETHER = 64  # members of a list that are written in one call
_dump = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    # A single call of the decoder stores equal names once; many calls would not.
    return {sys.intern(name): value for name, value in members}


_scan = json.JSONDecoder(object_pairs_hook=_object).raw_decode


def loads_in_parts(text: str) -> Any:
    """Reads a JSON text without blanks between its tokens.

    Raises:
        ValueError: The text is not JSON, or has blanks.
        RecursionError: The text is nested too deeply.
    """
    value, end = _read(text, 0, _DEPTH)
    if end != len(text):
        raise ValueError("there is more behind the value.")
    return value


def _read(text: str, at: int, depth: int) -> tuple[Any, int]:
    """Reads the value that begins at a position; also returns the position after the value."""
    opening = text[at : at + 1]
    if not depth or opening not in ("{", "[") or text[at + 1 : at + 2] in ("}", "]"):
        return _scan(text, at)
    is_object = opening == "{"
    members: list[Any] = []
    while True:
        name = None
        if is_object:
            name, at = _scan(text, at + 1)
            if not isinstance(name, str) or text[at : at + 1] != ":":
                raise ValueError("a member has no name.")
        value, at = _read(text, at + 1, depth - 1)
        members.append((name, value) if is_object else value)
        mark = text[at : at + 1]
        if mark == ("}" if is_object else "]"):
            return _object(members) if is_object else members, at + 1
        if mark != ",":
            raise ValueError("a list or an object has no end.")


def canonical_json(value: Any) -> str:
    """Writes the canonical JSON text of a value: keys sorted, no blanks, ASCII, no NaN.

    Raises:
        ValueError: A number is not finite.
        RecursionError: The value is nested too deeply.
    """
    return "".join(_parts(value, _DEPTH))


def _parts(value: Any, depth: int) -> Iterator[str]:
    if depth and value and isinstance(value, dict):
        before = "{"
        for name in sorted(value):
            yield f"{before}{_dump(name)}:"
            yield from _parts(value[name], depth - 1)
            before = ","
        yield "}"
    elif depth and value and isinstance(value, list):
        before = "["
        for at in range(0, len(value), _TOGETHER):
            yield before + _dump(value[at : at + _TOGETHER])[1:-1]
            before = ","
        yield "]"
    else:
        yield _dump(value)
