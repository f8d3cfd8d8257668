"""Values as Python source, in the form of ruff and black: on one line where there is room, else an item a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

WIDTH = 120


class Call:
    """A call with keywords, such as `Number(name="age")`."""

    def __init__(self, function: str, /, **keywords: Any) -> None:
        self.function = function
        self.keywords = keywords


def assignment(name: str, value: Any) -> str:
    """Returns the source of an assignment, with a newline at the end."""
    return f"{name} = {literal(value, len(name) + 3)}\n"


def literal(value: Any, column: int = 0, indent: int = 0) -> str:
    """Returns the source of a value.

    Args:
        value: text, number, boolean, None, list, tuple, mapping or call.
        column: number of characters before the value on its line, and after it.
        indent: indentation of the line.
    """
    line = _on_one_line(value)
    if column + len(line) <= WIDTH or not isinstance(value, list | tuple | Mapping | Call) or not _items(value):
        return line
    opening, closing = _brackets(value)
    inner = " " * (indent + 4)
    lines = []
    for before, item in _items(value):
        lines.append(f"{inner}{before}{literal(item, len(inner) + len(before) + 1, indent + 4)},")
    return "\n".join([opening, *lines, " " * indent + closing])


def text_literal(text: str) -> str:
    """Returns the source of a text, between the quotes that need fewer escapes."""
    quote = '"' if text.count('"') <= text.count("'") else "'"
    return quote + escaped(text, quote) + quote


def escaped(text: str, quote: str) -> str:
    """Returns a text with Python's escapes, where only the given quote is escaped."""
    body = repr(f'"{text}')[2:-1].replace("\\'", "'")  # without Python's escapes of quotes
    return body.replace(quote, f"\\{quote}")


def _on_one_line(value: Any) -> str:
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, list | tuple | Mapping | Call):
        opening, closing = _brackets(value)
        items = [before + _on_one_line(item) for before, item in _items(value)]
        comma = "," if isinstance(value, tuple) and len(items) == 1 else ""
        return opening + ", ".join(items) + comma + closing
    plain = value.item() if isinstance(value, np.generic) else value
    return repr(plain).replace("e+", "e") if isinstance(plain, float) else repr(plain)  # 1e20, as formatters write it


def _items(value: Sequence[Any] | Mapping[str, Any] | Call) -> list[tuple[str, Any]]:
    """Returns the items of a collection, each with a prefix: the keyword or the key."""
    if isinstance(value, Call):
        return [(f"{name}=", item) for name, item in value.keywords.items()]
    if isinstance(value, Mapping):
        return [(f"{text_literal(key)}: ", item) for key, item in value.items()]
    return [("", item) for item in value]


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, Call):
        return f"{value.function}(", ")"
    return ("[", "]") if isinstance(value, list) else ("{", "}") if isinstance(value, Mapping) else ("(", ")")
