"""A large array of a JSON document, whose elements are handed out in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.magnitude import are_below
from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_cutter import CLOSING, Cells, Elements, SliceCutter, plain_numbers
from service.http.wire.json_text import JsonText

_EXACT = 2.0**53  # beyond, a whole number may differ from its float, and so name another category
_NARROW = 8  # rows of fewer numbers come from the reader in a much larger buffer
_NESTED: Final = frozenset((list, dict))
_NAMES = {list: "a list", dict: "an object", str: "a text", bool: "a truth value", type(None): "null"}

_LEAST_AT_HAND = 1 << 19  # bytes of text whose elements may be at hand for all arrays of a document together
_HAND_SHARE = 16  # or this share of the document, since an element may take 30 times the bytes of its text

_Span = tuple[int, int]  # positions in the body, from and to


class _Long(NamedTuple):
    """An element that is longer than a slice: the bracket that opens the element, and the positions of its cells."""

    opening: bytes
    spans: list[_Span]


_Part = NDArray[np.float64] | _Span | _Long


class ArraySource:
    """The source of the large arrays of a document.

    Args:
        text: text of the document.
        numbers: fast reader of plain numbers, or None.

    Attributes:
        text: text of the document.
        numbers: fast reader of plain numbers, or None.
        arrays: number of large arrays in the document.
    """

    def __init__(self, text: JsonText, numbers: NumberReader | None) -> None:
        self.text = text
        self.numbers = numbers
        self.arrays = 0

    @property
    def chunk_bytes(self) -> int:
        """Number of bytes of text that one array should parse at a time, as all arrays may be read side by side."""
        at_hand = max(_LEAST_AT_HAND, len(self.text.body) // _HAND_SHARE)
        return max(at_hand // max(self.arrays, 1), 1)


class LargeArray:
    """The elements of an array in a JSON document.

    Plain numbers are held as NumPy arrays. Other elements are not held: the reader has checked their text in the body,
    which is parsed when its chunk is asked for. So an array takes at most four times the bytes of its text, whatever
    the elements are.

    The elements can be read once: each chunk is dropped when the next one is asked for. Where an accessor yields None,
    a step took place that gave no chunk.

    Args:
        source: source of the array and of others.
        at: position of the array in the text, in bytes.

    Attributes:
        at: position of the array in the text, in bytes.
    """

    __slots__ = ("_length", "_parts", "_source", "at")

    def __init__(self, source: ArraySource, at: int) -> None:
        self.at = at
        source.arrays += 1
        self._source = source
        self._length = 0
        self._parts: list[_Part] | bytes = []  # or all elements as text

    def __len__(self) -> int:
        """Returns the number of elements, which stays the same when chunks are dropped."""
        return self._length

    def add(self, elements: Elements, start: int, end: int) -> None:
        """Takes a slice of elements.

        Args:
            elements: elements from a parser.
            start: position of the first element in the text, in bytes.
            end: position behind the last element, in bytes.
        """
        assert isinstance(self._parts, list)  # noqa: S101 -- a short array takes no slices
        self._length += len(elements)
        if isinstance(elements, np.ndarray) and is_exact(elements):
            self._parts.append(elements.copy() if elements.ndim == 2 and elements.shape[1] < _NARROW else elements)
        else:
            self._parts.append((start, end))

    def set_short(self, elements: list[Any]) -> None:
        """Takes all elements of a short array, which are held as text again: that takes the least memory.

        Args:
            elements: elements from a parser.
        """
        self._length = len(elements)
        self._parts = bytes(memoryview(orjson.dumps(elements)))  # a copy, as the original lies in a larger buffer

    def add_long(self, opening: bytes, spans: list[_Span]) -> None:
        """Takes one element that is longer than a slice.

        Args:
            opening: bracket that opens the element.
            spans: positions of the cells in the text, from and to, in bytes.
        """
        assert isinstance(self._parts, list)  # noqa: S101 -- a short array takes no slices
        self._length += 1
        self._parts.append(_Long(opening, spans))

    def chunks(self) -> Iterator[Elements | None]:
        """Yields the elements in order.

        A chunk is an array of plain numbers, `(elements,)` or, where the elements are lists of one width,
        `(elements, width)`; or it is a list of elements as from a JSON parser. Chunks of both kinds may follow each
        other. An array has no whole numbers from 2**53 on, because it would not have all of their digits.
        """
        parts, self._parts = self._parts, []
        if isinstance(parts, bytes):
            array = plain_numbers(parts, self._source.numbers)
            yield self._source.text.parse(parts) if array is None or not is_exact(array) else array
            return
        parts.reverse()
        while parts:
            part = parts.pop()
            if isinstance(part, np.ndarray):
                yield part
            elif isinstance(part, _Long):
                yield from self._long_element(part)
            else:
                yield from self._pieces(*part)

    def flat(self) -> Iterator[Elements | None]:
        """Yields the elements of an array of scalars: arrays `(elements,)`, or lists of scalars.

        Raises:
            InvalidRequest: an element is a list or an object.
        """
        read = 0
        for chunk in self.chunks():
            if isinstance(chunk, np.ndarray):
                if chunk.ndim != 1:
                    raise self._refused(read, "a single value", [])
            elif chunk is not None and not _NESTED.isdisjoint(map(type, chunk)):
                at = next(at for at, cell in enumerate(chunk) if type(cell) in _NESTED)
                raise self._refused(read + at, "a single value", chunk[at])
            yield chunk
            read += 0 if chunk is None else len(chunk)

    def in_rows(self, width: int) -> Iterator[Elements | None]:
        """Yields the elements of an array of scalars as rows: arrays `(rows, width)`, or lists of lists.

        Args:
            width: number of elements of a row.

        Raises:
            InvalidRequest: an element is a list or an object, or the last row is not complete.
        """
        if self._length % width:
            raise InvalidRequest(
                f"The body is not a prediction request: the array at byte {self.at} has {self._length:,} elements, "
                f"which are no whole number of rows of {width:,}."
            )
        pieces: list[Elements] = []
        there = 0
        for cells in self.flat():
            if cells is None or there + len(cells) < width:
                if cells is not None:
                    pieces.append(cells)
                    there += len(cells)
                yield None
                continue
            cells = _joined([*pieces, cells])
            whole = len(cells) // width * width
            pieces = [cells[whole:]] if whole < len(cells) else []
            there = len(cells) - whole
            yield _reshaped(cells[:whole], width)

    def rows(self) -> Iterator[Elements | None]:
        """Yields the elements of an array of lists of scalars: arrays `(rows, width)`, or lists of lists.

        Raises:
            InvalidRequest: an element is not a list, or a list contains a list or an object.
        """
        read = 0
        for chunk in self.chunks():
            if isinstance(chunk, np.ndarray):
                if chunk.ndim != 2:
                    raise self._refused(read, "a list", chunk[0].tolist())
            elif chunk is not None:
                self._check_types(chunk, list, read)
                if not _NESTED.isdisjoint(map(type, chain.from_iterable(chunk))):
                    at = next(at for at, row in enumerate(chunk) if not _NESTED.isdisjoint(map(type, row)))
                    raise self._refused(read + at, "a list of single values")
            yield chunk
            read += 0 if chunk is None else len(chunk)

    def objects(self) -> Iterator[list[dict[str, Any]] | None]:
        """Yields the elements of an array of objects.

        Raises:
            InvalidRequest: an element is not an object.
        """
        read = 0
        for chunk in self.chunks():
            if isinstance(chunk, np.ndarray):
                raise self._refused(read, "an object", chunk[0].tolist())
            if chunk is not None:
                self._check_types(chunk, dict, read)
                read += len(chunk)
            yield chunk

    def collected(self) -> list[Any]:
        """Returns all elements as one list, as from a JSON parser; for arrays that are known to be small."""
        found: list[Any] = []
        for chunk in self.chunks():
            if chunk is not None:
                found += chunk.tolist() if isinstance(chunk, np.ndarray) else chunk
        return found

    def _long_element(self, element: _Long) -> Iterator[list[Any] | None]:
        """Yields one element that is longer than a slice, after a step for some of its cells each."""
        cells: list[Any] = []
        names: dict[str, Any] = {}
        for start, end in element.spans:
            some: Cells = self._parsed(element.opening, start, end)
            if isinstance(some, dict):
                names |= some
            else:
                cells += some
            yield None
        yield [names or cells]

    def _pieces(self, start: int, end: int) -> Iterator[Elements | None]:
        """Yields the elements between two positions, as many at a time as this array may have at hand."""
        size, sizes = self._source.chunk_bytes, self._source.text.sizes
        if end - start > 2 * size:
            short = replace(sizes, first=size, usual=size, scanned=max(size, sizes.first))
            text = self._source.text.part(start, end, short)
            cutter = SliceCutter(text, numbers=None, noun="Element")
            while end - text.at > 2 * size:
                elements = yield from cutter.cut()
                if elements is None:  # one long element, whose cells are many
                    break
                yield elements
                yield from text.skip_space()
                text.at += text.byte() == b","
                yield from text.skip_space()
            start = text.at
        if start < end:
            yield self._parsed(b"[", start, end)

    def _parsed(self, opening: bytes, start: int, end: int) -> Any:
        text = self._source.text
        return text.parse(b"".join((opening, text.body[start:end], CLOSING[opening])))

    def _check_types(self, chunk: list[Any], wanted: type, read: int) -> None:
        if not {wanted}.issuperset(map(type, chunk)):
            at = next(at for at, element in enumerate(chunk) if type(element) is not wanted)
            raise self._refused(read + at, _NAMES[wanted], chunk[at])

    def _refused(self, element: int, wanted: str, *found: Any) -> InvalidRequest:
        """Returns the error for an element of the wrong kind.

        Args:
            element: number of the element, counted from 0.
            wanted: kind of value that is expected.
            found: element or another value of the same kind, unless its kind is right.
        """
        kinds = "".join(f"is {_NAMES.get(type(value), 'a number')}, and " for value in found)
        return InvalidRequest(
            f"The body is not a prediction request: element {element} of the array at byte {self.at} {kinds}has to be "
            f"{wanted}."
        )


def is_exact(numbers: NDArray[np.float64]) -> bool:
    """Returns True if no whole number among some numbers can have lost digits."""
    return are_below(numbers, _EXACT)


def _joined(pieces: Iterable[Elements]) -> Elements:
    """Returns the elements of some flat chunks as one chunk."""
    pieces = list(pieces)
    if len(pieces) == 1:
        return pieces[0]
    arrays = [piece for piece in pieces if isinstance(piece, np.ndarray)]
    if len(arrays) == len(pieces):
        return np.concatenate(arrays)
    return list(chain.from_iterable(piece.tolist() if isinstance(piece, np.ndarray) else piece for piece in pieces))


def _reshaped(cells: Elements, width: int) -> Elements:
    if isinstance(cells, np.ndarray):
        return cells.reshape(-1, width)
    return [cells[start : start + width] for start in range(0, len(cells), width)]
