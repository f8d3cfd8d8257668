"""A CSV file → a table of texts: UTF-8, or UTF-16 with a BOM; cells divided by comma, semicolon or tab.

Arrow reads it, at the speed of C. Where Arrow refuses, the file is read once more by the slow `csv` module with the
single aim of naming the line at fault.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from models.errors import DataError
from training.data.table import Table, check_names

DELIMITERS = (",", ";", "\t")

# The cells that count as missing. pandas' longer list would turn categories such as "None" and "n/a" into gaps.
MISSING = ("", "NA", "NaN", "nan", "null", "NULL")

_MAX_BLOCK = 1 << 30  # bytes that Arrow parses as one piece, below its limit of 2³¹; a cell must lie within one
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def read_csv(path: Path, *, delimiter: str | None = None) -> Table:
    """Reads a CSV file. The first line names the columns; every cell stays a text.

    A file divided by semicolons may write 5,1 for 5.1, as Excel does where the comma is the decimal mark.

    Args:
        path: the file.
        delimiter: what divides cells; None finds out from the first line.

    Raises:
        DataError: no readable table; the message names the file, and the line where there is one at fault.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise DataError(f"the delimiter must be one character other than a quote or a line end, got {delimiter!r}.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    data = _as_utf8(raw, path.name)
    if not data.strip():
        raise DataError(f"{path.name} is empty.")
    divided_by = delimiter or _sniff(data)
    header = next(_records(data, divided_by, path.name))[1]
    names = [name.strip() for name in header]
    check_names(names, source=path.name)
    return Table(
        source=path.name,
        columns=dict(zip(names, _columns(data, divided_by, len(names), path.name), strict=True)),
        text=True,
        decimal="," if divided_by == ";" else ".",
        locate=lambda row: f"line {_line(data, divided_by, path.name, row)}",
    )


def _as_utf8(raw: bytes, name: str) -> bytes:
    encoding = next((encoding for bom, encoding in _BOMS if raw.startswith(bom)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if b"\0" in raw:
            raise DataError(f"{name} is not a text file.") from None
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name} is not UTF-8: line {line} holds the byte 0x{raw[error.start]:02x}; save it as UTF-8."
        ) from None
    if "\0" in text:
        raise DataError(f"{name} is not a text file.")
    return raw if encoding == "utf-8" else text.encode()


def _sniff(data: bytes) -> str:
    """The delimiter that stands most often in the first line, outside quotes; a comma where none does."""
    first = next(line for line in io.StringIO(data.decode(), newline=None) if line.strip())
    bare = "".join(first.split('"')[::2])  # every other piece is within quotes
    return max(DELIMITERS, key=bare.count)


def _columns(data: bytes, delimiter: str, width: int, name: str) -> list[pa.Array]:
    """The cells under the header as text arrays."""
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # The header is read as a row like any other, so that Arrow need not agree with us where it ends.
            read_options=pyarrow.csv.ReadOptions(
                autogenerate_column_names=True, block_size=min(len(data) + 1, _MAX_BLOCK)
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types={f"f{i}": pa.string() for i in range(width)}),
        )
    except pa.ArrowInvalid as error:
        for line, record in _records(data, delimiter, name):
            if len(record) != width:
                cells = "1 cell" if len(record) == 1 else f"{len(record)} cells"
                raise DataError(f"{name}: line {line} has {cells} where the first line has {width}.") from None
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise DataError(f"{name} cannot be read as CSV: {reason}.") from error
    return [_cells(pa.concat_arrays(column.chunks)[1:]) for column in table.columns]


def _cells(texts: pa.StringArray) -> pa.StringArray:
    """The texts without the blanks around them; null for those that count as missing."""
    bare = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(bare, value_set=pa.array(MISSING)), pa.scalar(None, pa.string()), bare)


def _records(data: bytes, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each record and the line on which it begins, counted from 1; empty lines are passed over, as Arrow does."""
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
    begins = 1
    try:
        for record in reader:
            if record:
                yield begins, record
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}: line {begins} cannot be read as CSV: {error}.") from error


def _line(data: bytes, delimiter: str, name: str, row: int) -> int:
    """The line on which a row begins; the header is the record before row 0."""
    return next(itertools.islice(_records(data, delimiter, name), row + 1, None))[0]
