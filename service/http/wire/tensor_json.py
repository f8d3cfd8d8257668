"""Tensors as nested JSON lists, in the forms of TensorFlow Serving: rows, a matrix, or columns by name.

An array is a Python list from a small body, or a `LargeArray` from a large one, so that both have one reading. A list
of one value stands for the value, since a tensor `[rows, 1]` holds one value a row. `{"b64": "…"}` stands for a text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import MAX_ECHO, listed, sendable, shown
from models.columns.encoding import NamedColumns, Rows
from models.errors import Fault, RowError
from service.errors import InvalidRequest
from service.http.wire.large_array import LargeArray
from service.http.wire.wire_format import Body

Array = list[Any] | LargeArray
Cells = Sequence[Any] | NDArray[Any]
RowSteps = Iterator[Rows | None]  # yields rows in their order, and None after a step that gave none
ListSteps = Iterator[list[Any] | NDArray[Any] | None]  # the same for rows that are no columns

_B64 = "b64"
_QUOTED_B64 = b'"b64"'
_SEARCHED_BYTES = 1 << 20  # searched in one step, in a fraction of a millisecond
_BLOCK_ROWS, _BLOCK_CELLS = 1024, 1 << 18  # most rows and cells of named columns that are handed on together
_STEP_COLUMNS = 512  # columns whose cells are at hand already that one step takes
_NESTED = frozenset((list, dict))

Chunks = Iterator[Cells | None]  # yields chunks of an array in order, and None after a step that gave none


def has_b64(body: Body) -> bool:
    """Returns True if a small body may have a text in base64."""
    return _QUOTED_B64 in body


def has_b64_in_steps(body: Body) -> Generator[None, None, bool]:
    """Returns True if a large body may have a text in base64, as the generator's value."""
    for at in range(0, len(body), _SEARCHED_BYTES):
        if body.find(_QUOTED_B64, at, at + _SEARCHED_BYTES + len(_QUOTED_B64)) >= 0:
            return True
        yield
    return False


def rows_at_once(steps: RowSteps) -> Rows:
    """Returns the rows of a small body, which come in one piece."""
    [rows] = [some for some in steps if some is not None]
    return rows


def checked_keys(document: Any, known: Sequence[str]) -> None:
    """Refuses a document that is not an object, or has other keys.

    Raises:
        InvalidRequest: the document is anything else.
    """
    if type(document) is not dict:
        raise InvalidRequest(f"The body has to be a JSON object, not {shown(document)}.")
    for key in document:
        if key not in known:
            raise InvalidRequest(f"The body has the key {shown(key)}; its keys may be {listed(known)}.")


