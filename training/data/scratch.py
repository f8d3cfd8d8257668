"""Scratch space of large tables: arrays in memory-mapped temporary files instead of in main memory.

The kernel writes pages of such an array to the disk when memory is scarce, and reads them again when they are needed.
The numbers are the same as in memory. A file has no name from the beginning, so that nothing is left behind however the
process ends, and its blocks are reserved before it is used: a full disk is an error here, not a signal later.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from models.columns.dictionary_column import DictionaryColumn
from models.errors import DataError
from training.data.values import Values

# Arrays, and tables, from this size on lie in scratch space. Below, a run takes little memory beside its libraries.
LARGE_BYTES = 1 << 26

_SEGMENT_BYTES = 1 << 28  # columns share files, since each file of a process counts against a limit
_ALIGNMENT = 64  # as Arrow asks for
_mappings: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def scratch_folder() -> Path:
    """Returns the folder of temporary files: TMPDIR, or else /var/tmp, which lies on a disk where /tmp may not."""
    if os.environ.get("TMPDIR"):
        return Path(tempfile.gettempdir())
    shared = Path("/var/tmp")  # noqa: S108 -- a file without a name cannot be guessed  # nosec B108
    return shared if os.access(shared, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


def large_array(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Makes an array to be filled, in scratch space if the array is large.

    Args:
        shape: shape of the array.
        dtype: type of its elements.

    Raises:
        DataError: the disk has no room for the array.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size < LARGE_BYTES:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=_mapping(size))


class Scratch:
    """Scratch space of the columns of a table. The space is freed with the last array in it."""

    def __init__(self) -> None:
        self._segment: mmap.mmap | None = None
        self._used = 0  # bytes

    @classmethod
    def for_bytes(cls, size: int) -> Scratch | None:
        """Returns scratch space for a table of so many bytes; None if the table is small enough for memory."""
        return cls() if size >= LARGE_BYTES else None

    def copy(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copies an array to scratch space.

        Raises:
            DataError: the disk has no room for the array.
        """
        values = np.ascontiguousarray(values)
        copied: NDArray[Any] = np.ndarray(values.shape, values.dtype, *self._place(values.nbytes))
        copied[...] = values
        return copied

    def copy_values(self, values: Values) -> Values:
        """Copies the values of a column to scratch space.

        Raises:
            DataError: the disk has no room for the values.
        """
        if isinstance(values, DictionaryColumn):
            return DictionaryColumn(self.copy(values.codes), values.names)
        return self.copy(values)

    def copy_cells(self, cells: pa.Array) -> pa.Array:
        """Copies the cells of a column to scratch space: numbers, dates, truth values, or the indices of a dictionary.

        Cells of other types stay in memory.

        Raises:
            DataError: the disk has no room for the cells.
        """
        if pa.types.is_dictionary(cells.type):
            indices = self.copy_cells(cells.indices)
            return pa.DictionaryArray.from_arrays(indices, cells.dictionary, ordered=cells.type.ordered)
        if not pa.types.is_primitive(cells.type):
            return cells
        buffers = [None if buffer is None else self._copy_buffer(buffer) for buffer in cells.buffers()]
        return pa.Array.from_buffers(cells.type, len(cells), buffers, cells.null_count, cells.offset)

    def _copy_buffer(self, buffer: pa.Buffer) -> pa.Buffer:
        return pa.py_buffer(self.copy(np.frombuffer(buffer, dtype=np.uint8)))

    def _place(self, size: int) -> tuple[mmap.mmap, int]:
        """Returns the file and the place in the file of the next so many bytes."""
        if self._segment is None or self._used + size > len(self._segment):
            self._segment, self._used = _mapping(max(size, _SEGMENT_BYTES)), 0
        at = self._used
        self._used = -(-(at + size) // _ALIGNMENT) * _ALIGNMENT
        return self._segment, at


def is_view(values: Values | pa.Array, source: pa.Array | pa.ChunkedArray) -> bool:
    """Returns True if values lie in the memory of a column's cells, and so take no further memory.

    Args:
        values: `(rows,)` values of the column, or cells that were made from its cells.
        source: `(rows,)` cells of the column.
    """
    if isinstance(values, pa.Array):
        buffer = _buffers(values)[-1]
        at = 0 if buffer is None else buffer.address
    else:
        at = (values.codes if isinstance(values, DictionaryColumn) else values).__array_interface__["data"][0]
    chunks = source.chunks if isinstance(source, pa.ChunkedArray) else [source]
    owned = [buffer for chunk in chunks for buffer in _buffers(chunk) if buffer is not None]
    return any(buffer.address <= at < buffer.address + buffer.size for buffer in owned)


def _buffers(cells: pa.Array) -> list[pa.Buffer | None]:
    buffers: list[pa.Buffer | None] = (cells.indices if pa.types.is_dictionary(cells.type) else cells).buffers()
    return buffers or [None]


def release_pages() -> None:
    """Takes the pages of all scratch space out of the memory of this process, until the next use of a page.

    The pages stay in the page cache of the kernel, which is free to write them back.
    """
    for mapping in list(_mappings):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(size: int) -> mmap.mmap:
    """Maps a new file of so many bytes that has no name.

    Raises:
        DataError: the disk has no room, or the folder takes no files.
    """
    folder = scratch_folder()
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
            mapping = mmap.mmap(file.fileno(), max(size, 1))
    except OSError as error:
        raise DataError(
            f"{folder} takes no temporary file of {size / 1e6:,.0f} MB for the numbers of a large table: "
            f"{error.strerror or error}. Free some space there, or set TMPDIR to a folder on another disk."
        ) from error
    _mappings.add(mapping)
    return mapping
