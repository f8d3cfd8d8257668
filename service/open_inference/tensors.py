"""Input tensors: from the protocol's datatypes to the cells of rows. A value is converted exactly, or refused."""

from __future__ import annotations

import math
import struct
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.at_once import at_once
from models.columns.cells import shown
from models.columns.encoding import NamedColumns, Rows
from service.errors import InvalidRequest

#: NumPy's types of the datatypes with elements of one size. BF16 is missing, because NumPy has no such type.
DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
BYTES = "BYTES"

_MOST_ELEMENTS = 1 << 31
_CELLS_A_STEP = 1 << 16  # cells that are cut into rows before other work gets its turn; about a millisecond
_LENGTH = struct.Struct("<I")
_STEP_ELEMENTS = 4096
_STEP_BOOLEANS = 65_536
LONGEST_ELEMENT = 256 * 1024  # bytes of an element of BYTES, as of a text in a large JSON body
_LONG_ELEMENT = 16 * 1024  # bytes of an element that takes about as long to read as a thousand short ones
_EXACT = 2.0**53  # from here on, a float may stand for several whole numbers; a parser makes floats of the longest
_DOUBLES = frozenset(("FP32", "FP64"))  # in JSON, numbers of these types are used as they were written
_NUMBERS_AND_GAPS = frozenset((int, float, type(None)))


class Tensor:
    """An input tensor.

    Args:
        name: name of the tensor.
        shape: `(rows,)` or `(rows, columns)`.
        cells: elements in row-major order: an array of `shape`, or a flat list of cells as from a JSON parser.
        may_hold_booleans: False if no cell is a boolean.

    Attributes:
        name: name of the tensor.
        shape: `(rows,)` or `(rows, columns)`.
        cells: elements in row-major order: an array of `shape`, or a flat list of cells as from a JSON parser.
        may_hold_booleans: False if no cell is a boolean.
    """

    __slots__ = ("cells", "may_hold_booleans", "name", "shape")

    def __init__(
        self, name: str, shape: tuple[int, ...], cells: NDArray[Any] | list[Any], *, may_hold_booleans: bool = False
    ) -> None:
        self.name = name
        self.shape = shape
        self.cells = cells
        self.may_hold_booleans = may_hold_booleans


def rows_of(tensors: Sequence[Tensor]) -> tuple[Rows, bool]:
    """Returns the rows that some tensors hold, and False if no cell is a boolean.

    One tensor of several columns is a matrix in the order of the model's columns. Other tensors are columns by name.

    Raises:
        InvalidRequest: there is no tensor, a tensor has a shape that holds no rows, or the numbers of rows differ.
    """
    return at_once(rows_in_steps(tensors))


