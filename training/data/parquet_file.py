"""A Parquet file → a table with types."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from models.errors import DataError
from training.data.table import Table


def read_parquet(path: Path) -> Table:
    """Reads a Parquet file.

    Raises:
        DataError: no readable table; the message names the file.
    """
    try:
        # ParquetFile rather than read_table, which would take part of the path for a partition's name.
        with pyarrow.parquet.ParquetFile(path) as file:
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        # A text that repeats is read once, which is how the file has it.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path.name} is not a sound Parquet file.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or 'it is damaged'}.") from error
    return Table.from_arrow(table, source=path.name)
