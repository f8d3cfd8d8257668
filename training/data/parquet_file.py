"""Reads a Parquet file as a table with types."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from models.errors import DataError
from training.data.table import Table
from training.data.text_encoding import is_unicode


def read_parquet(path: Path) -> Table:
    """Reads a Parquet file.

    Raises:
        DataError: the file cannot be read as a table; the message names the file.
    """
    return Table.from_arrow(read_columns(path, called=path.name), source=path.name)


def read_columns(path: Path, *, called: str) -> pa.Table:
    """Reads the columns of a Parquet file; texts stay dictionary-encoded, as in the file.

    Args:
        path: path of the file.
        called: name of the file in messages.

    Raises:
        DataError: the file cannot be read.
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
                return file.read()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'it is damaged'}.") from error
    except pa.ArrowException as error:
        raise DataError(f"{called} is not a sound Parquet file.") from error
