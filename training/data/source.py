"""A source: a path, a DataFrame or an Arrow table → a raw table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import DataError
from training.data.csv_file import read_csv
from training.data.parquet_file import read_parquet
from training.data.table import Table

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")


def read_source(source: Any, *, delimiter: str | None = None, builtin: Iterable[str] = ()) -> Table:
    """Reads a table, by the ending of its name where it is a file.

    Args:
        source: a path to a CSV or Parquet file, an Arrow table or a pandas DataFrame.
        delimiter: what divides a CSV file's cells; found out if None.
        builtin: names that would have been understood too, for the message.

    Raises:
        DataError: it is none of these, or cannot be read.
    """
    if isinstance(source, pa.Table):
        return Table.from_arrow(source, source="the table")
    if not isinstance(source, str | Path):
        if hasattr(source, "set_axis"):  # a DataFrame, without importing pandas to ask
            return Table.from_pandas(source)
        raise DataError(f"a {type(source).__name__} is no table: give a path, a DataFrame or an Arrow table.")
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return read_csv(path, delimiter=delimiter)
    if suffix in PARQUET_SUFFIXES:
        return read_parquet(path)
    read = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
    if path.exists():
        raise DataError(f"{path} is of a type that is not read: {read} are.")
    names = ", ".join(builtin)
    raise DataError(
        f"{str(source)!r} is neither a file ({read}) nor a built-in dataset ({names})."
        if names
        else f"{str(source)!r} is no file ({read})."
    )
