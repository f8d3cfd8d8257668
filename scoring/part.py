"""A part of a job: groups of rows of the source that become one file of answers."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa

from models.errors import DataError, Fault
from scoring.answer_columns import AnswerColumns
from scoring.answering import Answered, BatchAnswerer
from scoring.destination import Destination
from scoring.reading import Groups
from scoring.source_file import SourceFile
from scoring.writing import UNWRITABLE, Writer, writer_of

_MOST_FAULTS = 10_000  # listed of one part


class Piece(NamedTuple):
    """Groups of rows of one file.

    Attributes:
        file: file of the source.
        groups: number of the first group, and the number after the last.
        first_row: number of rows before the first group.
        rows: number of rows; None where the file does not say.
        size: length in bytes, about.
    """

    file: SourceFile
    groups: tuple[int, int]
    first_row: int
    rows: int | None
    size: int


@dataclass(frozen=True)
class Part:
    """A part of a job.

    Attributes:
        number: number of the part in the job, from 0.
        pieces: rows of the part, in order.
    """

    number: int
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, number: int, given: Sequence[tuple[SourceFile, Groups]]) -> Self:
        """Makes a part of groups of files."""
        pieces = (Piece(file, (own.start, own.stop), own.first_row, own.rows, own.size) for file, own in given)
        return cls(number, tuple(pieces))

    @property
    def size(self) -> int:
        """Length in bytes, about."""
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, kw_only=True)
class PartWork:
    """The model and the settings of a job.

    Attributes:
        answerer: model that answers.
        columns: columns of the answers.
        destination: files of the job.
        keep: columns of the source that are written before the answers.
        errors: treatment of rows that do not fit: `refuse`, `skip` or `null`.
        threads: number of threads that answer rows.
    """

    answerer: BatchAnswerer
    columns: AnswerColumns
    destination: Destination
    keep: tuple[str, ...]
    errors: str
    threads: int


class FaultList:
    """The list of a part's rows without an answer, bounded, as a CSV file."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, int, str, str]] = []
        self._more = 0

    def add(self, file: str, first_row: int, faults: Sequence[Fault]) -> None:
        """Adds faults of a batch.

        Args:
            file: name of the file.
            first_row: number of rows of the file before the batch.
            faults: faults with rows of the batch.
        """
        for fault in faults:
            if len(self._rows) == _MOST_FAULTS:
                self._more += 1
            else:
                self._rows.append((file, first_row + fault.row, fault.column or "", fault.message))

    def __len__(self) -> int:
        return len(self._rows)

    def write_to(self, path: Path) -> None:
        """Writes the file."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "row", "column", "reason"])
            writer.writerows(self._rows)
            if self._more:
                writer.writerow(["", "", "", f"and {self._more:,} more, which are not listed"])


class PartWriter:
    """The answers of a part on their way to the disk.

    Args:
        work: model and settings of the job.
        path: temporary path of the answers.
    """

    def __init__(self, work: PartWork, path: Path) -> None:
        self._work = work
        self._path = path
        self._writer: Writer | None = None
        self._kept = pa.schema([])
        self._rows = self._answered = 0
        self._unknown: dict[str, int] = {}

    def open(self, name: str, kept: pa.Schema) -> None:
        """Opens the file, unless rows of another file came before.

        Args:
            name: name of the file of the source.
            kept: schema of the kept columns.

        Raises:
            DataError: the kept columns of the source's files have different types.
        """
        if self._writer is None:
            self._kept = kept
            schema = pa.schema([*kept, *self._work.columns.schema])
            destination = self._work.destination
            self._writer = writer_of(destination.form, self._path, schema, delimiter=destination.delimiter)
            return
        for field, first in zip(kept, self._kept, strict=True):
            if field.type != first.type:
                raise DataError(
                    f"{name}: the kept column {field.name!r} holds {field.type}, and {first.type} in the files before: "
                    "name a folder as --out, which has files of their own."
                )

    def add(self, batch: pa.RecordBatch, answered: Answered) -> None:
        """Writes the answers of a batch.

        Args:
            batch: kept columns and answers.
            answered: answers of the model.

        Raises:
            DataError: the format cannot hold a kept cell.
        """
        with self._writing():
            self._opened().write(batch)
        self._rows += answered.rows
        self._answered += len(answered.answers)
        for column, cells in answered.unknown.items():
            self._unknown[column] = self._unknown.get(column, 0) + cells

    def close(self) -> dict[str, Any]:
        """Completes the file and returns the record of the part.

        Raises:
            DataError: the format cannot hold a kept cell.
        """
        with self._writing():
            self._opened().close()
        return {"rows": self._rows, "answered": self._answered, "unknown": dict(sorted(self._unknown.items()))}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except UNWRITABLE as error:
            destination = self._work.destination
            raise DataError(
                f"{destination.address}: a kept column cannot be written as {destination.form}: {error}. Choose "
                "another format (--format, or the suffix of --out), or leave the column out of --keep."
            ) from error

    def _opened(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("the file of a part is not open yet.")
        return self._writer
