"""Reading a large prediction request in steps. Each slice is encoded at once, so that its Python objects are freed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import MAX_FAULTS, RowEncoder, Rows
from models.columns.named_columns import Cells
from models.columns.unknown_cells import UnknownCells
from models.columns.unknown_texts import UnknownText, unknown_texts
from models.errors import Fault, RowError
from service.admission import too_many_rows
from service.batching.encoded_rows import EncodedRows

_CELLWISE_ROWS = 64  # rows that one step encodes cell by cell, if some of them are unusual
# Numbers of rows that are encoded together, column by column. With more rows, the array operations of a column cost
# less per row. But a column is one step, and unusual cells take microseconds each.
_FIRST_ROWS, _FEWEST_ROWS, _MOST_ROWS = 1024, 128, 2048
_STEP_NUMBERS = 1 << 17  # numbers of a matrix that are encoded in one step, in about a millisecond
_LONG_SECONDS = 0.003  # longest time that a step should take


class RowReader(Protocol):
    """A reader of the body of a request, slice by slice."""

    @property
    def model(self) -> str | None:
        """Reference of the model, once all rows were read; None for the default model."""

    @property
    def at(self) -> int:
        """Number of bytes read so far."""

    @property
    def form(self) -> Any:
        """Form of the answer, once all rows were read."""

    def slices(self) -> Iterator[Rows | None]:
        """Yields rows in their order, and None after a step that read none.

        Raises:
            InvalidRequest: the body is not a prediction request.
            RowError: some rows are not valid for the model.
        """


class LargeReading:
    """Reads the body of a request in steps, and encodes the rows.

    Args:
        request: reader of the body.
        encoder: encoder of the model's rows; None if the model is not known before the body was read.
        most_rows: largest number of rows of a request.
        keeps_texts: True to keep the texts of cells with unknown categories.

    Attributes:
        model: reference of the model, once all steps are done.
        rows: encoded rows; None without an encoder.
        unknown: cells with unknown categories.
        unknown_texts: texts of these cells, if they are kept.
    """

    def __init__(
        self, request: RowReader, encoder: RowEncoder | None, *, most_rows: int, keeps_texts: bool = False
    ) -> None:
        self.model: str | None = None
        self.rows = None if encoder is None else EncodedRows(encoder.compact)
        self.unknown = UnknownCells()
        self.unknown_texts: list[UnknownText] = []
        self._keeps_texts = keeps_texts
        self._encoder = encoder
        self._most_rows = most_rows
        self._rows_at_once = _FIRST_ROWS
        self._request = request

    def steps(self) -> Iterator[int | None]:
        """Reads the body, and yields after each step.

        Yields:
            None within a slice; at the end of a slice, the number of bytes of the slice.

        Raises:
            InvalidRequest: the body is not a prediction request.
            TooLarge: the body has too many rows.
            RowError: some rows are not valid for the model.
        """
        request, read, rows = self._request, 0, 0
        for some in request.slices():
            if some is not None:
                if isinstance(some, memoryview) and self._encoder is not None:
                    some = self._encoder.matrix_of(some)
                if rows + len(some) > self._most_rows:
                    raise too_many_rows(self._most_rows)
                if self._encoder is not None and self.rows is not None:
                    yield from self._encode(self._encoder, self.rows, some, rows)
                rows += len(some)
            yield request.at - read
            read = request.at
        self.model = request.model

    def _encode(self, encoder: RowEncoder, encoded: EncodedRows, rows: Rows, first: int) -> Iterator[None]:
        """Encodes the rows of a slice, the first of which is row `first` of the request."""
        if isinstance(rows, np.ndarray):
            yield from self._encode_numbers(encoder, encoded, rows, first)
            return
        if not isinstance(rows, list):
            columns = encoder.columns_of(rows)
            yield  # to find thousands of columns takes as long as a step
            yield from self._encode_columns(encoder, encoded, columns, first)
            return
        start = 0
        while start < len(rows):
            some = rows[start : start + self._rows_at_once]
            encoded.append((yield from self._encode_some(encoder, some, first + start)))
            start += len(some)
            yield

    def _encode_numbers(
        self, encoder: RowEncoder, encoded: EncodedRows, rows: NDArray[Any], first: int
    ) -> Iterator[None]:
        """Encodes rows that come as a matrix, some rows in each step."""
        block = max(1, _STEP_NUMBERS // max(1, rows.shape[1]))
        for start in range(0, len(rows), block):
            some = rows[start : start + block]
            if (data := encoder.encode_numbers(some)) is not None:
                encoded.append(data)
            else:
                yield from self._encode_columns(encoder, encoded, encoder.columns_of(some), first + start)
            yield

    def _encode_columns(
        self, encoder: RowEncoder, encoded: EncodedRows, columns: list[Cells], first: int
    ) -> Iterator[None]:
        """Encodes rows that come as columns, in the model's order."""
        rows = len(columns[0])
        for start in range(0, rows, _FIRST_ROWS):
            some = [cells[start : start + _FIRST_ROWS] for cells in columns]
            try:
                encoded.append((yield from encoder.encode_columns_in_steps(some, min(_FIRST_ROWS, rows - start))))
            except RowError as error:
                raise RowError(
                    [Fault(first + start + fault.row, fault.column, fault.message) for fault in error.faults]
                ) from None
            self._count_unknown(encoder, first + start, partial(list, some))
            yield

    def _encode_some(
        self, encoder: RowEncoder, rows: list[Any], first: int
    ) -> Generator[None, None, bytes | NDArray[np.float32]]:
        """Encodes rows column by column, or cell by cell if some are unusual."""
        is_smaller = encoder.compact.width < encoder.width  # otherwise a few rows may take many megabytes
        compact = None
        if is_smaller or len(rows) > _CELLWISE_ROWS:
            compact = yield from self._timed(encoder.encode_compact_in_steps(rows))
        if compact is None:
            return (yield from self._encode_cellwise(encoder, rows, first))
        self._count_unknown(encoder, first, partial(encoder.cells_by_column, rows))
        return compact

    def _timed(
        self, steps: Generator[None, None, NDArray[np.float32] | None]
    ) -> Generator[None, None, NDArray[np.float32] | None]:
        """Runs some steps, and then adapts the number of rows encoded together to the time of the longest step."""
        longest = 0.0
        while True:
            began = time.perf_counter()
            try:
                next(steps)
            except StopIteration as end:
                if longest > _LONG_SECONDS:
                    self._rows_at_once = max(self._rows_at_once // 2, _FEWEST_ROWS)
                elif longest < _LONG_SECONDS / 4:
                    self._rows_at_once = min(2 * self._rows_at_once, _MOST_ROWS)
                return cast(NDArray[np.float32] | None, end.value)
            longest = max(longest, time.perf_counter() - began)
            yield

    def _encode_cellwise(self, encoder: RowEncoder, rows: list[Any], first: int) -> Generator[None, None, bytes]:
        """Encodes rows cell by cell, a few rows in each step; some of the rows are unusual or wrong."""
        parts: list[bytes] = []
        faults: list[Fault] = []
        for start in range(0, len(rows), _CELLWISE_ROWS):
            try:
                some = rows[start : start + _CELLWISE_ROWS]
                parts.append(encoder.encode(some))
                self._count_unknown(encoder, first + start, partial(encoder.cells_by_column, some))
            except RowError as error:
                faults += [Fault(first + start + fault.row, fault.column, fault.message) for fault in error.faults]
                if len(faults) >= MAX_FAULTS:
                    break
            yield
        if faults:
            raise RowError(faults[:MAX_FAULTS])
        return b"".join(parts)

    def _count_unknown(self, encoder: RowEncoder, first: int, columns: Callable[[], Sequence[Cells]]) -> None:
        """Moves the counts of this step out of the encoder, before a step of another request uses the same encoder.

        Args:
            encoder: encoder of the step.
            first: position of the first row in the request.
            columns: function that returns the cells of each column of the step, in the model's order.
        """
        if not encoder.unknown.counts:
            return
        counts = encoder.unknown.take()
        for column, number in counts.items():
            self.unknown.add(column, number)
        if self._keeps_texts:
            self.unknown_texts += unknown_texts(encoder.schema, columns(), counts, first)
