"""The cutter of a long list in a JSON text; reads slices of complete elements, so that no step takes long.

A slice ends where an element seems to end, and is then parsed. If the parser accepts the slice, the cut was right: JSON
is read from left to right, so a text that begins with an element and parses as complete elements ends with an element.
If the parser fails at the very end of the slice, the cut was inside a value, such as a text with commas in it. Then the
end of a slice is searched by all marks of JSON in it (`json_marks`). If the parser fails earlier, the body is not JSON.

Elements longer than a slice are read in the same way, some of their cells at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_marks import end_of_scalar, end_of_values, opened
from service.http.wire.json_text import Broken, JsonText

Elements = list[Any] | NDArray[np.float64]
Cells = list[Any] | dict[str, Any]
Ends = Callable[[int], Iterator[int]]

CLOSING = {b"[": b"]", b"{": b"}"}
_MOST_OPENED = 8192  # opening brackets in a slice; each becomes a Python object
_NUMBER_STARTS = frozenset((b"-", *(b"%d" % digit for digit in range(10))))


class _TooDense(Exception):
    """An error for a slice with too many lists and objects for one step."""


class SliceCutter:
    """A cutter of lists in a JSON text.

    Args:
        text: JSON text; the cutter moves its position.
        numbers: fast reader of plain numbers; None if the elements cannot be plain numbers.
        noun: word for an element in messages.

    Attributes:
        read: number of elements of the present list read so far.
    """

    def __init__(self, text: JsonText, *, numbers: NumberReader | None, noun: str) -> None:
        self.read = 0
        self._text = text
        self._numbers = numbers
        self._noun = noun
        self._window = text.sizes.usual  # bytes in which the next cut is looked for

    def begin(self) -> None:
        """Prepares for one of many lists, most of which are short."""
        self.read = 0
        self._window = self._text.sizes.first

    def cut(self) -> Generator[None, None, Elements | None]:
        """Reads a slice of complete elements, and yields between attempts.

        Returns:
            The elements, or None if the first element is longer than a slice.

        Raises:
            InvalidRequest: the text is not JSON, or a text or a number is too long.
        """
        text = self._text
        if text.byte() in (b",", b"]", b"}"):
            raise text.not_json("a value is expected")
        elements: Elements | None = yield from self._cut(b"[", b"]", self._element_ends, self._numbers)
        if elements is not None:
            self.read += len(elements)
        elif text.byte() not in CLOSING:
            raise self._too_long()
        return elements

    def long_element(self) -> Iterator[tuple[int, Cells] | None]:
        """Reads one element that is longer than a slice.

        Yields:
            The position of some cells and the cells, a list or a mapping; None after a step that gave none.

        Raises:
            InvalidRequest: the text is not JSON, or a cell is too long.
        """
        text = self._text
        opening = text.byte()
        closing = CLOSING[opening]
        text.at += 1
        while True:
            yield from text.skip_space()
            if text.byte() in (b",", closing):  # a long element is not empty
                raise text.not_json("a value is expected")
            start = text.at
            cells: Cells | None = yield from self._cut(opening, closing, self._cell_ends, None)
            if cells is None:
                raise self._too_long()
            yield start, cells
            yield from text.skip_space()
            is_last = text.byte() == closing
            text.expect(closing if is_last else b",")
            if is_last:
                self.read += 1
                return

    def _cut(
        self, opening: bytes, closing: bytes, likely_ends: Ends, numbers: NumberReader | None
    ) -> Generator[None, None, Any]:
        """Reads a slice between two brackets; returns None if the first value is longer than a slice."""
        text, sizes = self._text, self._text.sizes
        if text.at == text.end:
            raise text.not_json("unexpected end")
        values = yield from self._cut_quickly(opening, closing, likely_ends, numbers)
        if values is not None:
            return values
        for size in (sizes.scanned, sizes.usual, sizes.longest):
            ahead = text.ahead(size)
            if size == sizes.longest and opened(ahead) > 2 * _MOST_OPENED:
                break
            found = end_of_values(ahead)
            if found and (values := self._try(opening, closing, text.at + found, numbers)) is not None:
                self._window = min(max(found, sizes.first), sizes.usual)
                return values
            yield
        left = text.end - text.at
        found = end_of_scalar(text.ahead(sizes.longest), is_all=left <= sizes.longest)
        if found and (values := self._try(opening, closing, text.at + found, numbers)) is not None:
            return values
        if left <= (sizes.usual if text.byte() in CLOSING else sizes.longest):
            raise text.not_json("unexpected end", text.end)
        return None

    def _cut_quickly(
        self, opening: bytes, closing: bytes, likely_ends: Ends, numbers: NumberReader | None
    ) -> Generator[None, None, Any]:
        """Reads a slice up to a likely end; returns None if every likely end is inside a value."""
        text, sizes = self._text, self._text.sizes
        window, is_dense = self._window, False
        while True:
            stop, has_end = min(text.at + window, text.end), False
            for end in likely_ends(stop):
                if end <= text.at:
                    continue
                has_end, opens = True, text.byte() in CLOSING
                try:
                    values = self._try(opening, closing, end, numbers, takes_all=window <= sizes.first)
                except _TooDense:
                    is_dense = True
                    window //= 2
                    yield
                    break
                if values is not None:
                    growth = min(_MOST_OPENED // len(values), 4) if opens else 4
                    self._window = min(max(growth, 1) * window, sizes.usual)
                    return values
                yield
            else:
                if has_end or is_dense or stop == text.end or window >= sizes.longest:
                    return None
                window = sizes.usual if window < sizes.usual else sizes.longest

    def _element_ends(self, stop: int) -> Iterator[int]:
        """Yields positions before `stop` where an element may end, the most likely first."""
        body, at = self._text.body, self._text.at
        kind = bytes(body[at : at + 1])
        closing = CLOSING.get(kind)
        if closing is None:
            yield body.find(b"]", at, stop)  # the end of a flat list, unless it is inside a text
            yield body.rfind(b",", at, stop)
        else:
            if stop == self._text.end:
                yield body.rfind(closing + b"]", at, stop) + 1
            yield body.rfind(closing + b",", at, stop) + 1

    def _cell_ends(self, stop: int) -> Iterator[int]:
        """Yields positions before `stop` where a cell of a long element may end."""
        body, at = self._text.body, self._text.at
        yield body.rfind(b",", at, stop)

    def _try(
        self, opening: bytes, closing: bytes, end: int, numbers: NumberReader | None, *, takes_all: bool = True
    ) -> Any:
        """Parses a slice, and moves behind what was read.

        Args:
            opening: bracket before the slice.
            closing: bracket behind the slice.
            end: position in the body behind the slice.
            numbers: fast reader of plain numbers, or None.
            takes_all: False if a slice with very many lists and objects is refused.

        Returns:
            The content of the slice, or None if the slice ends inside a value.

        Raises:
            InvalidRequest: the text is not JSON.
            _TooDense: the slice has too many lists and objects for one step.
        """
        text, start = self._text, self._text.at
        piece = b"".join((opening, text.body[start:end], closing))
        if (array := plain_numbers(piece, numbers)) is not None:
            text.at = end
            return array
        if not takes_all and opened(piece) > _MOST_OPENED:
            raise _TooDense
        try:
            values = text.parse(piece)
        except Broken as broken:
            if broken.ends_early:
                return None
            piece = piece[: broken.at]  # the slice may go beyond the bracket that closes the list
            try:
                values = plain_numbers(piece, numbers)
                values = text.parse(piece) if values is None else values
            except Broken:
                raise text.not_json(broken.reason, start + broken.at - 1) from None
            end = text.body.rfind(closing, start, start + broken.at - 1)
        text.at = end
        return values

    def _too_long(self) -> InvalidRequest:
        longest, at = self._text.sizes.longest, self._text.at
        return InvalidRequest(f"{self._noun} {self.read}: a value of more than {longest:,} bytes begins at byte {at}.")


def plain_numbers(piece: bytes, numbers: NumberReader | None) -> NDArray[np.float64] | None:
    """Returns the numbers of a list; None if the list is left to the general parser."""
    if numbers is None:
        return None
    kind = piece[1:2]
    if kind == b"[":
        return None if piece[2:3] == b"]" else numbers.read(piece)
    return numbers.read_flat(piece) if kind in _NUMBER_STARTS else None
