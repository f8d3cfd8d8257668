"""A CSV file → a table of texts: UTF-8, or UTF-16 with a BOM; cells divided by comma, semicolon or tab.

Arrow reads it block by block, at the speed of C and without ever holding the file. Where Arrow refuses, the file is
read once more by the slow `csv` module with the single aim of naming the line at fault.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from models.cell_text import tidy
from models.errors import DataError
from training.data.mark_evidence import MarkEvidence
from training.data.table import Table, check_names
from training.data.text_column import TextColumn

DELIMITERS = (",", ";", "\t")

_CHUNK = 1 << 22  # bytes
# Bytes that Arrow parses as one piece: a share for each column, so that a block of a wide table still has many rows.
_COLUMN_BLOCK, _MIN_BLOCK, _LARGE_BLOCK = 1 << 17, 1 << 21, 1 << 24
_MAX_BLOCK = 1 << 30  # the same where a record is longer than that; Arrow's own limit is 2³¹
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_csv(path: Path, *, delimiter: str | None = None) -> Table:
    """Reads a CSV file. The first line names the columns; every cell stays a text, or what it says (`TextColumn`).

    A first column without a name, in which pandas and R write the names of the rows, is passed over, and so is a last
    one with neither name nor values, which a delimiter at the ends of the lines makes; a note says so.

    Which mark is the decimal one is told by all cells of the file together (`mark_evidence`).

    Args:
        path: the file.
        delimiter: what divides cells; None finds out from the first line.

    Raises:
        DataError: no readable table; the message names the file, and the line where there is one at fault.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"the delimiter must be one character other than a quote or a line end, got {delimiter!r}.")
    try:
        encoding = _check_text(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    file = _CsvFile(path=path, encoding=encoding, delimiter=delimiter or _sniff(path, encoding))
    names = [tidy(name) for name in next(file.records())[1]]
    nameless = _row_names(names) | file.empty_end(names)
    check_names(names, source=path.name, passed_over=nameless)
    place = {name: i for i, name in enumerate(names) if i not in nameless}
    shown: dict[int, MarkEvidence] = {}
    columns = file.columns(list(place.values()), width=len(names), shown=shown)
    if lost := [i for i, cells in columns.items() if cells is None]:
        columns |= file.columns(lost, width=len(names), keep_texts=True)
    return Table(
        source=path.name,
        columns={name: columns[i] for name, i in place.items()},
        notes=tuple(
            f"Column {i + 1} of {path.name} has no name and was passed over: {why}." for i, why in nameless.items()
        ),
        text=True,
        delimiter=file.delimiter,
        shown={name: shown[i] for name, i in place.items() if i in shown},
        locate=file.where,
        read_texts=lambda name: file.columns([place[name]], width=len(names), keep_texts=True)[place[name]],
    )


def _row_names(names: list[str]) -> dict[int, str]:
    """The place of a column of row names, and what it is; none where there is none."""
    return {0: "pandas and R write the names of rows so"} if len(names) > 1 and not names[0] else {}


@dataclass(frozen=True, kw_only=True)
class _CsvFile:
    path: Path
    encoding: str
    delimiter: str

    def empty_end(self, names: list[str]) -> dict[int, str]:
        """Likewise a last column with neither name nor values."""
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
        shown: dict[int, MarkEvidence] | None = None,
    ) -> dict[int, pa.Array | None]:
        """The cells under the header of some columns, None for those that have to be read with their texts kept.

        Args:
            wanted: places of the columns.
            width: cells of a record.
            keep_texts: whether texts are kept whatever they hold.
            shown: takes what texts that were let go show about their marks, by column.

        Raises:
            DataError: the file is no table.
        """
        longest = min(self.path.stat().st_size + 1, _MAX_BLOCK)
        for block in (min(max(_COLUMN_BLOCK * width, _MIN_BLOCK), _LARGE_BLOCK), longest):
            try:
                columns = {i: TextColumn(keep_texts=keep_texts) for i in wanted}
                is_header = True
                for batch in self._batches(list(wanted), width, block):
                    for column, cells in zip(columns.values(), batch.columns, strict=True):
                        column.add(cells[1:] if is_header else cells)
                    is_header = False
                if shown is not None:
                    shown |= {i: column.evidence for i, column in columns.items() if column.evidence is not None}
                return {i: column.finish() for i, column in columns.items()}
            except pa.ArrowInvalid as error:
                if "straddling" in str(error) and block < longest:
                    continue
                raise self._refusal(error, width) from error
        raise AssertionError("the last block size returns or raises")

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record and the line on which it begins, counted from 1; empty lines are passed over, as Arrow does."""
        begins = 1
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            try:
                for record in reader:
                    if record:
                        yield begins, record
                    begins = reader.line_num + 1
            except csv.Error as error:
                raise DataError(f"{self.path.name}: line {begins} cannot be read as CSV: {error}.") from error

    def where(self, row: int) -> str:
        """The line on which a row begins; the header is the record before row 0."""
        try:
            return f"line {next(itertools.islice(self.records(), row + 1, None))[0]}"
        except (OSError, StopIteration):  # the file is not there any more
            return f"row {row} (counting from 0)"

    def _batches(self, wanted: list[int], width: int, block: int) -> Iterator[pa.RecordBatch]:
        reader = pyarrow.csv.open_csv(
            self.path,
            # The header is read as a row like any other, so that Arrow need not agree with us where it ends.
            read_options=pyarrow.csv.ReadOptions(
                autogenerate_column_names=True, block_size=block, encoding=self.encoding.removesuffix("-sig")
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={f"f{i}": pa.string() for i in range(width)},
                include_columns=[f"f{i}" for i in wanted],
            ),
        )
        with reader:
            yield from reader

    def _refusal(self, error: pa.ArrowInvalid, width: int) -> DataError:
        for line, record in self.records():
            if len(record) != width:
                cells = "1 cell" if len(record) == 1 else f"{len(record)} cells"
                return DataError(f"{self.path.name}: line {line} has {cells} where the first line has {width}.")
        reason = " ".join(str(error).split())[:200].rstrip(".")
        return DataError(f"{self.path.name} cannot be read as CSV: {reason}.")


def _check_text(path: Path) -> str:
    """Reads a file through, and tells its encoding.

    Raises:
        DataError: it is empty, or no text in that encoding.
    """
    lines, is_blank = 1, True
    with path.open("rb") as file:
        chunk = file.read(_CHUNK)
        encoding = next((encoding for bom, encoding in _BOMS if chunk.startswith(bom)), "utf-8")
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                if b"\0" in chunk:
                    raise DataError(f"{path.name} is not a text file.") from None
                line = lines + error.object.count(b"\n", 0, error.start)
                raise DataError(
                    f"{path.name} is not UTF-8: line {line} holds the byte 0x{error.object[error.start]:02x}; "
                    "save it as UTF-8."
                ) from None
            if "\0" in text:
                raise DataError(f"{path.name} is not a text file.")
            is_blank = is_blank and not text.strip()
            lines += text.count("\n")
            if not chunk:
                break
            chunk = file.read(_CHUNK)
    if is_blank:
        raise DataError(f"{path.name} is empty.")
    return encoding


def _sniff(path: Path, encoding: str) -> str:
    """The delimiter that stands most often in the first line, outside quotes; a comma where none does."""
    with path.open(encoding=encoding) as file:
        first = next(line for line in file if line.strip())
    bare = "".join(first.split('"')[::2])  # every other piece is within quotes
    return max(DELIMITERS, key=bare.count)
