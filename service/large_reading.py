"""A large prediction request read in steps: each slice is encoded at once, and its Python objects are gone."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import MAX_FAULTS, RowEncoder
from models.columns.unknown_cells import UnknownCells
from models.errors import Fault, RowError
from service.admission import Rows, too_many_rows
from service.batching.encoded_rows import EncodedRows

_CAREFUL_ROWS = 64  # that one step reads cell by cell, where something unusual is among them
# Rows that are read column by column at a time. The more of them, the less a column's array operations cost for each;
# but a column is one step, and unusual cells take microseconds each.
_FIRST_ROWS, _FEWEST_ROWS, _MOST_ROWS = 1024, 128, 2048
_LONG_SECONDS = 0.003  # of a step


class RowReader(Protocol):
    """A reader of a request's body, which gives the rows slice by slice."""

    @property
    def model(self) -> str | None:
        """Reference of the model, once all rows are read; None for the default model."""

    @property
    def at(self) -> int:
        """Number of bytes read so far."""

    def slices(self) -> Iterator[Rows | None]:
        """Yields rows in their order, and None after a step that read none.

        Raises:
            InvalidRequest: the body is no prediction request.
            RowError: rows that the model does not take.
        """


class LargeReading:
    """Reads a request in steps, and encodes its rows.

    Args:
        request: reader of the body.
        encoder: encoder of the model's rows; None if the body has to name its model first.
        most_rows: number of rows that a request may have.

    Attributes:
        model: reference of the model, once all steps are done.
        rows: encoded rows; None without an encoder.
        unknown: unknown categories among them.
    """

    def __init__(self, request: RowReader, encoder: RowEncoder | None, *, most_rows: int) -> None:
        self.model: str | None = None
        self.rows = None if encoder is None else EncodedRows(encoder.compact)
        self.unknown = UnknownCells()
        self._encoder = encoder
        self._most_rows = most_rows
        self._rows_at_once = _FIRST_ROWS
        self._request = request

    def steps(self) -> Iterator[int | None]:
        """Reads a slice in a few steps, the last of which gives the number of bytes that it was.

        Raises:
            InvalidRequest: the body is no prediction request.
            TooLarge: the body has too many rows.
            RowError: rows that the model does not take.
        """
        request, read, rows = self._request, 0, 0
        for some in request.slices():
            if some is not None:
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
            data = encoder.encode_numbers(rows)
            if data is not None:
                encoded.append(data)
                return
            rows = cast(list[Any], rows.tolist())
        start = 0
        while start < len(rows):
            some = rows[start : start + self._rows_at_once]
            encoded.append((yield from self._encode_some(encoder, some, first + start)))
            start += len(some)
            yield

    def _encode_some(
        self, encoder: RowEncoder, rows: list[Any], first: int
    ) -> Generator[None, None, bytes | NDArray[np.float32]]:
        """Encodes rows by columns, or carefully, and adapts how many the next will be."""
        is_smaller = encoder.compact.width < encoder.width  # few rows of it may be many megabytes otherwise
        compact = None
        if is_smaller or len(rows) > _CAREFUL_ROWS:
            compact = yield from self._timed(encoder.encode_compact_in_steps(rows))
        if compact is None:
            return (yield from self._encode_carefully(encoder, rows, first))
        self._take_unknown(encoder)
        return compact

    def _timed(
        self, steps: Generator[None, None, NDArray[np.float32] | None]
    ) -> Generator[None, None, NDArray[np.float32] | None]:
        """Does the steps, and takes more rows at once or fewer by how long the longest took."""
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

    def _encode_carefully(self, encoder: RowEncoder, rows: list[Any], first: int) -> Generator[None, None, bytes]:
        """Encodes rows of which some are unusual or wrong, few in a step."""
        parts: list[bytes] = []
        faults: list[Fault] = []
        for start in range(0, len(rows), _CAREFUL_ROWS):
            try:
                parts.append(encoder.encode(rows[start : start + _CAREFUL_ROWS]))
                self._take_unknown(encoder)
            except RowError as error:
                faults += [Fault(first + start + fault.row, fault.column, fault.message) for fault in error.faults]
                if len(faults) >= MAX_FAULTS:
                    break
            yield
        if faults:
            raise RowError(faults[:MAX_FAULTS])
        return b"".join(parts)

    def _take_unknown(self, encoder: RowEncoder) -> None:
        """Takes what was counted in this step, before another request's step counts with the same encoder."""
        for column, cells in encoder.unknown.take().items() if encoder.unknown.counts else ():
            self.unknown.add(column, cells)
