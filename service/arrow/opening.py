"""Opening the columns of a batch: the buffers of each column are found, inflated and checked for their sizes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.column import Column
from models.columns.dictionary_cells import CellDictionary
from service.arrow.columns import (
    BatchColumn,
    CodedColumn,
    DictionaryValues,
    PlainColumn,
    RunsColumn,
    TextColumn,
    Validity,
    ViewColumn,
)
from service.arrow.flat_reader import Malformed
from service.arrow.inflation import Inflation
from service.arrow.messages import Batch
from service.arrow.schema import StreamColumn
from service.arrow.types import ArrowType, Meaning

Opening = Generator[None, None, BatchColumn]
Dictionary = tuple[DictionaryValues, CellDictionary]

_VIEW_BYTES = 16


class BufferReader:
    """A reader of one column's buffers.

    Args:
        batch: batch of the column.
        node: position of the column's node.
        buffer: position of the column's first buffer.
        inflation: inflation of the request.
    """

    __slots__ = ("_batch", "_inflation", "_next", "_node", "missing", "rows")

    def __init__(self, batch: Batch, node: int, buffer: int, inflation: Inflation) -> None:
        self._batch = batch
        self._node = node
        self._next = buffer
        self._inflation = inflation
        self.rows, self.missing = batch.node(node)
        if self.rows < 0:
            raise Malformed("a column has a negative number of rows")

    def bytes(self, least: int = 0) -> Generator[None, None, memoryview]:
        """Returns the next buffer, as the generator's value.

        Args:
            least: number of bytes that the buffer needs.

        Raises:
            Malformed: the buffer is not valid, or too short.
        """
        data = yield from self._inflation.inflated(self._batch.buffer(self._next), self._batch.compression)
        self._next += 1
        if len(data) < least:
            raise Malformed("a buffer is shorter than its column")
        return data

    def values(self, dtype: np.dtype[Any], count: int) -> Generator[None, None, NDArray[Any]]:
        """Returns the next buffer as values, as the generator's value."""
        data = yield from self.bytes(count * dtype.itemsize)
        return np.frombuffer(data, dtype, count) if count else np.empty(0, dtype)

    def validity(self) -> Generator[None, None, Validity]:
        """Returns the next buffer as marks of the cells that are there, as the generator's value."""
        if not self.missing:
            self._next += 1
            return Validity(None)
        return Validity((yield from self.values(np.dtype(np.uint8), (self.rows + 7) // 8)))


def open_column(
    at: StreamColumn, column: Column, batch: Batch, dictionaries: dict[str, Dictionary], inflation: Inflation
) -> Opening:
    """Opens a column of a batch in steps.

    Args:
        at: place and type of the column in the stream.
        column: column of the model.
        batch: batch of the column.
        dictionaries: dictionaries by column.
        inflation: inflation of the request.

    Returns:
        The column, as the generator's value.

    Raises:
        Malformed: the buffers are not valid.
    """
    assert at.kind is not None  # noqa: S101 -- the reader has refused the others
    reader = BufferReader(batch, at.node, batch.place(at.buffer, at.views), inflation)
    if reader.rows != batch.rows:
        raise Malformed("a column has another number of rows than its batch")
    if at.dictionary is not None and at.codes is not None:
        validity = yield from reader.validity()
        codes = yield from reader.values(at.codes, batch.rows)
        if at.name not in dictionaries:
            raise Malformed(f"the dictionary of column {at.name!r} is missing")
        return CodedColumn(codes, *dictionaries[at.name], validity)
    if at.values is not None and at.codes is not None:  # runs: one node and buffer set for the ends, one for the values
        ends = BufferReader(batch, at.node + 1, batch.place(at.buffer, at.views), inflation)
        yield from ends.validity()
        rows = yield from ends.values(at.codes, ends.rows)
        place = batch.place(at.buffer + 2, at.views)
        reader = BufferReader(batch, at.node + 2, place, inflation)
        values = yield from open_values(reader, at.values, column, batch, at.views)
        if reader.rows != ends.rows:
            raise Malformed("a column has another number of runs than of their values")
        return RunsColumn(rows, CellDictionary(DictionaryValues(at.name, [(values, reader.rows)])))
    return (yield from open_values(reader, at.kind, column, batch, at.views))


def open_values(reader: BufferReader, kind: ArrowType, column: Column, batch: Batch, views: int) -> Opening:
    """Opens a column without a dictionary and without runs, in steps.

    Args:
        reader: reader of the column's buffers.
        kind: type of the cells.
        column: column of the model.
        batch: batch of the column.
        views: number of columns of views before.

    Returns:
        The column, as the generator's value.
    """
    rows = reader.rows
    if kind.meaning is Meaning.NOTHING:
        return PlainColumn(kind, column, np.empty(0), Validity(None))
    validity = yield from reader.validity()
    if kind.meaning is Meaning.TEXT and kind.dtype is not None:
        offsets = yield from reader.values(kind.dtype, rows + 1 if rows else 0)
        data = yield from reader.bytes()
        return TextColumn(offsets if rows else np.zeros(1, kind.dtype), data, validity)
    if kind.meaning is Meaning.VIEW:
        flat = yield from reader.values(np.dtype("<i4"), rows * _VIEW_BYTES // 4)
        buffers: list[memoryview] = []
        while len(buffers) < batch.view_buffers(views):
            buffers.append((yield from reader.bytes()))
        return ViewColumn(flat.reshape(rows, 4), buffers, validity)
    if kind.dtype is not None:
        return PlainColumn(kind, column, (yield from reader.values(kind.dtype, rows)), validity)
    byte = np.dtype(np.uint8)
    if kind.meaning is Meaning.BOOLEAN:
        return PlainColumn(kind, column, (yield from reader.values(byte, (rows + 7) // 8)), validity)
    raw = yield from reader.values(byte, rows * kind.width)
    return PlainColumn(kind, column, raw.reshape(rows, kind.width), validity)
