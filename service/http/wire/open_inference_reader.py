"""The reader of a large inference request, in steps; no step blocks the event loop."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.cells import shown
from models.columns.encoding import Rows
from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_document import SlicedDocument
from service.http.wire.json_text import USUAL_SIZES, SliceSizes
from service.http.wire.large_array import LargeArray
from service.http.wire.wire_format import Body
from service.open_inference.form import InferForm
from service.open_inference.request import checked_request, declared_input, form_of, left_over
from service.open_inference.tensors import (
    BYTES,
    Tensor,
    TextElements,
    booleans_of,
    checked_dtype,
    is_matrix,
    rows_of,
    tensor_of_bytes,
    tensor_of_list,
    wrong_size,
)

_DATA = ("inputs", "*", "data")
_BLOCK_ROWS = 1024  # rows of named columns that are handed on together
_MOST_ELEMENTS = 1 << 31
_MANY_INPUTS = 1000

Cells = NDArray[Any] | list[Any]


class InferReader:
    """A reader of a large body.

    Args:
        body: body of the request.
        model: reference of the model.
        json_length: number of bytes of the JSON part; 0 for a raw tensor.
        numbers: fast reader of plain numbers.
        sizes: numbers of bytes of the JSON part read at a time.

    Attributes:
        model: reference of the model.
        form: form of the answer, once all rows were read.
    """

    def __init__(
        self,
        body: Body,
        model: str | None,
        json_length: int,
        numbers: NumberReader,
        sizes: SliceSizes = USUAL_SIZES,
    ) -> None:
        self.model = model
        self.form = InferForm()
        self._body = body
        self._json_length = json_length
        self._document: SlicedDocument | None = None
        self._numbers = numbers
        self._sizes = sizes

    @property
    def at(self) -> int:
        """Number of bytes read so far."""
        return len(self._body) if self._document is None else self._document.at

    def slices(self) -> Iterator[Rows | None]:
        """Yields rows in their order, and None after a step that read none.

        Raises:
            InvalidRequest: the body is not an inference request.
        """
        body, length = self._body, self._json_length
        if length == 0:
            yield memoryview(body)
            return
        text = body if length == len(body) else body[:length]
        if length <= self._sizes.first:  # takes a tenth of a millisecond at most
            request = checked_request(parsed(text))
        else:
            self._document = document = SlicedDocument(
                text, [_DATA], numbers=self._numbers, most_elements=_MOST_ELEMENTS, sizes=self._sizes
            )
            yield from document.steps()
            request = checked_request(document.document)
        self.form = form_of(request)
        feeds = yield from self._feeds(request["inputs"], memoryview(body)[length:])
        self._document = None  # all of the body was read
        yield from _rows(feeds)

    def _feeds(self, inputs: list[Any], binary: memoryview) -> Generator[None, None, list[_Feed]]:
        """Returns the feeds of all inputs, as the generator's value."""
        feeds: list[_Feed] = []
        at = 0
        for position, given in enumerate(inputs):
            name, datatype, shape, size = declared_input(position, given, len(binary) - at)
            if size is None:
                feeds.append(_json_feed(name, datatype, shape, given["data"]))
            else:
                feeds.append(_binary_feed(name, datatype, shape, binary[at : at + size]))
                at += size
            yield
        left_over(len(binary) - at)
        return feeds


class _Feed(Protocol):
    """The source of an input's elements.

    Attributes:
        name: name of the input.
        shape: shape of the input.
    """

    name: str
    shape: tuple[int, ...]

    def take(self, rows: int) -> Generator[None, None, Tensor]:
        """Returns the next rows, as the generator's value."""

    def finish(self) -> Iterator[None]:
        """Raises `InvalidRequest` if the input has more elements than its shape."""


