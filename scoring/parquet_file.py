"""A Parquet file that is read row group by row group, in batches that fit into the memory whatever a group's size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet

from models.errors import DataError
from scoring.cells import is_text

_BUFFER_BYTES = 1 << 20  # read at a time from each column; without a bound, whole column chunks are in the memory


class ParquetReader:
    """An open Parquet file.

    Args:
        path: path of the file.
        name: name of the file in messages.
        texts: columns whose texts are read as dictionaries.

    Raises:
        DataError: the file is not a sound Parquet file.
    """

    has_text_numbers = False

    def __init__(self, path: Path, name: str, texts: Sequence[str] = ()) -> None:
        self._name = name
        self._open = ExitStack()
        try:
            file = self._open.enter_context(path.open("rb"))
            # Arrow refuses dictionaries of columns without texts, so the types are looked at first.
            plain = pyarrow.parquet.read_schema(file) if texts else pa.schema([])
            own = [field.name for field in plain if field.name in set(texts) and is_text(field.type)]
            self._file = self._open.enter_context(
                pyarrow.parquet.ParquetFile(file, read_dictionary=own, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            )
            self._raw = file
        except OSError as error:
            self._open.close()
            raise DataError(f"{path} cannot be read: {error.strerror or 'it is damaged'}.") from error
        except pa.ArrowException as error:
            self._open.close()
            raise DataError(f"{name} is not a sound Parquet file: {error}") from error

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
        try:
            # One row group at a time: Arrow opens the readers of all row groups that it is asked for.
            for group in range(*groups):
                for batch in self._file.iter_batches(
                    batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False
                ):
                    yield batch.select(list(columns))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._name} cannot be read: {error}") from error

    def position(self) -> int:
        """Returns the number of bytes read so far, about."""
        return self._raw.tell()
