"""Lines of a CSV file for the csv module, and the search for a stray quote, which swallows the rows that follow."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from models.errors import DataError
from training.data.delimiters import long_cells

_SHOWN = 60  # characters of a line in a message


class RecordLines:
    """An iterator over lines for the csv module that keeps the lines of the current record.

    Args:
        lines: number and text of each line.

    Attributes:
        taken: number and text of each line since the list was last emptied.
    """

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self.taken: list[tuple[int, str]] = []

    @property
    def begins(self) -> int:
        """The number of the line on which the current record begins."""
        return self.taken[0][0] if self.taken else 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        taken = next(self._lines)
        self.taken.append(taken)
        return taken[1]


class _QuotedLines(RecordLines):
    """The same without the records that are one line and have no quote.

    Args:
        lines: number and text of each line.
        longest: number of characters from which on a record is refused; None for any length.
        name: name of the file in messages.
    """

    def __init__(self, lines: Iterator[tuple[int, str]], longest: int | None, name: str) -> None:
        super().__init__(lines)
        self._longest = longest
        self._name = name
        self._size = 0

    def __next__(self) -> str:
        line = super().__next__()
        while len(self.taken) == 1 and '"' not in line:
            self.taken.clear()
            line = super().__next__()
        self._size = len(line) if len(self.taken) == 1 else self._size + len(line)
        if self._longest is not None and self._size > self._longest:
            raise _stray_quote(self._name, self.taken, "is still open on")
        return line


def check_quotes(lines: Iterator[tuple[int, str]], delimiter: str, name: str, *, longest: int | None = None) -> None:
    """Refuses a cell that a stray quote opens, because that cell swallows the rows that follow.

    Args:
        lines: number and text of each line.
        delimiter: delimiter of the cells.
        name: name of the file in messages.
        longest: number of characters from which on a record is refused, so that the memory is bounded; None for records
            of any length.

    Raises:
        DataError: a quote is not closed where it should be; the message names the lines.
    """
    records = _QuotedLines(lines, longest, name)
    reader = csv.reader(records, delimiter=delimiter)
    with long_cells():
        while next(reader, None) is not None:
            if len(records.taken) > 1 and (reason := _misquoted([line for _, line in records.taken], delimiter)):
                raise _stray_quote(name, records.taken, reason)
            records.taken.clear()


def _stray_quote(name: str, record: list[tuple[int, str]], reason: str) -> DataError:
    (first, text), (last, _) = record[0], record[-1]
    return DataError(
        f"{name}: a quote that begins a cell on line {first} ({text.strip()[:_SHOWN]!r}) {reason} line {last}: take "
        "the quote out, or close the cell."
    )


def _misquoted(record: list[str], delimiter: str) -> str | None:
    try:
        for _ in csv.reader(record, delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "is still open at the end of the file," if "end of data" in str(error) else "is open until"
    return None
