"""A CSV file that is read block by block; all cells are texts, whose meaning the columns of the model decide."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.csv

from models.errors import DataError
from scoring.line_count import LineCount
from scoring.source_file import SourceFile
from training.data.csv_lines import check_quotes

_BLOCK_BYTES = 1 << 22
_LONGEST_RECORD = 1 << 23  # characters; Arrow cannot parse a record that is longer than two blocks
_HEAD_BYTES = 1 << 20  # of the first line at most
_DELIMITERS = ",;\t|"
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


class CsvReader:
    """An open CSV file, packed or not.

    The delimiter is the one of comma, semicolon, tab and bar that cuts the first line into the most names.

    Args:
        source: file of the source.

    Raises:
        DataError: the file cannot be read, or is empty.
    """

    has_text_numbers = True

    def __init__(self, source: SourceFile) -> None:
        self._name = source.name
        self._source = source
        self._open = ExitStack()
        head = self._head()
        counts = {sign: head.count(sign) for sign in _DELIMITERS}
        delimiter = max(counts, key=lambda sign: counts[sign])
        self.points_are_ambiguous = delimiter == ";"
        self._parsing = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        names = self._names(head)
        # In a file of one column, an empty line is a row with a missing value.
        self._parsing.ignore_empty_lines = len(names) > 1
        self._raw = self._open.enter_context(source.open_stream())
        self.schema = pa.schema([pa.field(column, pa.string()) for column in names])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def group_rows(self) -> None:
        """Returns None: the rows of a CSV file have no index."""

    def batches(self, groups: tuple[int, int], columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Yields batches of at most `rows` rows with these columns, in this order.

        Raises:
            DataError: a row has another number of cells, a stray quote swallows rows, or the file is damaged.
        """
        converting = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=list(columns),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        )
        stream = self._open.enter_context(self._stream(self._raw))
        parsing = self._parsing
        counted = LineCount(stream, delimiter=parsing.delimiter, counts_empty=not parsing.ignore_empty_lines)
        try:
            records = 1  # the names of the columns
            reading = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
            with pyarrow.csv.open_csv(
                pa.PythonFile(counted, mode="r"),
                read_options=reading,
                parse_options=parsing,
                convert_options=converting,
            ) as reader:
                for batch in reader:
                    records += batch.num_rows
                    for start in range(0, batch.num_rows, rows):
                        yield batch.slice(start, rows)
            if counted.has_strays and counted.lines != records:
                self._check_quotes()
        except (OSError, pa.ArrowException) as error:
            if counted.has_strays and isinstance(error, pa.ArrowInvalid):
                self._check_quotes()
            raise DataError(f"{self._name} cannot be read: {error}") from error

    def _check_quotes(self) -> None:
        """Refuses a cell that a stray quote opens, because that cell swallows the rows that follow."""
        with self._source.open_stream() as raw, self._stream(raw) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
            try:
                check_quotes(enumerate(text, start=1), self._parsing.delimiter, self._name, longest=_LONGEST_RECORD)
            finally:
                text.detach()  # Arrow closes the stream

    def position(self) -> int:
        """Returns the number of bytes read so far, packed ones of a packed file."""
        place: int = self._raw.tell()
        return place

    def _stream(self, raw: pa.NativeFile) -> pa.NativeFile:
        codec = _CODECS.get(PurePosixPath(self._name).suffix.lower())
        return raw if codec is None else pa.CompressedInputStream(raw, codec)

    def _head(self) -> str:
        try:
            with self._source.open_stream() as raw, self._stream(raw) as stream:
                data: bytes = stream.read(_HEAD_BYTES)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"{self._source.address} cannot be read: {getattr(error, 'strerror', None) or error}."
            ) from error
        first = data.partition(b"\n")[0]
        if not first.strip():
            raise DataError(f"{self._name} is empty: the first line has to name the columns.")
        try:
            return first.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self._name} is not UTF-8: convert it first (iconv -t utf-8).") from error

    def _names(self, head: str) -> list[str]:
        # Parsed by Arrow, so that quotes mean the same as in the rows.
        try:
            table = pyarrow.csv.read_csv(pa.BufferReader((head + "\n").encode()), parse_options=self._parsing)
        except pa.ArrowException as error:
            raise DataError(f"{self._name}: the first line does not name columns: {error}") from error
        return list(table.column_names)
