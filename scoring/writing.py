"""Writers of answers: Parquet, CSV and Arrow files whose bytes depend on the rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from models.errors import ConfigError, DataError
from scoring.cells import is_text

OutForm = Literal["parquet", "csv", "arrow"]
SUFFIXES: dict[str, OutForm] = {".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow"}

# Errors of Arrow's writers that are due to the type or the content of a column.
UNWRITABLE = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)

_DEAREST = 100  # characters of a type's name in a message
_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 32 << 20


class Writer(Protocol):
    """A file that is being written."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Completes the file."""


def writer_of(form: OutForm, path: Path, schema: pa.Schema, *, delimiter: str = ",") -> Writer:
    """Opens a file for writing.

    Args:
        form: format of the file.
        path: path of the file.
        schema: Arrow schema of the rows.
        delimiter: character between the cells of a CSV file.
    """
    return _writer(form, pa.OSFile(str(path), "wb"), schema, delimiter)


def _writer(form: OutForm, file: pa.NativeFile, schema: pa.Schema, delimiter: str) -> Writer:
    if form == "csv":
        return _CsvWriter(file, schema, delimiter)
    return _GroupWriter(file, schema, _parquet if form == "parquet" else pa.ipc.new_file)


def plain_field(field: pa.Field) -> pa.Field:
    """Returns the field of a kept column without a dictionary, which would differ from batch to batch."""
    return pa.field(field.name, _plain(field.type))


def check_writable(name: str, form: OutForm, kept: Sequence[pa.Field]) -> None:
    """Refuses columns of types that a format cannot hold, by writing one gap of each to memory.

    Args:
        name: name of the source's file, for messages.
        form: format of the answers.
        kept: columns that are written before the answers.

    Raises:
        DataError: a column cannot be written.
    """
    for field in kept:
        try:
            schema = pa.schema([field])
            writer = _writer(form, pa.BufferOutputStream(), schema, ",")
            writer.write(pa.record_batch([pa.nulls(1, field.type)], schema=schema))
            writer.close()
        except UNWRITABLE as error:
            why = ", which has numbers, texts, dates and times alone" if form == "csv" else ""
            raise DataError(
                f"{name}: the kept column {field.name!r} holds {str(field.type)[:_DEAREST]}, and cannot be written as "
                f"{form}{why}. Choose another format (--format, or the suffix of --out), or leave the column out of "
                "--keep."
            ) from error


def form_of(path: Path | str, asked: str | None) -> OutForm:
    """Returns the format of a destination.

    Args:
        path: path or URL of the file or folder to write.
        asked: format that the user asked for; None for the one of the suffix, else Parquet.

    Raises:
        ConfigError: the suffix and the format asked for differ.
    """
    own = SUFFIXES.get(PurePosixPath(str(path)).suffix.lower())
    if asked is not None and own is not None and own != asked:
        raise ConfigError(f"--format {asked} contradicts the suffix of {path}: leave one of them out.")
    chosen = asked or own or "parquet"
    return next(form for form in SUFFIXES.values() if form == chosen)


class _GroupWriter:
    """Writes rows in groups of a fixed size, whatever the sizes of the batches."""

    def __init__(
        self, file: pa.NativeFile, schema: pa.Schema, make: Callable[[pa.NativeFile, pa.Schema], object]
    ) -> None:
        self._file = file
        self._schema = schema
        self._writer: pa.ipc.RecordBatchFileWriter = make(self._file, schema)
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Completes the file."""
        self._flush()
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_batches(self._held, self._schema).combine_chunks()
            self._writer.write_table(table)
        self._held = []
        self._rows = self._bytes = 0


class _CsvWriter:
    def __init__(self, file: pa.NativeFile, schema: pa.Schema, delimiter: str) -> None:
        self._file = file
        plain = pa.schema([pa.field(field.name, _text(_plain(field.type))) for field in schema])
        options = pyarrow.csv.WriteOptions(quoting_style="needed", delimiter=delimiter)
        self._writer = pyarrow.csv.CSVWriter(self._file, plain, write_options=options)
        self._schema = plain

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._writer.write(pa.Table.from_batches([batch]).cast(self._schema))

    def close(self) -> None:
        """Completes the file."""
        self._writer.close()
        self._file.close()


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _text(kind: pa.DataType) -> pa.DataType:
    # Arrow's writer of CSV files does not know views.
    return pa.large_string() if pa.types.is_string_view(kind) else kind


def _parquet(file: pa.NativeFile, schema: pa.Schema) -> pyarrow.parquet.ParquetWriter:
    # Probabilities and ids are as good as all different. A dictionary of an id costs 50 ns a row and saves nothing.
    repeated = [field.name for field in schema if is_text(field.type)]
    return pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=repeated, compression="snappy")
