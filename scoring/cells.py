"""The cells of an Arrow column as arrays and dictionaries that the encoder of rows takes, without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns.cell_text import bare, decimal_text, is_missing
from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.dictionary_cells import CellDictionary, DictionaryCells, ListedCells
from models.columns.named_columns import Cells
from models.errors import DataError
from training.data.arrow_types import is_plain, plain_column

_DEAREST = 100  # characters of a type's name in a message
_EXTENSION = b"ARROW:extension:name"  # in the metadata of a field, such as that of pandas' periods


class _Distinct:
    """The distinct cells of a dictionary, as an array or a list.

    Args:
        cells: cells of the dictionary, `(distinct,)`.
    """

    def __init__(self, cells: ListedCells) -> None:
        self._cells = cells

    def __len__(self) -> int:
        return len(self._cells)

    def take(self, places: Any, /) -> ListedCells:
        """Returns some of the cells."""
        if isinstance(self._cells, np.ndarray):
            some: NDArray[Any] = self._cells[places]
            return some
        return [self._cells[place] for place in places.tolist()]


def cells_of(
    given: pa.Array | pa.ChunkedArray,
    column: Column,
    *,
    field: pa.Field | None = None,
    has_text_numbers: bool = False,
    doubtful: pa.Array | None = None,
) -> Cells:
    """Returns the cells of an Arrow column for the encoder, with the meaning of the same cells in training.

    Args:
        given: cells of any Arrow type.
        column: column of the model.
        field: Arrow field of the column, whose metadata may name an extension type that is not registered here; None
            for a column without a field.
        has_text_numbers: True if numbers stand there as texts, as in a CSV file.
        doubtful: distinct texts of numbers with two readings, which stay texts; None for none.

    Raises:
        DataError: the column's type has no cells that a model takes, such as a list.
    """
    chunked = given if isinstance(given, pa.ChunkedArray) else pa.chunked_array([given])
    is_extension = field is not None and _EXTENSION in (field.metadata or {})
    if is_extension or not _is_simple(chunked.type):
        try:
            chunked, _ = plain_column(chunked, field or pa.field(column.name, chunked.type))
        except pa.ArrowException as error:
            raise DataError(f"column {column.name!r} of type {chunked.type} cannot be read: {error}") from error
    if not is_plain(chunked.type):
        kind = str(chunked.type)[:_DEAREST]
        raise DataError(f"column {column.name!r} has the type {kind}, where a number, a text or a date is expected.")
    array = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of no chunk
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(column, CategoricalColumn) or is_text(array.type) or pa.types.is_dictionary(array.type):
        if has_text_numbers and isinstance(column, NumericColumn):
            return _numbers_in_texts(array) if doubtful is None else _numbers_but(doubtful, array)
        return _dictionary(array)
    return _values(array, column)


def is_text(kind: pa.DataType) -> bool:
    """Returns True for the types of texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def wrong_type(kind: pa.DataType, column: Column) -> str | None:
    """Returns words on a type of which no cell can suit a column of the model; None for a type that may suit.

    Args:
        kind: type of the Arrow column.
        column: column of the model.
    """
    bare = kind.value_type if pa.types.is_dictionary(kind) else kind
    bare = bare.storage_type if isinstance(bare, pa.BaseExtensionType) else bare
    if pa.types.is_nested(bare) or pa.types.is_binary(bare) or pa.types.is_large_binary(bare):
        return f"holds {bare}, where the model takes {_expected(column)}"
    is_moment = pa.types.is_timestamp(bare) or pa.types.is_date(bare)
    if isinstance(column, NumericColumn) and (is_text(bare) or is_moment):
        return f"holds {bare}, where the model takes numbers"
    return None


def _expected(column: Column) -> str:
    if isinstance(column, NumericColumn):
        return "numbers"
    return "dates" if isinstance(column, DateColumn) else "names"


def _is_simple(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_float32(kind)
        or pa.types.is_float64(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
    )


def _values(array: pa.Array, column: Column) -> ListedCells:
    """Returns numbers, moments or truth values; a missing number is NaN, a missing moment NaT."""
    kind = array.type
    if pa.types.is_null(kind):
        return [None] * len(array)
    if pa.types.is_boolean(kind) and isinstance(column, NumericColumn):
        array, kind = array.cast(pa.int8()), pa.int8()  # 1 and 0, as in training
    if pa.types.is_boolean(kind):
        listed: Sequence[Any] = array.to_pylist()
        return listed
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif pa.types.is_integer(kind) and array.null_count:
        if isinstance(column, DateColumn):
            return list(array.to_pylist())
        array = array.cast(pa.float64(), safe=False)
    values: ListedCells = array.to_numpy(zero_copy_only=False)
    return values


def _dictionary(array: pa.Array) -> DictionaryCells:
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    codes = array.indices
    if codes.null_count:
        codes = pc.fill_null(codes.cast(pa.int64()), -1)
    places = codes.to_numpy(zero_copy_only=False).astype(np.intp, copy=False)
    return DictionaryCells(places, CellDictionary(_Distinct(_distinct(array.dictionary))))


def _distinct(cells: pa.Array) -> ListedCells:
    kind = cells.type
    if pa.types.is_decimal(kind):
        return [None if cell is None else decimal_text(cell) for cell in cells.to_pylist()]
    if is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or cells.null_count:
        listed: Sequence[Any] = cells.to_pylist()
        return listed
    values: ListedCells = cells.to_numpy(zero_copy_only=False)
    return values


def _numbers_in_texts(array: pa.Array) -> ListedCells:
    """Returns the numbers of texts; a text that is not a number stays one, for the encoder to name."""
    try:
        numbers = array.cast(pa.float64())
    except pa.ArrowInvalid:
        return [_number(text) for text in array.to_pylist()]
    is_nan = pc.fill_null(pc.is_nan(numbers), False)
    if pc.any(is_nan).as_py() and not all(map(is_missing, array.filter(is_nan).unique().to_pylist())):
        return [_number(text) for text in array.to_pylist()]
    values: ListedCells = numbers.to_numpy(zero_copy_only=False)
    return values


def _numbers_but(doubtful: pa.Array, array: pa.Array) -> list[Any]:
    """Returns the numbers of texts, except for some texts, which stay texts, for the encoder to name."""
    is_doubtful = pc.is_in(array, value_set=doubtful)
    numbers = _numbers_in_texts(pc.if_else(is_doubtful, pa.scalar(None, array.type), array))
    listed = numbers.tolist() if isinstance(numbers, np.ndarray) else list(numbers)
    cells = [None if number != number else number for number in listed]
    rows = np.flatnonzero(is_doubtful.to_numpy(zero_copy_only=False)).tolist()
    for row, text in zip(rows, array.filter(is_doubtful).to_pylist(), strict=True):
        cells[row] = text
    return cells


def _number(text: str | None) -> float | str | None:
    if text is None or is_missing(text):
        return None
    try:
        number: float = pa.scalar(bare(text)).cast(pa.float64()).as_py()
    except pa.ArrowInvalid:
        return text
    return text if number != number else number  # Arrow reads `-nan` and `NAN`, which are no gaps elsewhere
