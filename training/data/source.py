"""Reads a source, which is a path, a pattern of paths, a DataFrame or an Arrow table, as a raw table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import DataError
from training.data.csv_file import read_csv
from training.data.folder_files import is_pattern
from training.data.foreign_sources import address_refusal, format_refusal
from training.data.parquet_file import read_parquet
from training.data.parquet_parts import PARQUET_SUFFIXES, is_parquet, read_parts
from training.data.table import Table
from training.data.text_format import TextFormat

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat", ".data")
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz", ".lz4")


def read_source(source: Any, *, text_format: TextFormat | None = None, builtin: Iterable[str] = ()) -> Table:
    """Reads a table; the suffix of a file decides how.

    Args:
        source: path of a CSV or Parquet file, folder or pattern of Parquet files, Arrow table or pandas DataFrame.
        text_format: the user's description of a CSV file.
        builtin: names of built-in datasets, for the message.

    Raises:
        DataError: the source is none of these, or cannot be read.
    """
    if not isinstance(source, str | Path):
        if hasattr(source, "set_axis") and hasattr(source, "columns"):  # a DataFrame, without importing pandas to ask
            return Table.from_pandas(source)
        if isinstance(source, pa.Table | pa.RecordBatch) or hasattr(source, "to_arrow"):  # polars and others have that
            return Table.from_arrow(pa.table(source), source="the table")
        raise DataError(
            f"{source.__class__.__name__!r} is not a table: give a path, a pandas DataFrame or an Arrow table."
        )
    if refusal := address_refusal(source):
        raise DataError(refusal)
    _check_path(source)
    return _read_path(source, text_format or TextFormat(), builtin)


def bare_stem(path: Path) -> str:
    """Returns a file's name without its suffixes, that of a compression included: flowers for flowers.csv.gz."""
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return path.stem


def _check_path(source: str | Path) -> None:
    """Refuses a name that no file can have, and a file that must not be accessed."""
    try:
        Path(source).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise DataError(f"{str(source)[:80]!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def _read_path(source: str | Path, text_format: TextFormat, builtin: Iterable[str]) -> Table:
    path = Path(source)
    if path.is_dir() or is_pattern(str(source)):
        return read_parts(source)
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a regular file, and is read more than once: write its rows to a file first.")
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED_SUFFIXES else path
    suffix = bare.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        return read_csv(path, text_format=text_format)
    if suffix in PARQUET_SUFFIXES and bare == path:
        return read_parquet(path)
    read = ", ".join((*TEXT_SUFFIXES, *PARQUET_SUFFIXES))
    if refusal := format_refusal(path, bare):
        raise DataError(refusal if path.exists() else f"there is no file {path}.")
    if path.exists():
        if is_parquet(path):
            return read_parquet(path)
        packed = ", texts packed or not (.gz, .zst, .bz2, .xz, .lz4)"
        raise DataError(f"{path} is of a type that is not read: {read} are{packed}.")
    names = ", ".join(builtin)
    raise DataError(
        f"{str(source)!r} is neither a file ({read}) nor a built-in dataset ({names})."
        if names
        else f"{str(source)!r} is no file ({read})."
    )
