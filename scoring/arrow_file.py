"""An Arrow IPC file or stream that is read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from models.errors import DataError

_MAGIC = b"ARROW1"


class ArrowReader:
    """An open Arrow file or stream.

    Args:
        path: path of the file.
        name: name of the file in messages.

    Raises:
        DataError: the file is neither.
    """

    has_text_numbers = False
    points_are_ambiguous = False

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._path = path
        self._open = ExitStack()
        try:
            with path.open("rb") as file:
                is_file = file.read(len(_MAGIC)) == _MAGIC
            # Not a memory map: the pages of a large file would count as memory of this process.
            self._raw = self._open.enter_context(pa.OSFile(str(path)))
            self._make = pa.ipc.open_file if is_file else pa.ipc.open_stream
            self.schema = self._open.enter_context(self._make(self._raw)).schema
        except OSError as error:
            self._open.close()
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        except pa.ArrowException as error:
            self._open.close()
            raise DataError(f"{name} is neither an Arrow file nor an Arrow stream: {error}") from error
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
        # Of a memory map, the pages of the batches' heads alone are read.
        with (
            pa.memory_map(str(self._path)) as source,
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
            self._raw.seek(0)
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
