"""Reads a CSV file as a table of texts: compressed or not, in any encoding, with any delimiter.

Arrow reads the file block by block, at the speed of C and without holding the whole file. If Arrow refuses the file,
the slow `csv` module reads it again, only to name the line at fault.
"""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from models.columns.cell_text import tidy
from models.errors import DataError
from training.data.csv_lines import RecordLines, check_quotes
from training.data.delimiters import comment_hint, detect_delimiter, long_cells
from training.data.mark_evidence import MarkEvidence
from training.data.scratch import Scratch, release_pages
from training.data.table import Table, check_names
from training.data.text_column import TextColumn
from training.data.text_file import TextFile, open_text_file
from training.data.text_format import TextFormat

# Bytes that Arrow parses at once: a share for each column, so that a block of a wide table still has many rows.
_COLUMN_BLOCK, _MIN_BLOCK, _LARGE_BLOCK = 1 << 17, 1 << 21, 1 << 24
_MAX_BLOCK = 1 << 30  # bytes parsed at once if a record is longer than that; Arrow's own limit is 2³¹
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")


def read_csv(path: Path, *, delimiter: str | None = None, text_format: TextFormat | None = None) -> Table:
    """Reads a CSV file whose first line names the columns.

    Cells stay texts, or become numbers or dates where no text has to be kept (`TextColumn`).

    A first column without a name is left out: pandas and R write the names of the rows there. A last column with
    neither name nor values is left out too: a delimiter at the ends of the lines makes one. A note says so.

    All cells of the file together decide which mark is the decimal mark (`mark_evidence`).

    Args:
        path: path of the file.
        delimiter: delimiter of the cells, where `text_format` is not given; None to detect it from the first lines.
        text_format: the user's description of the file.

    Raises:
        DataError: the file is not a readable table; the message names the file, and the line at fault if there is one.
    """
    text, mark = detect_delimiter(open_text_file(path, text_format or TextFormat(delimiter=delimiter)))
    if text.format.comment is not None and mark in text.format.comment:
        raise DataError(f"{path.name} is divided by {mark!r}, so no comment can begin with {text.format.comment!r}.")
    file = _CsvFile(text=text, delimiter=mark)
    names = [tidy(name) for name in next(file.records())[1]]
    nameless = _row_name_column(names) | file.empty_end(names)
    _check_header(names, nameless, path.name)
    place = {name: i for i, name in enumerate(names) if i not in nameless}
    shown: dict[int, MarkEvidence] = {}
    columns = file.columns(list(place.values()), width=len(names), shown=shown)
    if unreadable := [i for i, cells in columns.items() if cells is None]:
        columns |= file.columns(unreadable, width=len(names), keep_texts=True)
    rows = len(next(iter(columns.values()))) if columns else 0  # type: ignore[arg-type]  # all are read by now
    if rows + 1 != text.text_lines:
        file.check_quotes()

    @functools.cache
    def unchanged() -> dict[int, pa.Array | None]:
        return file.columns(list(place.values()), width=len(names), as_written=True)  # at once, in one pass

    return Table(
        source=path.name,
        columns={name: columns[i] for name, i in place.items()},
        notes=(
            *text.notes,
            *_numbers_for_names([name for i, name in enumerate(names) if i not in nameless], path.name),
            *(f"Column {i + 1} of {path.name} has no name and was passed over: {why}." for i, why in nameless.items()),
        ),
        text=True,
        delimiter=file.delimiter,
        shown={name: shown[i] for name, i in place.items() if i in shown},
        locate=file.where,
        read_texts=lambda name: file.columns([place[name]], width=len(names), keep_texts=True)[place[name]],
        read_unchanged=lambda name: unchanged()[place[name]],
    )


def _numbers_for_names(names: list[str], source: str) -> list[str]:
    """Returns a note if the first line seems to be a row; columns may be numbered from 0 or 1."""
    counted = [list(map(str, range(first, first + len(names)))) for first in (0, 1)]
    if len(names) < 2 or names in counted or not all(_NUMBER.fullmatch(name) for name in names):
        return []
    return [
        f"The first line of {source} is all numbers ({', '.join(names[:3])}{', …' if len(names) > 3 else ''}) and was "
        "read as the names of the columns: if it is a row, write a line of names above it."
    ]


def _check_header(names: list[str], nameless: dict[int, str], source: str) -> None:
    if len(nameless) == len(names):
        raise DataError(f"the first line of {source} names no column: write the names of the columns there.")
    try:
        check_names(names, source=source, passed_over=nameless)
    except DataError as error:
        if sum(not name for name in names) < 2:
            raise
        raise DataError(
            f"{str(error).rstrip('.')}; if the header stands further below, pass over the lines before it "
            "(--skip-lines N)."
        ) from None


