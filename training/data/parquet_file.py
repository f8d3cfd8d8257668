"""Reads a Parquet file as a table with types."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from models.errors import DataError
from training.data.scratch import Scratch, release_pages
from training.data.table import Table
from training.data.text_encoding import is_unicode


def read_parquet(path: Path) -> Table:
    """Reads a Parquet file.

    Raises:
        DataError: the file cannot be read as a table; the message names the file.
    """
    return Table.from_arrow(read_columns(path, called=path.name), source=path.name)


def read_columns(path: Path, *, called: str, scratch: Scratch | None = None) -> pa.Table:
    """Reads the columns of a Parquet file; texts stay dictionary-encoded, as in the file.

    The columns of a large file are read one after another, each into scratch space.

    Args:
        path: path of the file.
        called: name of the file in messages.
        scratch: scratch space for the columns; None for a new one if the file is large, and else for memory.

    Raises:
        DataError: the file cannot be read, or is large and the disk has no room for its columns.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{called} is empty.")
        with path.open("rb") as opened:
            # Arrow cannot open a file whose name is not Unicode.
            place = path if is_unicode(str(path)) else opened
            # Not read_table, which would read a partition's name from the path.
            with pyarrow.parquet.ParquetFile(place) as file:
                texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
            with pyarrow.parquet.ParquetFile(place, read_dictionary=texts) as file:
                return _read(file, scratch)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'it is damaged'}.") from error
    except pa.ArrowException as error:
        raise DataError(f"{called} is not a sound Parquet file.") from error


def _read(file: pyarrow.parquet.ParquetFile, scratch: Scratch | None) -> pa.Table:
    """Reads all columns. Those of a large file go to scratch space, and memory holds one at a time."""
    scratch = scratch or Scratch.for_bytes(_size(file.metadata))
    names = file.schema_arrow.names
    if scratch is None or len(set(names)) < len(names):  # columns of one name are refused later
        return file.read()
    columns = []
    for name in names:
        # A column "a" brings "a.b" along, which could be a part of it.
        cells = file.read(columns=[name]).column(name)
        columns.append(pa.chunked_array([scratch.copy_cells(chunk) for chunk in _joined(cells)], cells.type))
        del cells
        pa.default_memory_pool().release_unused()
        release_pages()
    return pa.table(columns, schema=file.schema_arrow)


def _size(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Returns the number of bytes of all columns, without compression."""
    return sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))


def _joined(cells: pa.ChunkedArray) -> list[pa.Array]:
    """Returns the cells as one array, if no dictionaries have to be joined for that."""
    if cells.num_chunks == 1 or not pa.types.is_primitive(cells.type):
        return list(cells.chunks)
    joined = cells.combine_chunks()
    return list(joined.chunks) if isinstance(joined, pa.ChunkedArray) else [joined]
