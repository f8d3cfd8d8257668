"""Reading of a source's files as record batches of bounded size, some columns alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from models.columns.cell_text import tidy
from models.columns.row_names import RowNames
from models.errors import DataError
from scoring.arrow_file import ArrowReader
from scoring.csv_file import CsvReader
from scoring.parquet_file import ParquetReader
from scoring.source_file import SourceFile


@dataclass(frozen=True)
class Groups:
    """Consecutive groups of a file's rows that can be read alone.

    Attributes:
        start: number of the first group.
        stop: number after the last group.
        first_row: number of rows before the first group.
        rows: number of rows; None where the file does not say.
        size: length in bytes, about.
    """

    start: int
    stop: int
    first_row: int
    rows: int | None
    size: int


class Reader(Protocol):
    """An open file of rows. Only one thread at a time reads.

    Attributes:
        schema: Arrow schema of the file.
        has_text_numbers: True if numbers stand there as texts.
        points_are_ambiguous: True if the point of a number may be a thousands mark, as where semicolons divide cells.
    """

    @property
    def schema(self) -> pa.Schema:
        """Returns the Arrow schema of the file."""

    @property
    def has_text_numbers(self) -> bool:
        """True if numbers stand there as texts."""

    @property
    def points_are_ambiguous(self) -> bool:
        """True if the point of a number may be a thousands mark."""

    def group_rows(self) -> Sequence[int] | None:
        """Returns the number of rows of each group; None for a file that is read from its beginning alone."""

    def batches(self, groups: tuple[int, int], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields batches of at most `rows` rows with these columns, in this order."""

    def position(self) -> int:
        """Returns the number of bytes read so far, about."""


def opened(
    file: SourceFile, *, names: Sequence[str] = (), texts: Sequence[str] = (), columns: Sequence[str] = ()
) -> AbstractContextManager[Reader]:
    """Opens a file for reading.

    Args:
        file: file of the source.
        names: names of the model's columns, which columns of the file may spell with other blanks.
        texts: columns whose texts are wanted as dictionaries, where the format has them so.
        columns: columns that will be read; none for all.

    Raises:
        DataError: the file cannot be read.
    """
    reader: ParquetReader | CsvReader | ArrowReader
    if file.form == "parquet":
        reader = ParquetReader(file, texts, columns)
    elif file.form == "csv":
        reader = CsvReader(file)
    else:
        reader = ArrowReader(file)
    known = RowNames(names)
    named = [known.find(name) or tidy(name) for name in reader.schema.names]
    return reader if named == reader.schema.names else _RenamedReader(reader, named)


class _RenamedReader:
    """A reader of a file whose columns have blanks around their names, or other spellings that training tidies.

    Args:
        reader: reader of the file.
        names: new names of the columns, in the order of the file.

    Attributes:
        schema: Arrow schema of the file, with the new names.
    """

    def __init__(self, reader: ParquetReader | CsvReader | ArrowReader, names: Sequence[str]) -> None:
        self._reader = reader
        self._names = dict(zip(names, reader.schema.names, strict=True))
        self.schema = pa.schema([field.with_name(name) for field, name in zip(reader.schema, names, strict=True)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    @property
    def has_text_numbers(self) -> bool:
        """True if numbers stand there as texts."""
        return self._reader.has_text_numbers

    @property
    def points_are_ambiguous(self) -> bool:
        """True if the point of a number may be a thousands mark."""
        return self._reader.points_are_ambiguous

    def group_rows(self) -> Sequence[int] | None:
        """Returns the number of rows of each group; None for a file that is read from its beginning alone."""
        return self._reader.group_rows()

    def batches(self, groups: tuple[int, int], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields batches of at most `rows` rows with these columns, in this order."""
        for batch in self._reader.batches(groups, [self._names[name] for name in columns], rows):
            yield batch.rename_columns(list(columns))

    def position(self) -> int:
        """Returns the number of bytes read so far, about."""
        return self._reader.position()


def groups_of(file: SourceFile, *, rows: int) -> list[Groups]:
    """Cuts a file into groups of rows, each a part of the output.

    Args:
        file: file of the source.
        rows: number of rows from which on a part is complete.
    """
    with opened(file) as reader:
        counts = reader.group_rows()
    if counts is None:
        return [Groups(0, 1, 0, None, file.size)]
    if not counts:
        return [Groups(0, 0, 0, 0, file.size)]
    total = max(sum(counts), 1)
    found: list[Groups] = []
    start = first_row = held = 0
    for place, count in enumerate(counts):
        held += count
        if held >= rows or place == len(counts) - 1:
            found.append(Groups(start, place + 1, first_row, held, file.size * held // total))
            start, first_row, held = place + 1, first_row + held, 0
    return found


def check_columns(name: str, present: Sequence[str], wanted: Sequence[str], why: str) -> None:
    """Refuses a file that lacks columns or has a name twice.

    Raises:
        DataError: a column is missing, or there twice.
    """
    lacking = [column for column in wanted if column not in present]
    if lacking:
        listed = ", ".join(map(repr, lacking[:10])) + (", …" if len(lacking) > 10 else "")
        there = ", ".join(map(repr, present[:10])) + (", …" if len(present) > 10 else "")
        what = "column" if len(lacking) == 1 else "columns"
        raise DataError(f"{name} lacks the {what} {listed}, {why}; its columns are {there}.")
    twice = next((column for column in wanted if list(present).count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has the column {twice!r} twice: rename one of them.")
