"""The reader of a prediction request as an Arrow stream; yields slices of rows as columns.

The columns are known by their names, in any order. Columns that the model lacks are ignored, so that a table can be
sent with its target and its identifiers; their cells are neither inflated nor read. A slice takes about a millisecond,
and numbers without gaps are taken from the body without a copy of the column.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import listed
from models.columns.column import Column
from models.columns.dictionary_cells import CellDictionary
from models.columns.encoding import MAX_FAULTS, NamedColumns, RowEncoder, Rows
from models.columns.named_columns import Cells
from models.errors import Fault, RowError
from service.answer_form import AnswerForm
from service.arrow.columns import BatchColumn, DictionaryValues, WrongCell
from service.arrow.flat_reader import Malformed
from service.arrow.inflation import Inflation
from service.arrow.messages import BATCH, DICTIONARY, SCHEMA, Batch, Message, Messages
from service.arrow.opening import BufferReader, Dictionary, open_column, open_values
from service.arrow.refusal import not_a_stream
from service.arrow.schema import StreamColumn, StreamSchema, read_schema
from service.errors import InvalidRequest

_MOST_ROWS = 8192  # rows of a slice of few columns
_SLICE_CELLS = 1 << 15  # cells of a slice of many columns
_SLICE_TEXT_BYTES = 1 << 18  # bytes of text of a column in a slice
_STEP_CELLS = 4096  # cells that are taken from the body in one step
_STEP_COLUMNS = 2048  # columns of a matrix that are filled in one step
_COLUMN_CELLS = 64  # cells that take as long to take as the first cell of a column
_MOST_KEPT_BYTES = 1 << 14  # metadata of schemas that are kept
_MOST_KEPT = 64

KeptSchemas = MutableMapping[tuple[RowEncoder, bytes], StreamSchema]


class ArrowRequest:
    """A reader of one request.

    Args:
        body: body of the request.
        model: reference of the model in the request; None for the default model.
        encoder: encoder of the model's rows.
        limit: largest number of bytes of the body's buffers after decompression.
        kept: schemas that were read before, by encoder and metadata; a client sends the same again and again.

    Attributes:
        model: reference of the model in the request; None for the default model.
        form: form of the answer.
    """

    form: AnswerForm | None = None

    def __init__(
        self, body: bytes | bytearray, model: str | None, encoder: RowEncoder, *, limit: int, kept: KeptSchemas
    ) -> None:
        self.model = model
        self._messages = Messages(body)
        self._encoder = encoder
        self._kept = kept
        self._columns: Mapping[str, Column] = {column.name: column for column in encoder.schema.columns}
        self._limit = limit
        self._inflation = Inflation(limit)
        self._dictionaries: dict[str, Dictionary] = {}
        self._parts: dict[str, list[tuple[BatchColumn, int]]] = {}
        self._row = 0  # rows read so far

    @property
    def at(self) -> int:
        """Number of bytes read so far."""
        return self._messages.at

    def slices(self) -> Iterator[Rows | None]:
        """Yields slices of rows in order, and None after a step that gave no rows.

        Raises:
            InvalidRequest: the body is not an Arrow stream, or lacks columns of the model.
            RowError: a cell cannot be read.
            TooLarge: the buffers have too many bytes after decompression.
            UnsupportedBody: the buffers are compressed in a way that this server does not read.
        """
        try:
            yield from self._slices()
        except Malformed as malformed:
            raise not_a_stream(malformed) from None
        if not self._row:
            raise InvalidRequest("The Arrow stream has no rows.")

    def _slices(self) -> Iterator[Rows | None]:
        schema: StreamSchema | None = None
        for message in self._messages:
            if schema is None:
                if message.kind != SCHEMA:
                    raise Malformed("it does not begin with a schema")
                schema = yield from self._schema(message)
            elif message.kind == DICTIONARY:
                yield from self._add_dictionary(message, schema)
            elif message.kind == BATCH:
                yield from self._batch(Batch(message.header, message.body), schema)
            else:
                raise Malformed("it has a message that is neither a batch of rows nor a dictionary")
            yield None
        if schema is None:
            raise Malformed("it is empty")

    def _schema(self, message: Message) -> Generator[None, None, StreamSchema]:
        """Returns the schema, as the generator's value."""
        key = None
        if len(message.metadata) <= _MOST_KEPT_BYTES:
            key = self._encoder, bytes(message.metadata)
            if (kept := self._kept.get(key)) is not None:
                return kept
        schema = yield from read_schema(message.header, self._encoder.find_name, message.version)
        self._check_columns(schema)
        if key is not None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = schema
        return schema

    def _check_columns(self, schema: StreamSchema) -> None:
        """Refuses a stream that lacks columns of the model, repeats one, or has one of a type that is not read."""
        seen: set[str] = set()
        for column in schema.columns:
            if column.name in seen:
                raise InvalidRequest(f"The Arrow stream has column {column.name!r} twice.")
            seen.add(column.name)
        if missing := [name for name in self._columns if name not in seen]:
            raise InvalidRequest(
                f"The Arrow stream has to have the columns of the model, and lacks {listed(missing)}; it has "
                f"{listed(schema.names)}."
            )
        faults = [
            Fault(0, column.name, f"the Arrow type {column.type_name} is not read")
            for column in schema.columns
            if column.kind is None
        ]
        if faults:
            raise RowError(faults[:MAX_FAULTS])

    def _add_dictionary(self, message: Message, schema: StreamSchema) -> Iterator[None]:
        """Takes a dictionary, or more values for one; one that no column of the model has is passed over."""
        identifier, is_more = message.header.long(0), message.header.byte(2)
        users = [column for column in schema.columns if column.dictionary == identifier]
        if not users:
            return
        batch = Batch(message.header.needed(1), message.body)
        for used in users:  # each reads the values in its own way
            reader = BufferReader(batch, 0, 0, self._inflation)
            self._check_values(reader.rows)
            assert used.kind is not None  # noqa: S101 -- `_check_columns` has refused the others
            values = yield from open_values(reader, used.kind, self._columns[used.name], batch, 0)
            parts = self._parts.get(used.name, []) if is_more else []
            parts = self._parts[used.name] = [*parts, (values, reader.rows)]
            distinct = DictionaryValues(used.name, parts)
            self._dictionaries[used.name] = distinct, CellDictionary(distinct)

    def _check_values(self, values: int) -> None:
        """Refuses a dictionary with endless values, which have no bytes if all are missing."""
        if values > self._limit:
            raise Malformed("a dictionary has more values than a body has bytes")

    def _batch(self, batch: Batch, schema: StreamSchema) -> Iterator[Rows | None]:
        """Reads a batch of rows."""
        batch.check_size(schema.nodes, schema.buffers, schema.views)
        if not batch.rows:
            return
        columns: list[tuple[StreamColumn, BatchColumn]] = []
        for at in schema.columns:
            opening = open_column(at, self._columns[at.name], batch, self._dictionaries, self._inflation)
            columns.append((at, (yield from opening)))
            if len(columns) % _COLUMN_CELLS == 0:
                yield None
        most = max(1, min(_MOST_ROWS, _SLICE_CELLS // len(columns)))
        start = 0
        while start < batch.rows:
            stop = _stop(columns, start, min(start + most, batch.rows))
            yield (yield from self._slice(columns, start, stop))
            self._row += stop - start
            start = stop

    def _slice(
        self, columns: list[tuple[StreamColumn, BatchColumn]], start: int, stop: int
    ) -> Generator[None, None, Rows]:
        """Returns the rows from `start` up to `stop` of a batch, as the generator's value."""
        taken: dict[str, Cells] = {}
        done, rows = 0, slice(start, stop)
        for at, column in columns:
            try:
                taken[at.name] = column.cells(rows)
            except WrongCell as wrong:
                fault = Fault(self._row + wrong.place, at.name, f"the cell has {wrong.reason}")
                raise RowError([fault]) from None
            done += stop - start + _COLUMN_CELLS
            if done >= _STEP_CELLS:
                done = 0
                yield
        numbers = (yield from self._matrix(taken, stop - start)) if self._encoder.takes_numbers else None
        return NamedColumns(taken, stop - start) if numbers is None else numbers

    def _matrix(self, taken: Mapping[str, Cells], rows: int) -> Generator[None, None, NDArray[Any] | None]:
        """Returns numbers as `(rows, columns)` in the order of the model, None if some cells are something else."""
        arrays = [cells for name in self._columns if isinstance(cells := taken[name], np.ndarray)]
        if len(arrays) < len(self._columns) or any(cells.dtype.kind not in "iuf" for cells in arrays):
            return None
        is_small = all(cells.dtype == np.float32 for cells in arrays)
        matrix = np.empty((rows, len(arrays)), dtype=np.float32 if is_small else np.float64)
        for place, cells in enumerate(arrays, 1):
            matrix[:, place - 1] = cells
            if place % _STEP_COLUMNS == 0:
                yield
        return matrix


def _stop(columns: list[tuple[StreamColumn, BatchColumn]], start: int, stop: int) -> int:
    """Returns the end of a slice whose columns have few bytes of text."""
    for _, column in columns:
        while stop - start > 1 and column.text_bytes(start, stop) > _SLICE_TEXT_BYTES:
            stop = start + (stop - start) // 2
    return stop
