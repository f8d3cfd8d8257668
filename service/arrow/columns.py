"""The cells of a column in one batch: arrays where nothing is missing, else lists, for the encoder of the model.

A column reads the rows that it is asked for, by a slice or by their positions, and checks only these. So a column of
millions of rows is read in short steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, Column, NumericColumn
from models.columns.dictionary_cells import CellDictionary, DictionaryCells, ListedCells
from service.arrow.decimals import numbers_of, texts_of, whole_numbers
from service.arrow.flat_reader import Malformed
from service.arrow.refusal import not_a_stream
from service.arrow.types import ArrowType, Meaning, seconds_of
from service.errors import InvalidRequest

MAX_TEXT_BYTES = 1 << 18  # of one cell, as in JSON and CSV

Rows = slice | NDArray[np.intp]


_DAYS = np.dtype("<i4")  # the only moments of 32 bits
_INLINE_BYTES = 12  # of a text that stands in its view
_MOST_KEPT = 1 << 18  # bytes of texts that are decoded together


class WrongCell(Exception):
    """A cell that cannot be read.

    Args:
        place: position of the cell among the rows asked for.
        reason: message for the client.
    """

    def __init__(self, place: int, reason: str) -> None:
        self.place = place
        self.reason = reason
        super().__init__(reason)


class BatchColumn(Protocol):
    """A column of a batch."""

    def cells(self, rows: Rows) -> ListedCells | DictionaryCells:
        """Returns the cells of some rows.

        Raises:
            WrongCell: a cell cannot be read.
            Malformed: the buffers do not hold these rows.
        """

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns about the number of bytes of text in the rows from `start` up to `stop`."""


class Validity:
    """The marks of the cells that are there.

    Args:
        bits: bitmap, one bit for each row; None if no cell is missing.
    """

    __slots__ = ("_bits",)

    def __init__(self, bits: NDArray[np.uint8] | None) -> None:
        self._bits = bits

    def of(self, rows: Rows) -> NDArray[np.bool_] | None:
        """Returns `(rows,)` True for a cell that is there; None if all cells of these rows are there."""
        if self._bits is None:
            return None
        marks = bits_at(self._bits, rows)
        return None if marks.all() else marks