def only_key(document: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the only one of some keys that a document has.

    Raises:
        InvalidRequest: the document has none of them, or several.
    """
    found = [name for name in names if name in document]
    if len(found) != 1:
        raise InvalidRequest(f"The body has to have exactly one of {listed(names)}, and has {listed(found) or 'none'}.")
    return found[0]


def read_tensor(what: str, value: Any, *, decodes: bool) -> RowSteps:
    """Reads a list of rows, or an object of columns.

    Args:
        what: name of the field in messages.
        value: list of rows, or columns by name.
        decodes: True if a cell may be a text in base64.

    Raises:
        InvalidRequest: the value is neither, or has no rows.
        RowError: a text in base64 is not valid.
    """
    return (
        read_columns(what, value, decodes=decodes) if type(value) is dict else read_array(what, value, decodes=decodes)
    )


def read_array(what: str, value: Any, *, decodes: bool) -> ListSteps:
    """Reads a list of rows: lists of cells, objects by column name, or single values.

    Args:
        what: name of the field in messages.
        value: list of rows.
        decodes: True if a cell may be a text in base64.

    Raises:
        InvalidRequest: the value is no list, or has no rows.
        RowError: a text in base64 is not valid.
    """
    if not isinstance(value, list | LargeArray):
        raise InvalidRequest(f"{what} has to be a list of rows, not {shown(value)}.")
    if not len(value):
        raise InvalidRequest(f"{what} has no rows.")
    return _rows(chunks_of(value), decodes=decodes)


def read_columns(what: str, columns: Mapping[str, Any], *, decodes: bool) -> RowSteps:
    """Reads an object of columns, or of one matrix of any name whose columns are in the model's order.

    Args:
        what: name of the field in messages.
        columns: lists of cells by name, `(rows,)` or `(rows, 1)` each; or one list of rows.
        decodes: True if a cell may be a text in base64.

    Raises:
        InvalidRequest: there are no columns or rows, a column is no list, or lengths differ.
        RowError: a text in base64 is not valid.
    """
    rows = _length(what, columns)
    if all(isinstance(array, list) for array in columns.values()):
        yield _small_columns(columns, rows, decodes=decodes)
        return
    named = {name: chunks_of(array) for name, array in columns.items()}
    if len(named) == 1:
        [(name, chunks)] = named.items()
        first = yield from _next(chunks)
        named[name] = chunks = chain((first,), chunks)
        if _holds_rows(first):
            yield from _rows(chunks, decodes=decodes)
            return
    readers = [_Column(name, chunks, decodes=decodes) for name, chunks in named.items()]
    block = max(1, min(_BLOCK_ROWS, _BLOCK_CELLS // len(readers)))
    for start in range(0, rows, block):
        count = min(block, rows - start)
        by_name: dict[str, Cells] = {}
        for at, reader in enumerate(readers, 1):
            by_name[reader.name] = yield from reader.take(count)
            if at % _STEP_COLUMNS == 0:
                yield None
        yield None
        yield NamedColumns(by_name, count)


def _small_columns(columns: Mapping[str, list[Any]], rows: int, *, decodes: bool) -> Rows:
    """Returns the rows of columns from a small body."""
    if len(columns) == 1:
        [array] = columns.values()
        if _holds_rows(array):
            return rows_of(array, first=0, decodes=decodes)
    return NamedColumns({name: _plain_cells(cells, 0, name, decodes) for name, cells in columns.items()}, rows)


def _length(what: str, columns: Mapping[str, Any]) -> int:
    """Returns the number of rows that all columns have."""
    rows, first = None, ""
    for name, array in columns.items():
        if not isinstance(array, list | LargeArray):
            raise InvalidRequest(f"{what}: column {_named(name)} has to be a list with a value for each row.")
        if rows is None:
            rows, first = len(array), name
        elif len(array) != rows:
            raise InvalidRequest(
                f"{what}: column {_named(first)} has {rows:,} values, and column {_named(name)} has {len(array):,}."
            )
    if rows is None:
        raise InvalidRequest(f"{what} has no columns.")
    if not rows:
        raise InvalidRequest(f"{what} has no rows.")
    return rows


class _Column:
    """A reader of one column.

    Args:
        name: name of the column.
        chunks: cells of the column, in chunks.
        decodes: True if a cell may be a text in base64.

    Attributes:
        name: name of the column.
    """

    def __init__(self, name: str, chunks: Chunks, *, decodes: bool) -> None:
        self.name = name
        self._chunks = chunks
        self._decodes = decodes
        self._chunk: Cells = ()
        self._taken = 0  # cells of the chunk that were taken
        self._row = 0  # number of the first row of the chunk

    def take(self, count: int) -> Generator[None, None, Cells]:
        """Returns the next cells of the column, as the generator's value.

        Args:
            count: number of cells, of which the column has enough.
        """
        pieces: list[Cells] = []
        while count:
            if not len(self._chunk):
                chunk = yield from _next(self._chunks)
                self._chunk, self._taken = _plain_cells(chunk, self._row, self.name, self._decodes), 0
                yield  # parsing the chunk was a step
            some = self._chunk[self._taken : self._taken + count]
            self._taken += len(some)
            count -= len(some)
            pieces.append(some)
            if self._taken == len(self._chunk):  # dropped here, because to drop those of all columns at once takes long
                self._row += len(self._chunk)
                self._chunk = ()
        return pieces[0] if len(pieces) == 1 else _joined(pieces)


def _plain_cells(chunk: Cells, first: int, column: str, decodes: bool) -> Cells:
    """Returns cells of a column without lists of one value, and with texts in base64 decoded.

    Args:
        chunk: some cells.
        first: number of the first row.
        column: name of the column.
        decodes: True if a cell may be a text in base64.
    """
    if isinstance(chunk, np.ndarray):
        if chunk.ndim == 1 or chunk.shape[1] == 1:
            return chunk.reshape(-1)
        chunk = chunk.tolist()  # lists of several values, which the encoder refuses
    if _NESTED.isdisjoint(map(type, chunk)):
        return chunk
    return [_plain_cell(cell, row, column, decodes=decodes) for row, cell in enumerate(chunk, first)]


def _rows(chunks: Chunks, *, decodes: bool) -> ListSteps:
    """Yields the chunks of a list of rows as rows."""
    first = 0
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        if isinstance(chunk, np.ndarray):
            yield chunk.reshape(len(chunk), -1)
        else:
            yield None  # parsing the chunk was a step
            yield rows_of(chunk, first=first, decodes=decodes)
        first += len(chunk)


def rows_of(chunk: Sequence[Any], *, first: int, decodes: bool) -> list[Any]:
    """Returns some rows as lists and objects of cells.

    Args:
        chunk: some rows of a tensor.
        first: number of the first row.
        decodes: True if a cell may be a text in base64.

    Raises:
        RowError: a text in base64 is not valid.
    """
    kinds = set(map(type, chunk))
    is_plain = not decodes and kinds == {list}
    if kinds == {dict}:
        is_plain = _NESTED.isdisjoint(map(type, chain.from_iterable([row.values() for row in chunk]))) and not decodes
    if is_plain:
        return chunk if isinstance(chunk, list) else list(chunk)
    return [_plain_row(row, number, decodes=decodes) for number, row in enumerate(chunk, first)]


def object_of_cells(row: Mapping[str, Any], number: int, *, decodes: bool) -> dict[str, Any]:
    """Returns an object of cells, as for an encoder, of row `number`.

    Raises:
        RowError: a text in base64 is not valid.
    """
    return {name: _plain_cell(cell, number, name, decodes=decodes) for name, cell in row.items()}


def _plain_row(row: Any, number: int, *, decodes: bool) -> Any:
    """Returns a row as a list or an object of cells."""
    if type(row) is list:
        return [_text(cell, number, None) for cell in row] if decodes else row
    if type(row) is dict and not (decodes and _is_b64(row)):
        return object_of_cells(row, number, decodes=decodes)
    return [_text(row, number, None) if decodes else row]


def _plain_cell(cell: Any, row: int, column: str, *, decodes: bool) -> Any:
    """Returns a cell that may be in a list of one value, or a text in base64."""
    if type(cell) is list and len(cell) == 1:
        [cell] = cell
    return _text(cell, row, column) if decodes else cell


def _text(cell: Any, row: int, column: str | None) -> Any:
    """Returns the text of a cell in base64, and any other cell unchanged."""
    if not _is_b64(cell):
        return cell
    try:
        return base64.b64decode(cell[_B64], validate=True).decode()
    except (binascii.Error, ValueError):
        name = None if column is None else sendable(column[:MAX_ECHO])
        raise RowError([Fault(row, name, f"{shown(cell[_B64])} is not a UTF-8 text in base64")]) from None


def _is_b64(cell: Any) -> bool:
    """Returns True for an object that stands for a text."""
    return type(cell) is dict and len(cell) == 1 and type(cell.get(_B64)) is str


def _holds_rows(chunk: Cells) -> bool:
    """Returns True if the first element is a list of several values, so that an array is a matrix and no column."""
    if isinstance(chunk, np.ndarray):
        return chunk.ndim == 2 and chunk.shape[1] != 1
    return type(chunk[0]) is list and len(chunk[0]) != 1


def chunks_of(array: Array) -> Chunks:
    """Returns the elements of an array in chunks; a small array is one chunk."""
    return iter((array,)) if isinstance(array, list) else array.chunks()


def _next(chunks: Chunks) -> Generator[None, None, Cells]:
    """Returns the next chunk, as the generator's value."""
    for chunk in chunks:
        if chunk is not None:
            return chunk
        yield
    raise AssertionError("an array has fewer elements than its length")


def _joined(pieces: Sequence[Cells]) -> Cells:
    """Returns pieces of a column as one."""
    if all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return list(chain.from_iterable([piece.tolist() if isinstance(piece, np.ndarray) else piece for piece in pieces]))


def _named(name: str) -> str:
    """Returns the name of a column for a message."""
    return sendable(repr(name[:MAX_ECHO]))