def _row_name_column(names: list[str]) -> dict[int, str]:
    """Returns the index of a column of row names, with the reason to leave the column out; empty without one."""
    return {0: "pandas and R write the names of rows so"} if len(names) > 1 and not names[0] else {}


@dataclass(frozen=True, kw_only=True)
class _CsvFile:
    text: TextFile
    delimiter: str

    @property
    def path(self) -> Path:
        return self.text.path

    def empty_end(self, names: list[str]) -> dict[int, str]:
        """Returns the index of a last column with neither name nor values, with the reason; empty without one."""
        last = len(names) - 1
        if last < 1 or names[last]:
            return {}
        cells = self.columns([last], width=len(names), keep_texts=True)[last]
        is_empty = cells is not None and cells.null_count == len(cells)
        return {last: "the lines end in a delimiter"} if is_empty else {}

    def columns(
        self,
        wanted: list[int],
        *,
        width: int,
        keep_texts: bool = False,
        as_written: bool = False,
        shown: dict[int, MarkEvidence] | None = None,
    ) -> dict[int, pa.Array | None]:
        """Reads the cells below the header of some columns; None for a column that has to be read with texts kept.

        Args:
            wanted: indices of the columns.
            width: number of cells of a record.
            keep_texts: True to keep the texts of all columns.
            as_written: True to keep the texts of all columns unchanged.
            shown: dictionary to which the evidence of decimal marks is added, by column, for texts that are not kept.

        Raises:
            DataError: the file is not a table.
        """
        longest = min(self.text.size + 1, _MAX_BLOCK)
        for block in (min(max(_COLUMN_BLOCK * width, _MIN_BLOCK), _LARGE_BLOCK), longest):
            try:
                scratch = Scratch.for_bytes(self.text.size)
                columns = {i: TextColumn(keep_texts=keep_texts, as_written=as_written, scratch=scratch) for i in wanted}
                is_header = True
                for batch in self._batches(list(wanted), width, block):
                    for column, cells in zip(columns.values(), batch.columns, strict=True):
                        column.add(cells[1:] if is_header else cells)
                    is_header = False
                    release_pages()
                if shown is not None:
                    shown |= {i: column.evidence for i, column in columns.items() if column.evidence is not None}
                return {i: column.finish() for i, column in columns.items()}
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and block < longest:
                    continue
                raise self._refusal(error, width) from error
        raise AssertionError("the last block size returns or raises")

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Yields each record and the number of its first line, from 1; empty lines are skipped, as in Arrow."""
        lines = RecordLines(self.text.lines())
        reader = csv.reader(lines, delimiter=self.delimiter)
        while True:
            lines.taken = []
            try:
                with long_cells():
                    record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(f"{self.path.name}: line {lines.begins} cannot be read as CSV: {error}.") from error
            if record:
                yield lines.begins, record

    def check_quotes(self) -> None:
        """Refuses a cell that a stray quote opens, because that cell swallows the rows that follow.

        Raises:
            DataError: a quote is not closed where it should be; the message names the lines.
        """
        check_quotes(self.text.lines(), self.delimiter, self.path.name)

    def where(self, row: int) -> str:
        """Returns the line on which a row begins; the header is the record before row 0."""
        try:
            return f"line {next(itertools.islice(self.records(), row + 1, None))[0]}"
        except (OSError, StopIteration):  # the file was removed or changed meanwhile
            return f"row {row} (counting from 0)"

    def _batches(self, wanted: list[int], width: int, block: int) -> Iterator[pa.RecordBatch]:
        parse = pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)
        convert = pyarrow.csv.ConvertOptions(
            column_types={f"f{i}": pa.string() for i in range(width)}, include_columns=[f"f{i}" for i in wanted]
        )
        with self.text.stream() as (stream, encoding):
            # Arrow reads the header as a row, so that Arrow and the csv module need not agree on where it ends.
            read = pyarrow.csv.ReadOptions(autogenerate_column_names=True, block_size=block, encoding=encoding)
            with pyarrow.csv.open_csv(
                stream, read_options=read, parse_options=parse, convert_options=convert
            ) as reader:
                yield from reader

    def _refusal(self, error: pa.ArrowInvalid, width: int) -> DataError:
        self.check_quotes()
        records = 0
        for line, record in self.records():
            records += 1
            if len(record) != width:
                cells = "1 cell" if len(record) == 1 else f"{len(record)} cells"
                hint = comment_hint(record[0])
                return DataError(f"{self.path.name}: line {line} has {cells} where the first line has {width}{hint}.")
        if records == 1:  # Arrow reads a single line only if a line end follows
            return DataError(f"{self.path.name} has columns but no rows.")
        reason = " ".join(str(error).split())[:200].rstrip(".")
        return DataError(f"{self.path.name} cannot be read as CSV: {reason}.")