def rows_in_steps(tensors: Sequence[Tensor]) -> Generator[None, None, tuple[Rows, bool]]:
    """Does the work of `rows_of` in short steps; the rows are the generator's value."""
    if not tensors:
        raise InvalidRequest("The request has no input tensor.")
    first = tensors[0]
    may_hold_booleans = any(tensor.may_hold_booleans for tensor in tensors)
    if len(tensors) == 1 and is_matrix(first.shape):
        cells, columns = first.cells, first.shape[1]
        if isinstance(cells, np.ndarray):
            return cells, may_hold_booleans
        rows_so_far: list[Any] = []
        step = columns * max(_CELLS_A_STEP // columns, 1)
        for start in range(0, len(cells), step):
            end = min(start + step, len(cells))
            rows_so_far += [cells[at : at + columns] for at in range(start, end, columns)]
            if end < len(cells):
                yield
        return rows_so_far, may_hold_booleans
    rows = first.shape[0] if first.shape else 0
    by_name: dict[str, Any] = {}
    for tensor in tensors:
        if len(tensor.shape) != 1 and (len(tensor.shape) != 2 or tensor.shape[1] != 1):
            several = f"one tensor of several columns has to be the only one; {len(tensors)} tensors were sent"
            raise InvalidRequest(f"{_named(tensor.name)}: shape {list(tensor.shape)} is no column: {several}.")
        if tensor.shape[0] != rows:
            raise InvalidRequest(
                f"{_named(tensor.name)} has {tensor.shape[0]} rows, and {_named(first.name)} has {rows}."
            )
        if tensor.name in by_name:
            raise InvalidRequest(f"{_named(tensor.name)} was sent twice.")
        cells = tensor.cells
        by_name[tensor.name] = cells.reshape(rows) if isinstance(cells, np.ndarray) else cells
    return NamedColumns(by_name, rows), may_hold_booleans


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Returns True for the shape of several columns."""
    return len(shape) == 2 and shape[1] != 1


def checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Returns the shape of an input tensor.

    Raises:
        InvalidRequest: the shape is not a list of one or two positive whole numbers.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not 1 <= len(shape) <= 2:
        raise InvalidRequest(f"{_named(name)}: shape has to be [rows] or [rows, columns].")
    for size in shape:
        if type(size) is not int or size < 1:
            raise InvalidRequest(f"{_named(name)}: shape has to hold whole numbers from 1 on, not {shown(size)}.")
    if math.prod(shape) >= _MOST_ELEMENTS:
        raise InvalidRequest(f"{_named(name)}: shape {list(shape)} has too many elements.")
    return tuple(shape)


def tensor_of_bytes(name: str, datatype: str, shape: tuple[int, ...], data: memoryview) -> Tensor:
    """Returns a tensor of binary data, without a copy of numbers.

    Raises:
        InvalidRequest: the data does not have the size of the shape, or the datatype is not known.
    """
    return at_once(tensor_of_bytes_in_steps(name, datatype, shape, data))


def tensor_of_bytes_in_steps(
    name: str, datatype: str, shape: tuple[int, ...], data: memoryview
) -> Generator[None, None, Tensor]:
    """Does the work of `tensor_of_bytes` in short steps; the tensor is the generator's value."""
    count = math.prod(shape)
    if datatype == BYTES:
        texts = yield from _texts(name, data, count)
        return Tensor(name, shape, texts)
    dtype = checked_dtype(name, datatype, shape, len(data))
    if datatype == "BOOL":
        booleans: list[Any] = []
        for at in range(0, count, _STEP_BOOLEANS):
            booleans += booleans_of(name, data[at : at + _STEP_BOOLEANS])
            yield
        return Tensor(name, shape, booleans, may_hold_booleans=True)
    return Tensor(name, shape, np.frombuffer(data, dtype=dtype).reshape(shape))


def checked_dtype(name: str, datatype: str, shape: tuple[int, ...], size: int) -> np.dtype[Any]:
    """Returns NumPy's type of a binary tensor of any datatype but BYTES.

    Args:
        name: name of the tensor.
        datatype: datatype of the protocol.
        shape: shape of the tensor.
        size: number of bytes of the data.

    Raises:
        InvalidRequest: the data does not have the size of the shape, or the datatype is not known.
    """
    dtype = _dtype(name, datatype)
    if size != math.prod(shape) * dtype.itemsize:
        raise InvalidRequest(
            f"{_named(name)}: {size:,} bytes were sent where shape {list(shape)} of {datatype} has "
            f"{math.prod(shape) * dtype.itemsize:,}."
        )
    return dtype


def tensor_of_list(name: str, datatype: str, shape: tuple[int, ...], data: Any, first: int = 0) -> Tensor:
    """Returns a tensor of JSON data.

    Args:
        name: name of the tensor.
        datatype: datatype of the protocol.
        shape: `(rows,)` or `(rows, columns)`.
        data: flat list of elements, a list of rows, or an array of either form.
        first: number of elements of the same input before these, for messages.

    Raises:
        InvalidRequest: the data does not have this shape or this datatype.
    """
    cells = _flat(name, shape, data)
    if datatype in _DOUBLES:
        if not isinstance(cells, np.ndarray):
            _refuse_others(name, datatype, cells, _NUMBERS_AND_GAPS, first)
        return Tensor(name, shape, cells)
    if datatype == BYTES:
        texts = cells.ravel().tolist() if isinstance(cells, np.ndarray) else cells
        _refuse_others(name, datatype, texts, frozenset((str, type(None))), first)
        return Tensor(name, shape, texts)
    if datatype == "BOOL":
        booleans = cells.ravel().tolist() if isinstance(cells, np.ndarray) else cells
        _refuse_others(name, datatype, booleans, frozenset((bool, type(None))), first)
        return Tensor(name, shape, booleans, may_hold_booleans=True)
    return Tensor(name, shape, _array(name, datatype, cells, first).reshape(shape))


def tensor_of_elements(name: str, datatype: str, shape: tuple[int, ...], elements: NDArray[Any] | list[Any]) -> Tensor:
    """Returns a tensor of typed elements.

    Args:
        name: name of the tensor.
        datatype: datatype of the protocol.
        shape: `(rows,)` or `(rows, columns)`.
        elements: elements in row-major order: texts, booleans, or numbers of this datatype.

    Raises:
        InvalidRequest: the number of elements is not that of the shape.
    """
    if len(elements) != math.prod(shape):
        raise wrong_size(name, shape, len(elements))
    if isinstance(elements, list):
        return Tensor(name, shape, elements, may_hold_booleans=datatype == "BOOL")
    return Tensor(name, shape, elements.reshape(shape))


def _array(name: str, datatype: str, cells: NDArray[Any] | list[Any], first: int) -> NDArray[Any]:
    """Returns JSON numbers as an array of a datatype: whole numbers exactly, others rounded to FP16."""
    dtype = _dtype(name, datatype)
    if datatype == "FP16":
        if not isinstance(cells, np.ndarray):
            _refuse_others(name, datatype, cells, _NUMBERS_AND_GAPS, first)
        try:
            with np.errstate(over="ignore"):
                halves = np.array(cells, dtype=np.float64).astype(dtype)
        except OverflowError:
            raise InvalidRequest(f"{_named(name)}: an element is too large for {datatype}.") from None
        if np.isinf(halves).any():
            raise InvalidRequest(f"{_named(name)}: an element is too large for {datatype}.")
        return halves
    if isinstance(cells, np.ndarray) and cells.dtype == np.float64 and (numbers := _whole(cells, dtype)) is not None:
        return numbers
    whole = cells.ravel().tolist() if isinstance(cells, np.ndarray) else cells
    if set(map(type, whole)) != {int}:
        whole = [
            int(cell) if type(cell) is float and cell.is_integer() and abs(cell) < _EXACT else cell for cell in whole
        ]
    _refuse_others(name, datatype, whole, frozenset((int,)), first)
    try:
        return np.array(whole, dtype=dtype)
    except OverflowError:
        raise InvalidRequest(f"{_named(name)}: an element is beyond the range of {datatype}.") from None


def _whole(cells: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """Returns floats as whole numbers of a type; None if one is not whole, beyond the type's range, or not exact."""
    limits = np.iinfo(dtype)
    least, most = max(limits.min, 1 - _EXACT), min(limits.max, _EXACT - 1)
    if not (cells.min() >= least and cells.max() <= most) or (cells != np.trunc(cells)).any():
        return None
    return cells.astype(dtype)


def _flat(name: str, shape: tuple[int, ...], data: Any) -> NDArray[Any] | list[Any]:
    """Returns the elements of JSON data: an array of the tensor's shape, or a flat list."""
    count = math.prod(shape)
    if isinstance(data, np.ndarray):
        if data.shape != shape and data.shape != (count,):
            raise wrong_size(name, shape, data.size)
        return data.reshape(shape)
    if not isinstance(data, list):
        raise InvalidRequest(f"{_named(name)}: data has to be a list.")
    if not data or type(data[0]) is not list:
        if len(data) != count:
            raise wrong_size(name, shape, len(data))
        return data
    width = shape[1] if len(shape) == 2 else 1
    flat: list[Any] = []
    for at, row in enumerate(data):
        if type(row) is not list or len(row) != width:
            found = f"{len(row)} elements" if type(row) is list else "no list"
            raise InvalidRequest(f"{_named(name)}: row {at} of data is {found}, where shape {list(shape)} has {width}.")
        flat += row
    if len(flat) != count:
        raise wrong_size(name, shape, len(flat))
    return flat


def _refuse_others(name: str, datatype: str, cells: Sequence[Any], kinds: frozenset[object], first: int) -> None:
    """Refuses elements of other types; a missing element is None where the datatype has one."""
    if kinds.issuperset(map(type, cells)):
        return
    at, cell = next((at, cell) for at, cell in enumerate(cells) if type(cell) not in kinds)
    raise InvalidRequest(f"{_named(name)}: element {first + at} of data, {shown(cell)}, is not {datatype}.")


class TextElements:
    """The elements of BYTES in binary form, read some at a time: a length in four bytes, and then a text in UTF-8.

    Args:
        name: name of the tensor.
        data: elements, one after the other.
        count: number of elements.

    Raises:
        InvalidRequest: the data is too short for so many elements.
    """

    def __init__(self, name: str, data: memoryview, count: int) -> None:
        if len(data) < 4 * count:
            raise InvalidRequest(f"{_named(name)}: {len(data):,} bytes are too few for {count:,} elements of BYTES.")
        self._name = name
        self._data = data
        self._count = count
        self._read = 0
        self._at = 0  # position of the next element in the data

    def take(self, count: int) -> Generator[None, None, list[Any]]:
        """Reads the next elements in short steps, and returns the elements as the generator's value.

        Raises:
            InvalidRequest: the data ends early, an element is too long, or an element is not UTF-8.
        """
        texts: list[Any] = []
        name, data, at, end = self._name, self._data, self._at, len(self._data)
        for number in range(self._read, self._read + count):
            if end - at < 4:
                raise InvalidRequest(f"{_named(name)}: the data ends before element {number}.")
            [length] = _LENGTH.unpack_from(data, at)
            at += 4
            if length > end - at:
                raise InvalidRequest(
                    f"{_named(name)}: element {number} has {length:,} bytes, where {end - at:,} are left of the data."
                )
            if length > LONGEST_ELEMENT:
                raise InvalidRequest(f"{_named(name)}: element {number} has more than {LONGEST_ELEMENT:,} bytes.")
            try:
                texts.append(str(data[at : at + length], "utf-8"))
            except UnicodeDecodeError:
                raise InvalidRequest(f"{_named(name)}: element {number} is not UTF-8.") from None
            at += length
            if number % _STEP_ELEMENTS == _STEP_ELEMENTS - 1 or length >= _LONG_ELEMENT:
                yield
        self._read += count
        self._at = at
        return texts

    def finish(self) -> None:
        """Refuses data behind the last element.

        Raises:
            InvalidRequest: there is such data.
        """
        if left := len(self._data) - self._at:
            raise InvalidRequest(
                f"{_named(self._name)}: {left:,} bytes are left after {self._count:,} elements of BYTES."
            )


def _texts(name: str, data: memoryview, count: int) -> Generator[None, None, list[Any]]:
    """Reads all elements of BYTES."""
    elements = TextElements(name, data, count)
    texts = yield from elements.take(count)
    elements.finish()
    return texts


def text_of(name: str, number: int, element: bytes) -> str:
    """Returns an element of BYTES as a text.

    Raises:
        InvalidRequest: the element is not UTF-8.
    """
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{_named(name)}: element {number} is not UTF-8.") from None


def booleans_of(name: str, data: memoryview) -> list[Any]:
    """Reads elements of BOOL in binary form: one byte each, 0 or 1.

    Raises:
        InvalidRequest: a byte is neither.
    """
    values = np.frombuffer(data, dtype=np.uint8)
    if (values > 1).any():
        raise InvalidRequest(f"{_named(name)}: an element of BOOL is neither 0 nor 1.")
    booleans: list[Any] = values.astype(bool).tolist()
    return booleans


def _dtype(name: str, datatype: Any) -> np.dtype[Any]:
    dtype = DTYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        known = ", ".join((*DTYPES, BYTES))
        raise InvalidRequest(f"{_named(name)}: datatype {shown(datatype)} is not one of {known}.")
    return dtype


def wrong_size(name: str, shape: tuple[int, ...], size: int) -> InvalidRequest:
    """Returns the error for data with another number of elements than the shape."""
    return InvalidRequest(
        f"{_named(name)}: data has {size:,} elements, where shape {list(shape)} has {math.prod(shape):,}."
    )


def _named(name: str) -> str:
    """Returns a tensor's name for the beginning of a message."""
    return f"Input {shown(name)}"
