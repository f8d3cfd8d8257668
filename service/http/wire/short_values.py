"""The reader of short values in a JSON document, many at a time.

A document with thousands of short arrays, such as a tensor for each column, would take long to read token by token. So
the next few thousand bytes are parsed at once, where they hold complete values. What is unusual in them is left to the
reader by tokens, which reports faults with their positions.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from service.http.wire.json_cutter import CLOSING
from service.http.wire.json_marks import colons_and_lists, end_of_values
from service.http.wire.json_text import Broken, JsonText
from service.http.wire.large_array import ArraySource, LargeArray

Path = tuple[str, ...]

ANY = "*"
_DEEPEST = 8  # levels of lists and objects in short values
_FEW = 8  # values for which an attempt takes as long as the reading by tokens
_NESTED = frozenset((list, dict))


def below(paths: Sequence[Path], key: str | None) -> tuple[Path, ...]:
    """Returns the paths of the large arrays below a value.

    Args:
        paths: paths of the large arrays in the object or the list around the value.
        key: key of the value; None in a list.
    """
    return tuple(path[1:] for path in paths if path and path[0] in (ANY, key)) if paths else ()


@dataclass(slots=True)
class ShortContent:
    """The content of short values.

    Attributes:
        content: list of values, or values by key, with a `LargeArray` in place of each array at a large path.
        values: number of values outside the large arrays.
        elements: number of elements of all large arrays.
        keys: number of keys of all objects.
        lists: number of lists, in the order of the text.
    """

    content: Any = None
    values: int = 0
    elements: int = 0
    keys: int = 0
    lists: int = 0


class _Unusual(Exception):
    """An error for values that are left to the reader by tokens."""


class ShortValues:
    """A reader of short values in an object or a list.

    Args:
        text: text of the document; the reader moves its position.
        source: source of the large arrays.
    """

    def __init__(self, text: JsonText, source: ArraySource) -> None:
        self._text = text
        self._source = source
        self._not_before = 0  # position of the next attempt
        self._pause = 0  # bytes without an attempt, after one that did not pay
        self._brackets: list[int] = []  # positions of the opening brackets in the text

    def read(self, opening: bytes, paths: Sequence[Path], known: Container[str]) -> ShortContent | None:
        """Reads the next values of an object or a list; returns None for unusual values, or if the first is not short.

        Args:
            opening: bracket that opens the object or the list.
            paths: paths of the large arrays in the object, or in each value of the list.
            known: keys that the object has already.
        """
        text = self._text
        if text.at < self._not_before:
            return None
        ahead = text.ahead(text.sizes.first)
        end = end_of_values(ahead) if ahead else None
        found = self._content(b"".join((opening, ahead[:end], CLOSING[opening])), paths, known) if end else None
        if found is not None and end is not None:
            text.at += end
        self._pause = 0 if found is not None and len(found.content) >= _FEW else 2 * self._pause + text.sizes.first
        self._not_before = text.at + min(self._pause, text.sizes.longest)
        return found

    def _content(self, piece: bytes, paths: Sequence[Path], known: Container[str]) -> ShortContent | None:
        found = ShortContent()
        before = self._source.arrays
        try:
            content = self._text.parse(piece)
            colons, self._brackets = colons_and_lists(piece)
            if isinstance(content, dict) and not any(key in known for key in content):
                found.keys = len(content)
                found.content = {key: self._take(value, below(paths, key), found, 0) for key, value in content.items()}
            elif isinstance(content, list):
                found.lists = 1
                found.content = [self._take(value, paths, found, 0) for value in content]
        except (Broken, _Unusual):
            found.content = None
        if found.content is None or found.keys != colons:  # a key that stands twice is there once
            self._source.arrays = before
            return None
        return found

    def _take(self, value: Any, paths: Sequence[Path], found: ShortContent, depth: int) -> Any:
        """Returns a value with a `LargeArray` in place of each array at a large path, and counts its contents."""
        found.values += 1
        kind = type(value)
        if kind not in _NESTED:
            return value
        if depth == _DEEPEST:
            raise _Unusual
        if kind is dict:
            found.keys += len(value)
            return {key: self._take(cell, below(paths, key), found, depth + 1) for key, cell in value.items()}
        if () in paths:
            return self._array(value, found)
        found.lists += 1
        paths = below(paths, None)
        return [self._take(cell, paths, found, depth + 1) for cell in value]

    def _array(self, elements: list[Any], found: ShortContent) -> LargeArray:
        array = LargeArray(self._source, self._text.at + self._brackets[found.lists] - 1)
        found.lists += 1
        found.values += 1  # for the memory of a large array that is short
        found.elements += len(elements)
        if not _NESTED.isdisjoint(map(type, elements)):
            rows = [element for element in elements if type(element) is list]
            if dict in map(type, elements) or any(not _NESTED.isdisjoint(map(type, row)) for row in rows):
                raise _Unusual
            found.lists += len(rows)
        if elements:
            array.set_short(elements)
        return array