def _json_feed(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> _Feed:
    """Returns the feed of an input in JSON."""
    if isinstance(data, LargeArray):
        return _ArrayFeed(name, datatype, shape, data)
    return _WholeFeed(tensor_of_list(name, datatype, shape, data))


def _binary_feed(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> _Feed:
    """Returns the feed of an input in binary form."""
    if datatype == BYTES:
        return _TextFeed(name, shape, data)
    if checked_dtype(name, datatype, shape, len(data)) == np.bool_:
        return _BooleanFeed(name, shape, data)
    return _WholeFeed(tensor_of_bytes(name, datatype, shape, data))


class _WholeFeed:
    """An input that is there as a whole: numbers in binary form, which are not copied, or a small list."""

    def __init__(self, tensor: Tensor) -> None:
        self.name = tensor.name
        self.shape = tensor.shape
        self._tensor = tensor
        self._row = 0

    def take(self, rows: int) -> Generator[None, None, Tensor]:
        """Returns the next rows."""
        yield
        tensor, width = self._tensor, math.prod(self.shape[1:])
        first, self._row = self._row, self._row + rows
        cells = tensor.cells
        some = cells[first : self._row] if isinstance(cells, np.ndarray) else cells[first * width : self._row * width]
        return Tensor(self.name, (rows, *self.shape[1:]), some, may_hold_booleans=tensor.may_hold_booleans)

    def finish(self) -> Iterator[None]:
        """Yields nothing: the size was checked when the tensor was made."""
        return iter(())


class _TextFeed:
    """An input of BYTES in binary form. Texts take several times the memory of their bytes, so few are read ahead."""

    def __init__(self, name: str, shape: tuple[int, ...], data: memoryview) -> None:
        self.name = name
        self.shape = shape
        self._elements = TextElements(name, data, math.prod(shape))

    def take(self, rows: int) -> Generator[None, None, Tensor]:
        """Returns the next rows."""
        shape = rows, *self.shape[1:]
        texts = yield from self._elements.take(math.prod(shape))
        return Tensor(self.name, shape, texts)

    def finish(self) -> Iterator[None]:
        """Yields nothing."""
        self._elements.finish()
        return iter(())


class _BooleanFeed:
    """An input of BOOL in binary form."""

    def __init__(self, name: str, shape: tuple[int, ...], data: memoryview) -> None:
        self.name = name
        self.shape = shape
        self._data = data
        self._at = 0

    def take(self, rows: int) -> Generator[None, None, Tensor]:
        """Returns the next rows."""
        yield
        shape = rows, *self.shape[1:]
        first, self._at = self._at, self._at + math.prod(shape)
        return Tensor(self.name, shape, booleans_of(self.name, self._data[first : self._at]), may_hold_booleans=True)

    def finish(self) -> Iterator[None]:
        """Yields nothing: the size was checked before the first element was read."""
        return iter(())


class _ArrayFeed:
    """An input whose elements are in a large JSON array."""

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...], data: LargeArray) -> None:
        self.name = name
        self.shape = shape
        self._datatype = datatype
        if len(data) not in (math.prod(shape), shape[0]):
            raise wrong_size(name, shape, len(data))
        self._width = math.prod(shape[1:])
        self._is_nested: bool | None = None  # known from the first element on
        self._chunks = self._flat_chunks(data)
        self._pieces: list[Cells] = []
        self._there = 0
        self._given = 0  # elements handed on

    def _flat_chunks(self, data: LargeArray) -> Iterator[Cells | None]:
        """Yields the elements in flat chunks, whether the array is flat or has a list for each row."""
        for chunk in data.chunks():
            if chunk is None:
                yield None
                continue
            if isinstance(chunk, np.ndarray):
                kinds: set[type] = {list if chunk.ndim == 2 else float}
                widths = set(chunk.shape[1:])
            else:
                kinds = set(map(type, chunk))
                widths = set(map(len, chunk)) if kinds == {list} else set()
            if self._is_nested is None:
                self._is_nested = list in kinds
            if self._is_nested != (list in kinds) or (self._is_nested and len(kinds) > 1):
                raise InvalidRequest(f"Input {shown(self.name)}: data has lists of elements beside single elements.")
            if self._is_nested and widths != {self._width}:
                raise InvalidRequest(
                    f"Input {shown(self.name)}: not all rows of data have {self._width} elements, as shape "
                    f"{list(self.shape)} has."
                )
            if isinstance(chunk, np.ndarray):
                yield chunk.reshape(-1)
            else:
                yield list(chain.from_iterable(chunk)) if self._is_nested else chunk

    def take(self, rows: int) -> Generator[None, None, Tensor]:
        """Returns the next rows."""
        wanted = rows * self._width
        while self._there < wanted:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                raise wrong_size(self.name, self.shape, self._given + self._there) from None
            if chunk is not None:
                self._pieces.append(chunk)
                self._there += len(chunk)
            yield
        cells = _joined(self._pieces)
        self._pieces = [cells[wanted:]] if len(cells) > wanted else []
        self._there = len(cells) - wanted
        first, self._given = self._given, self._given + wanted
        return tensor_of_list(self.name, self._datatype, (rows, *self.shape[1:]), cells[:wanted], first)

    def finish(self) -> Iterator[None]:
        """Reads the rest of the array, which has to be empty."""
        for chunk in self._chunks:
            self._there += 0 if chunk is None else len(chunk)
            yield
        if self._there:
            raise wrong_size(self.name, self.shape, self._given + self._there)


def _rows(feeds: list[_Feed]) -> Iterator[Rows | None]:
    """Yields the rows of all inputs, block by block."""
    shapes = {feed.shape[0] for feed in feeds}
    if not feeds or len(shapes) > 1:
        rows_of([Tensor(feed.name, feed.shape, []) for feed in feeds])  # which says what is wrong
    [rows] = shapes
    if len(feeds) == 1 and isinstance(feeds[0], _WholeFeed) and is_matrix(feeds[0].shape):
        yield rows_of([(yield from feeds[0].take(rows))])[0]
        return
    width = sum(math.prod(feed.shape[1:]) for feed in feeds)
    block = max(1, min(_BLOCK_ROWS, _BLOCK_ROWS * 64 // width))
    for start in range(0, rows, block):
        tensors: list[Tensor] = []
        for feed in feeds:
            tensors += [(yield from feed.take(min(block, rows - start)))]
        some = rows_of(tensors)[0]
        if len(feeds) > _MANY_INPUTS:
            yield None  # the columns of thousands of inputs take as long to look up as to join
        yield some
    for feed in feeds:
        yield from feed.finish()


def _joined(pieces: list[Cells]) -> Cells:
    """Returns some flat chunks as one chunk."""
    if len(pieces) == 1:
        return pieces[0]
    arrays = [piece for piece in pieces if isinstance(piece, np.ndarray)]
    if len(arrays) == len(pieces):
        return np.concatenate(arrays)
    return list(chain.from_iterable(piece.tolist() if isinstance(piece, np.ndarray) else piece for piece in pieces))


def parsed(text: Body) -> Any:
    """Returns parsed JSON.

    Raises:
        InvalidRequest: the text is not JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
