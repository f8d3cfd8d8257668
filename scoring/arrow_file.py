"""An Arrow IPC file or stream that is read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import pyarrow as pa

from models.errors import DataError
from scoring.source_file import SourceFile

_MAGIC = b"ARROW1"


class ArrowReader:
    """An open Arrow file or stream.

    Args:
        source: file of the source.

    Raises:
        DataError: the file is neither.
    """

    has_text_numbers = False
    points_are_ambiguous = False

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._name = source.name
        self._open = ExitStack()
        try:
            with source.open_stream() as raw:
                is_file = raw.read(len(_MAGIC)) == _MAGIC
            self._make = pa.ipc.open_file if is_file else pa.ipc.open_stream
            open_raw = source.open if is_file else source.open_stream
            with open_raw() as raw, self._make(raw) as described:
                self.schema = described.schema
            self._raw = self._open.enter_context(open_raw())
        except OSError as error:
            self._open.close()
            raise DataError(f"{source.address} cannot be read: {error.strerror or error}") from error
        except pa.ArrowException as error:
            self._open.close()
            raise DataError(f"{source.name} is neither an Arrow file nor an Arrow stream: {error}") from error
        self._is_file = is_file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def group_rows(self) -> Sequence[int] | None:
        """Returns the number of rows of each batch; None for a stream."""
        if not self._is_file:
            return None
        # The heads of the batches alone are read, and what lies beside them.
        with (
            self._source.open_heads() as source,
            pa.ipc.open_file(source, options=self._of(_narrowest(self.schema))) as reader,
        ):
            return [reader.get_batch(i).num_rows for i in range(reader.num_record_batches)]

    def _of(self, columns: Sequence[str]) -> pa.ipc.IpcReadOptions:
        """Returns options to read some columns; the others are not read from the disk."""
        return pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name) for name in columns])

    def batches(self, groups: tuple[int, int], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields batches of at most `rows` rows with these columns, in this order.

        Raises:
            DataError: the file is damaged.
        """
        try:
            with self._make(self._raw, options=self._of(columns)) as reader:
                whole = map(reader.get_batch, range(*groups)) if self._is_file else iter(reader)
                for batch in whole:
                    chosen = batch.select(list(columns))
                    for start in range(0, chosen.num_rows, rows):
                        yield chosen.slice(start, rows)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self._name} cannot be read: {error}") from error

    def position(self) -> int:
        """Returns the number of bytes read so far."""
        place: int = self._raw.tell()
        return place


def _narrowest(schema: pa.Schema) -> list[str]:
    """Returns the name of a column with few bits a row, if there is one of a fixed width."""
    widths = {field.name: field.type.bit_width for field in schema if pa.types.is_primitive(field.type)}
    return sorted(widths, key=lambda name: widths[name])[:1]