def bits_at(bits: NDArray[np.uint8], rows: Rows) -> NDArray[np.bool_]:
    """Returns the bits of some rows, `(rows,)`."""
    if isinstance(rows, slice):
        first = rows.start >> 3
        unpacked = np.unpackbits(bits[first : (rows.stop + 7) >> 3], bitorder="little")
        return unpacked[rows.start - 8 * first : rows.stop - 8 * first].view(np.bool_)
    found: NDArray[np.bool_] = ((bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1).view(np.bool_)
    return found


class PlainColumn:
    """A column of numbers, booleans, moments, durations, decimals, UUIDs, or of nothing but missing cells.

    Args:
        kind: type of the cells.
        column: column of the model.
        values: `(cells,)` values, `(cells, bytes)` bytes of decimals and UUIDs, or `(bytes,)` bits of booleans.
        validity: marks of the cells that are there.
    """

    def __init__(self, kind: ArrowType, column: Column, values: NDArray[Any], validity: Validity) -> None:
        self._kind = kind
        self._column = column
        self._values = values
        self._validity = validity

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns 0: there are no texts."""
        return 0

    def cells(self, rows: Rows) -> ListedCells:
        """Returns the cells of some rows."""
        kind, there = self._kind, self._validity.of(rows)
        match kind.meaning:
            case Meaning.NOTHING:
                return [None] * _count(rows)
            case Meaning.BOOLEAN:
                is_bit = kind.dtype is None
                truth = bits_at(self._values, rows) if is_bit else self._values[rows] != 0
                if isinstance(self._column, NumericColumn):
                    return self._numbers(truth.astype(np.int8), there)  # 1 and 0, as in training
                return _with_gaps(truth, there)
            case Meaning.MOMENT:
                moments = self._values[rows]
                return _moments(moments if kind.dtype != _DAYS else moments.astype("<i8").view("<M8[D]"), there)
            case Meaning.UUID:
                texts = [str(UUID(bytes=cell.tobytes())) for cell in self._values[rows]]
                return _with_gaps(texts, there)
            case Meaning.DECIMAL:
                return self._decimals(rows, there)
            case Meaning.SECONDS:
                return self._numbers(seconds_of(self._values[rows], kind), there)
        return self._numbers(self._values[rows], there)

    def _numbers(self, numbers: NDArray[Any], there: NDArray[np.bool_] | None) -> ListedCells:
        """Returns numbers, with NaN for a missing one in a numeric column."""
        if there is None:
            return numbers
        if isinstance(self._column, NumericColumn) or numbers.dtype.kind == "f":
            missing = numbers.dtype.type("nan") if numbers.dtype.kind == "f" else np.float64("nan")
            return np.where(there, numbers, missing)
        return _with_gaps(numbers, there)

    def _decimals(self, rows: Rows, there: NDArray[np.bool_] | None) -> ListedCells:
        whole = whole_numbers(self._values[rows])
        if isinstance(self._column, CategoricalColumn):
            return _with_gaps(texts_of(whole, self._kind.scale), there)
        return self._numbers(numbers_of(whole, self._kind.scale), there)


class TextColumn:
    """A column of texts.

    Args:
        offsets: `(cells + 1,)` place of each text in the data.
        data: all texts, in UTF-8.
        validity: marks of the cells that are there.
    """

    def __init__(self, offsets: NDArray[Any], data: memoryview, validity: Validity) -> None:
        self._offsets = offsets
        self._data = data
        self._validity = validity

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns the number of bytes of text in some rows."""
        return int(self._offsets[stop]) - int(self._offsets[start])

    def cells(self, rows: Rows) -> ListedCells:
        """Returns the cells of some rows."""
        if isinstance(rows, slice):
            begins, ends = self._offsets[rows], self._offsets[rows.start + 1 : rows.stop + 1]
        else:
            begins, ends = self._offsets[rows], self._offsets[rows + 1]
        if not len(begins):
            return []
        if not (begins.min() >= 0 and (ends >= begins).all() and ends.max() <= len(self._data)):
            raise Malformed("a text is not within its buffer")
        there = self._validity.of(rows)
        if there is not None:
            ends = np.where(there, ends, begins)
        _check_lengths(ends - begins)
        return _with_gaps(_decoded(self._data, begins, ends), there)


class ViewColumn:
    """A column of texts by views: a short text stands in its view, a longer one in one of several buffers.

    Args:
        views: `(cells, 4)` length, and place of each text: beginning, buffer and offset.
        buffers: buffers of the longer texts.
        validity: marks of the cells that are there.
    """

    def __init__(self, views: NDArray[np.int32], buffers: Sequence[memoryview], validity: Validity) -> None:
        self._views = views
        self._buffers = buffers
        self._validity = validity

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns the number of bytes of text in some rows."""
        return int(self._views[start:stop, 0].sum(dtype=np.int64))

    def cells(self, rows: Rows) -> ListedCells:
        """Returns the cells of some rows."""
        views, there = self._views[rows], self._validity.of(rows)
        if there is not None:
            views = np.where(there[:, np.newaxis], views, 0)
        _check_lengths(views[:, 0])
        raw = np.ascontiguousarray(views).tobytes()
        texts: list[str] = []
        for place, (size, _, buffer, offset) in enumerate(views.tolist()):
            if size < 0:
                raise Malformed("a text has a negative length")
            if size <= _INLINE_BYTES:
                data = raw[16 * place + 4 : 16 * place + 4 + size]
            else:
                if not (0 <= buffer < len(self._buffers) and 0 <= offset <= len(self._buffers[buffer]) - size):
                    raise Malformed("a text is not within its buffer")
                data = bytes(self._buffers[buffer][offset : offset + size])
            texts.append(_decoded_text(data, place))
        return _with_gaps(texts, there)


class DictionaryValues:
    """The values of a dictionary, in one or more parts.

    Args:
        name: name of a column that has the dictionary, for messages.
        parts: columns of the parts with their numbers of cells.
    """

    def __init__(self, name: str, parts: Sequence[tuple[BatchColumn, int]]) -> None:
        self._name = name
        self._parts = parts
        self._starts = np.cumsum([0, *(cells for _, cells in parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, places: NDArray[np.intp]) -> ListedCells:
        """Returns some of the values.

        Raises:
            InvalidRequest: one of these values cannot be read.
        """
        if len(self._parts) == 1:
            return self._cells(self._parts[0][0], places)
        cells: list[Any] = [None] * len(places)
        for (part, _), start, stop in zip(self._parts, self._starts, self._starts[1:], strict=False):
            there = np.flatnonzero((places >= start) & (places < stop))
            found = self._cells(part, places[there] - start)
            for place, cell in zip(there.tolist(), found, strict=True):
                cells[place] = cell
        return cells

    def text_bytes(self) -> int:
        """Returns about the number of bytes of text in all values."""
        return sum(part.text_bytes(0, cells) for part, cells in self._parts)

    def _cells(self, part: BatchColumn, places: NDArray[np.intp]) -> ListedCells:
        try:
            cells = part.cells(places)
        except WrongCell as wrong:
            raise InvalidRequest(f"Column {self._name!r}: its dictionary has {wrong.reason}.") from None
        except Malformed as malformed:
            raise not_a_stream(malformed) from None
        assert not isinstance(cells, DictionaryCells)  # noqa: S101 -- a dictionary of dictionaries is not read
        return cells


class CodedColumn:
    """A column with a dictionary.

    Args:
        codes: `(cells,)` place of each cell in the dictionary.
        values: values of the dictionary.
        dictionary: dictionary with the encoded form of the values.
        validity: marks of the cells that are there.
    """

    def __init__(
        self, codes: NDArray[Any], values: DictionaryValues, dictionary: CellDictionary, validity: Validity
    ) -> None:
        self._codes = codes
        self._values = values
        self._dictionary = dictionary
        self._validity = validity
        self._bytes = values.text_bytes()

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns an upper limit of the number of bytes of text that have to be read for some rows."""
        return min(self._bytes, (stop - start) * (self._bytes // max(len(self._values), 1) + 1))

    def cells(self, rows: Rows) -> DictionaryCells:
        """Returns the cells of some rows."""
        codes = self._codes[rows]
        there = self._validity.of(rows)
        is_known = (codes >= 0) & (codes < len(self._values))
        if there is not None:
            is_known |= ~there
        if not is_known.all():
            raise WrongCell(int(is_known.argmin()), f"a code that its dictionary of {len(self._values):,} lacks")
        places = codes.astype(np.intp)
        if there is not None:
            places[~there] = -1
        return DictionaryCells(places, self._dictionary)


class RunsColumn:
    """A column of runs of equal cells.

    Args:
        ends: `(runs,)` row behind each run.
        dictionary: dictionary of the values of the runs.
    """

    def __init__(self, ends: NDArray[Any], dictionary: CellDictionary) -> None:
        self._ends = ends
        self._dictionary = dictionary

    def text_bytes(self, start: int, stop: int) -> int:
        """Returns 0: few runs have texts."""
        return 0

    def cells(self, rows: Rows) -> DictionaryCells:
        """Returns the cells of some rows."""
        wanted = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        codes = np.searchsorted(self._ends, wanted, side="right")
        if not (codes < min(len(self._ends), len(self._dictionary.distinct))).all():
            raise Malformed("the runs of a column end before its rows do")
        begins = np.where(codes > 0, self._ends[codes - 1], 0)
        if not ((begins <= wanted) & (wanted < self._ends[codes])).all():
            raise Malformed("the runs of a column are not in order")
        return DictionaryCells(codes, self._dictionary)


def _count(rows: Rows) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def _with_gaps(cells: NDArray[Any] | list[Any], there: NDArray[np.bool_] | None) -> ListedCells:
    """Returns cells with None in place of those that are missing."""
    if there is None:
        return cells
    listed: list[Any] = cells.tolist() if isinstance(cells, np.ndarray) else cells
    for place in np.flatnonzero(~there).tolist():
        listed[place] = None
    return listed


def _moments(moments: NDArray[Any], there: NDArray[np.bool_] | None) -> NDArray[np.datetime64]:
    """Returns moments, NaT for a missing one."""
    is_beyond = np.isnat(moments) if there is None else np.isnat(moments) & there
    if is_beyond.any():  # a moment that NumPy cannot tell from a missing one
        raise WrongCell(int(is_beyond.argmax()), "a date outside the years 1 to 9999")
    return moments if there is None else np.where(there, moments, np.array("NaT", moments.dtype))


def _check_lengths(lengths: NDArray[Any]) -> None:
    if len(lengths) and lengths.max() > MAX_TEXT_BYTES:
        raise WrongCell(int(lengths.argmax()), f"a text of more than {MAX_TEXT_BYTES:,} bytes")


def _decoded(data: memoryview, begins: NDArray[Any], ends: NDArray[Any]) -> list[str]:
    """Returns texts; those of neighbouring rows in ASCII are decoded together."""
    low, high = int(begins.min()), int(ends.max())
    if high - low <= _MOST_KEPT and (block := bytes(data[low:high])).isascii():
        text = block.decode("ascii")
        return [text[a:b] for a, b in zip((begins - low).tolist(), (ends - low).tolist(), strict=True)]
    places = zip(begins.tolist(), ends.tolist(), strict=True)
    return [_decoded_text(bytes(data[a:b]), place) for place, (a, b) in enumerate(places)]


def _decoded_text(data: bytes, place: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WrongCell(place, "a text that is not UTF-8") from None
