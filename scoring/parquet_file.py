"""A Parquet file that is read row group by row group, in batches that fit into the memory whatever a group's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet

from models.columns.row_names import RowNames
from models.errors import DataError
from scoring.cells import is_text
from scoring.source_file import Range, SourceFile

# Read at a time from each column; without a bound, whole column chunks are in the memory. Where all buffers fit into a
# processor's cache, reading takes a fifth less CPU time than with 1 MiB for each column.
_BUFFER_BYTES, _LEAST_BUFFER_BYTES = 1 << 18, 1 << 14
_BUFFERS_BYTES = 1 << 25  # of all columns that are read
_BATCH_BYTES = 1 << 23  # of the cells of a batch without a fixed width, such as texts
_FIRST_ROWS = 64  # of a row group, whose texts tell how long its texts are


class ParquetReader:
    """An open Parquet file.

    Args:
        source: file of the source.
        texts: columns whose texts are read as dictionaries.
        columns: columns that will be read, which share the memory for buffers; none for all.

    Raises:
        DataError: the file is not a sound Parquet file.
    """

    has_text_numbers = False
    points_are_ambiguous = False

    def __init__(self, source: SourceFile, texts: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
        self._source = source
        self._name = source.name
        self._position = 0
        self._open = ExitStack()
        try:
            file = self._raw = self._open.enter_context(source.open())
            # Arrow refuses dictionaries of columns without texts, so the types are looked at first.
            plain = pyarrow.parquet.read_schema(file) if texts else pa.schema([])
            known = RowNames(texts)
            own = [field.name for field in plain if known.find(field.name) is not None and is_text(field.type)]
            metadata = pyarrow.parquet.read_metadata(file)
            buffer = _BUFFERS_BYTES // max(len(columns) or metadata.num_columns, 1)
            buffer = min(max(buffer, _LEAST_BUFFER_BYTES), _BUFFER_BYTES)
            self._file = self._open.enter_context(
                pyarrow.parquet.ParquetFile(
                    file, metadata=metadata, read_dictionary=own, buffer_size=buffer, pre_buffer=False
                )
            )
        except OSError as error:
            self._open.close()
            raise DataError(f"{source.address} cannot be read: {error.strerror or 'it is damaged'}.") from error
        except pa.ArrowException as error:
            self._open.close()
            raise DataError(f"{source.name} is not a sound Parquet file: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def schema(self) -> pa.Schema:
        """Returns the Arrow schema of the file."""
        return self._file.schema_arrow

    def group_rows(self) -> Sequence[int]:
        """Returns the number of rows of each row group."""
        metadata = self._file.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def batches(self, groups: tuple[int, int], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields batches of at most `rows` rows with these columns, in this order.

        Raises:
            DataError: the file is damaged.
        """
        names = list(columns)
        try:
            self._source.expect(self._raw, (self._ranges(group, names) for group in range(*groups)))
            # One row group at a time: Arrow opens the readers of all row groups that it is asked for.
            for group in range(*groups):
                size = self._batch_rows(group, names, rows)
                for batch in self._batches(group, names, size):
                    yield batch.select(names)
                self._position += self._bytes(group, names)[0]
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._name} cannot be read: {error}") from error

    def position(self) -> int:
        """Returns the number of bytes of the row groups read so far, those of other columns not counted."""
        return self._position

    def _batches(self, group: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        found: Iterator[pa.RecordBatch] = self._file.iter_batches(
            batch_size=rows, row_groups=[group], columns=columns, use_threads=False
        )
        return found

    def _batch_rows(self, group: int, columns: list[str], rows: int) -> int:
        """Returns the number of rows of a batch, at most `rows`, for which long texts are no more than a few MB."""
        fields = [self.schema.field(name) for name in columns]
        varying = [field.name for field in fields if not _has_width(field.type)]
        count = self._file.metadata.row_group(group).num_rows
        if not varying or not count:
            return rows
        row_bytes = self._bytes(group, varying)[1] / count
        # The file counts a repeated text once. Texts that are not read as a dictionary are repeated in the memory.
        plain = [field.name for field in fields if field.name in varying and not pa.types.is_dictionary(field.type)]
        first = next(self._batches(group, plain, _FIRST_ROWS), None) if plain else None
        if first is not None and first.num_rows:
            row_bytes = max(row_bytes, first.nbytes / first.num_rows)
        return max(min(rows, int(_BATCH_BYTES / max(row_bytes, 1))), 1)

    def _bytes(self, group: int, columns: Sequence[str]) -> tuple[int, int]:
        """Returns the bytes of some columns of a row group, packed and unpacked."""
        own = self._chunks(group, columns)
        return sum(chunk.total_compressed_size for chunk in own), sum(chunk.total_uncompressed_size for chunk in own)

    def _ranges(self, group: int, columns: Sequence[str]) -> list[Range]:
        """Returns the places of the chunks of some columns in the file."""
        found = []
        for chunk in self._chunks(group, columns):
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                start = min(start, chunk.dictionary_page_offset)
            found.append((start, start + chunk.total_compressed_size))
        return found

    def _chunks(self, group: int, columns: Sequence[str]) -> list[Any]:
        """Returns what the file says of the chunks of some columns."""
        wanted, described = set(columns), self._file.metadata.row_group(group)
        chunks = [described.column(place) for place in range(described.num_columns)]
        # The path of a column in a nested one begins with the name of the outer one.
        return [
            chunk
            for chunk in chunks
            if chunk.path_in_schema in wanted or chunk.path_in_schema.partition(".")[0] in wanted
        ]


def _has_width(kind: pa.DataType) -> bool:
    """Returns True if all cells of a type have the same number of bytes."""
    is_number = pa.types.is_primitive(kind) or pa.types.is_decimal(kind)
    return bool(is_number or pa.types.is_null(kind) or pa.types.is_fixed_size_binary(kind))
