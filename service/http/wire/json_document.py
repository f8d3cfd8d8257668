"""The reader of a JSON document with large arrays, in steps; no step blocks the event loop.

The caller names the places where a document may have a large array, such as `("inputs", "*", "data")`. Everything
outside these arrays is small, and is read token by token. A large array is read slice by slice.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from models.columns.cells import shown
from models.columns.schema import MAX_COLUMNS
from service.errors import InvalidRequest, TooLarge
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_cutter import SliceCutter
from service.http.wire.json_text import USUAL_SIZES, Body, JsonText, SliceSizes, Steps
from service.http.wire.large_array import ArraySource, LargeArray
from service.http.wire.short_values import Path, ShortContent, ShortValues, below

__all__ = ["Path", "SlicedDocument"]

_MOST_VALUES = 1 << 17  # enough for a tensor each of 16,000 columns; they take 20 MB at most
_DEEPEST = 64  # levels outside the large arrays
_FEW = 8  # keys of an object that are read token by token before an attempt to read many at a time
_STEP_VALUES = 64  # values outside the large arrays that are read in one step, usually in a fraction of a millisecond


class SlicedDocument:
    """A reader of one JSON document.

    Args:
        body: JSON text of the document.
        large: paths of the arrays that may be large. A path has a key for each step down from the document; "*" stands
            for any key, and for any position in an array. An array below a large array is part of its elements.
        numbers: fast reader of plain numbers; None if the numbers may be categories, whose digits are needed.
        most_elements: largest number of elements of all large arrays together.
        most_cells: largest number of cells in an element that is longer than a slice.
        most_values: largest number of values outside the large arrays, such as names and shapes; a large array counts
            as two.
        takes_nan: True if the token `NaN` stands for a missing value, and is read as None.
        sizes: numbers of bytes read at a time.

    Attributes:
        document: content of the document, once all steps are done; in place of each array at a large path stands a
            `LargeArray`.
    """

    def __init__(
        self,
        body: Body,
        large: Iterable[Path],
        *,
        numbers: NumberReader | None,
        most_elements: int,
        most_cells: int = MAX_COLUMNS,
        most_values: int = _MOST_VALUES,
        takes_nan: bool = False,
        sizes: SliceSizes = USUAL_SIZES,
    ) -> None:
        self.document: Any = None
        self._text = JsonText(body, sizes=sizes, takes_nan=takes_nan)
        self._cutter = SliceCutter(self._text, numbers=numbers, noun="Element")
        self._source = ArraySource(self._text, numbers)
        self._short = ShortValues(self._text, self._source)
        self._large = tuple(large)
        self._most_elements, self._elements = most_elements, 0
        self._most_values, self._values = most_values, 0
        self._most_cells = most_cells

    @property
    def at(self) -> int:
        """Number of bytes read so far."""
        return self._text.at

    def steps(self) -> Steps:
        """Reads the document, and yields after each step.

        Raises:
            InvalidRequest: the body is not JSON, a key stands twice in an object, a value is too long, or there are too
                many values outside the large arrays; the message has the position in bytes.
            TooLarge: the large arrays have too many elements.
        """
        yield from self._text.skip_space()
        self.document = yield from self._value(self._large, 0)
        yield from self._text.finish()

    def _value(self, paths: tuple[Path, ...], depth: int) -> Generator[None, None, Any]:
        """Reads a value.

        Args:
            paths: paths of the large arrays in the value.
            depth: number of lists and objects around the value.
        """
        text = self._text
        self._count_values(1)
        kind = text.byte()
        if kind == b"[" and () in paths:
            return (yield from self._large_array())
        if kind not in (b"[", b"{"):
            return text.read_scalar()
        if depth == _DEEPEST:
            raise text.refused(f"values are nested more than {_DEEPEST} levels deep", text.at)
        if kind == b"{":
            return (yield from self._object(paths, depth + 1))
        return (yield from self._list(below(paths, None), depth + 1))

    def _object(self, paths: tuple[Path, ...], depth: int) -> Generator[None, None, dict[str, Any]]:
        text = self._text
        found: dict[str, Any] = {}
        text.at += 1
        yield from text.skip_space()
        while found or text.byte() != b"}":
            if paths and len(found) >= _FEW and (short := self._short.read(b"{", paths, found)):
                found |= self._counted(short)
                yield
                if not (yield from self._goes_on()):
                    break
            start = text.at
            key = text.read_text("a key")
            if key in found:
                raise text.refused(f"the key {shown(key)} stands twice, again", start)
            yield from text.skip_space()
            text.expect(b":")
            yield from text.skip_space()
            found[key] = yield from self._value(below(paths, key), depth)
            if not (yield from self._goes_on()):
                break
        text.expect(b"}")
        return found

    def _list(self, paths: tuple[Path, ...], depth: int) -> Generator[None, None, list[Any]]:
        text = self._text
        found: list[Any] = []
        text.at += 1
        yield from text.skip_space()
        while found or text.byte() != b"]":
            if paths and (short := self._short.read(b"[", paths, ())):
                found += self._counted(short)
                yield
                if not (yield from self._goes_on()):
                    break
            found.append((yield from self._value(paths, depth)))
            if not (yield from self._goes_on()):
                break
        text.expect(b"]")
        return found

    def _counted(self, short: ShortContent) -> Any:
        """Returns the content of short values, after a check of the limits."""
        self._count_values(short.values)
        self._count_elements(short.elements)
        return short.content

    def _count_values(self, values: int) -> None:
        self._values += values
        if self._values > self._most_values:
            text = self._text
            raise text.refused(f"more than {self._most_values:,} values stand outside of its long lists", text.at)

    def _count_elements(self, elements: int) -> None:
        self._elements += elements
        if self._elements > self._most_elements:
            raise TooLarge(f"more than {self._most_elements:,} values in the long lists of one request.")

    def _goes_on(self) -> Generator[None, None, bool]:
        """Reads the comma behind a value of a list or an object; returns False if there is none."""
        text = self._text
        if self._values % _STEP_VALUES == 0:
            yield
        yield from text.skip_space()
        if text.byte() != b",":
            return False
        text.at += 1
        yield from text.skip_space()
        return True

    def _large_array(self) -> Generator[None, None, LargeArray]:
        text, cutter = self._text, self._cutter
        array = LargeArray(self._source, text.at)
        self._count_values(1)  # for the memory of a large array that is short
        text.at += 1
        yield from text.skip_space()
        if text.byte() == b"]":
            text.at += 1
            return array
        cutter.begin()
        while True:
            start, before = text.at, len(array)
            elements = yield from cutter.cut()
            if elements is None:
                yield from self._long_element(array)
            else:
                array.add(elements, start, text.at)
            del elements
            self._count_elements(len(array) - before)
            yield
            if not (yield from self._goes_on()):
                text.expect(b"]")
                return array

    def _long_element(self, array: LargeArray) -> Steps:
        """Reads one element that is longer than a slice, some of its cells at a time."""
        text = self._text
        opening, start = text.byte(), text.at
        spans: list[tuple[int, int]] = []
        cells = 0
        for found in self._cutter.long_element():
            if found is not None:
                at, some = found
                spans.append((at, text.at))
                cells += len(some)
                if not {list, dict}.isdisjoint(map(type, some.values() if isinstance(some, dict) else some)):
                    raise text.refused(f"a long list or object holds another one: element {len(array)}", start)
                if cells > self._most_cells:
                    raise InvalidRequest(
                        f"The body is not a prediction request: element {len(array)} of an array has more than "
                        f"{self._most_cells:,} values; the element begins at byte {start}."
                    )
            yield
        array.add_long(opening, spans)
