"""The reader of a prediction request in CSV; yields slices of rows in the same form as the JSON reader.

The first line names the columns, in any order. Columns that the model lacks are ignored, so that a table can be sent
with its target and its identifiers. Cells of a numeric column become numbers by the rules of training. A cell that is
not a number stays a text, which the encoder refuses by row and column, or treats as missing. Empty lines are passed
over; in a table of one column, an empty line behind the first line is a row whose cell is missing.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from models.columns.cell_text import bare
from models.columns.cells import listed
from models.columns.column import NumericColumn
from models.columns.encoding import RowEncoder
from models.columns.number_points import NUMBER, PointsSeen, two_readings
from models.errors import Fault, RowError
from service.answer_form import AnswerForm
from service.errors import InvalidRequest

_Body = bytes | bytearray

_DELIMITERS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
_LONGEST_LINE = 1 << 18  # 256 KiB, in bytes
# Python's own limit on a cell is half of that; it holds for the whole process, and no cell is longer than a line.
csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_LINE))
_MOST_LINES = 4096  # of one row, whose cells in quotes may have line ends
_STEP_BYTES = 1 << 15
_STEP_CELLS = 4096
_SPACE_STEP = 1 << 14  # blank lines that are skipped in one step

_PLAIN = frozenset("0123456789+-.eE")


class CsvRequest:
    """A reader of one request.

    Args:
        body: body of the request, as UTF-8 text.
        model: id of the model in the request; None for the default model.
        encoder: encoder of the model's rows.

    Attributes:
        model: id of the model in the request; None for the default model.
        at: number of bytes read so far.
        form: form of the answer.
    """

    form: AnswerForm | None = None

    def __init__(self, body: _Body, model: str | None, encoder: RowEncoder) -> None:
        self.model = model
        self.at = len(_BOM) if body.startswith(_BOM) else 0
        self._body = body
        self._line = 0  # number of the last line read, counted from 1
        self._row_start = self._row_line = 0  # bytes and lines before the present row
        self._encoder = encoder
        self._is_numeric = [isinstance(column, NumericColumn) for column in encoder.schema.columns]
        self._row = 0  # rows read so far
        self._header_names: Sequence[str] = ()
        self._points_are_ambiguous = False
        self._points = PointsSeen()

    def slices(self) -> Iterator[list[Any] | None]:
        """Yields slices of rows in order, and None after a step that gave no rows.

        Raises:
            InvalidRequest: the body is not CSV, or lacks columns of the model.
            RowError: the number of cells of a row differs from the first line, or a number may be read in two ways.
        """
        delimiter, names = yield from self._header()
        self._header_names = names
        places = self._places(names)
        self._points_are_ambiguous = delimiter == ";"
        empty_line = [""] if len(names) == 1 else []  # CSV has no other way to write a missing cell without quotes
        rows: list[list[str]] = []
        begun = self.at
        try:
            self._row_start, self._row_line = self.at, self._line
            for record in csv.reader(self._lines_of_rows(), delimiter=delimiter, strict=True):
                self._row_start, self._row_line = self.at, self._line
                if record := record or empty_line:
                    if len(record) != len(names):
                        raise self._wrong_width(len(record), len(names), self._row + len(rows))
                    rows.append(record)
                if self.at - begun >= _STEP_BYTES or len(rows) * len(names) >= _STEP_CELLS:
                    yield self._taken(rows, places) if rows else None
                    self._row += len(rows)
                    rows, begun = [], self.at
        except csv.Error as error:
            raise self._not_csv(str(error)) from None
        if rows:
            yield self._taken(rows, places)
            self._row += len(rows)
        if not self._row:
            raise InvalidRequest("The body has a line with the columns' names, and no rows.")

    def _header(self) -> Generator[None, None, tuple[str, list[str]]]:
        """Reads the first line that is not blank; returns the delimiter and the names of the columns."""
        text = ""
        for text in self._lines():
            if text.strip():
                break
            if self._line % _SPACE_STEP == 0:
                yield
        unquoted = "".join(text.split('"')[::2])  # every second piece is inside quotes
        delimiter = max(_DELIMITERS, key=unquoted.count)
        try:
            return delimiter, next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise self._not_csv(str(error)) from None

    def _places(self, names: Sequence[str]) -> list[int]:
        """Returns the position of each of the model's columns in a record."""
        wanted = self._encoder.schema.names
        found: dict[str, int] = {}
        for place, name in enumerate(names):
            column = self._encoder.find_name(name)
            if column is not None and found.setdefault(column, place) != place:
                raise InvalidRequest(f"Column {column!r} stands twice in the first line.")
        if missing := [name for name in wanted if name not in found]:
            raise InvalidRequest(
                f"The first line has to name the columns of the model, and lacks {listed(missing)}; "
                f"it is read as {listed(names)}."
            )
        return [found[name] for name in wanted]

    def _taken(self, rows: list[list[str]], places: Sequence[int]) -> list[Any]:
        """Returns the rows with cells in the order of the model's columns, and with numbers parsed."""
        columns = list(zip(*rows, strict=True))
        if self._points_are_ambiguous:
            self._check_points(
                [place for place, is_numeric in zip(places, self._is_numeric, strict=True) if is_numeric], columns
            )
        cells = [
            _numbers(columns[place]) if is_numeric else columns[place]
            for place, is_numeric in zip(places, self._is_numeric, strict=True)
        ]
        return list(map(list, zip(*cells, strict=True)))

    def _check_points(self, places: Sequence[int], columns: Sequence[Sequence[str]]) -> None:
        """Refuses numbers whose point may be a thousands mark, in columns without a certain decimal point so far."""
        for place in places:
            if doubtful := self._points.doubtful(place, columns[place]):
                row, name = columns[place].index(doubtful[0]), self._encoder.find_name(self._header_names[place])
                raise RowError([Fault(self._row + row, name, two_readings(doubtful[0]))])

    def _lines_of_rows(self) -> Iterator[str]:
        """Yields the remaining lines; refuses a row of very many, which are all read in one step."""
        for text in self._lines():
            if self.at - self._row_start > _LONGEST_LINE:
                raise self._not_csv(f"a row of more than {_LONGEST_LINE:,} bytes")
            if self._line - self._row_line > _MOST_LINES:
                raise self._not_csv(f"a row of more than {_MOST_LINES:,} lines")
            yield text

    def _lines(self) -> Iterator[str]:
        """Yields the remaining lines, with their line ends."""
        body, end = self._body, len(self._body)
        while self.at < end:
            stop = body.find(b"\n", self.at, self.at + _LONGEST_LINE) + 1
            if not stop:
                if end - self.at > _LONGEST_LINE:
                    raise self._not_csv(f"a line of more than {_LONGEST_LINE:,} bytes")
                stop = end
            self._line += 1
            try:
                text = str(body[self.at : stop], "utf-8")
            except UnicodeDecodeError as error:
                raise self._not_csv(f"the byte 0x{error.object[error.start]:02x} is not UTF-8") from None
            self.at = stop
            yield text

    def _wrong_width(self, cells: int, wanted: int, row: int) -> RowError:
        count = "1 cell" if cells == 1 else f"{cells} cells"
        return RowError([Fault(row, None, f"line {self._line} has {count} where the first line has {wanted}")])

    def _not_csv(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"The body is not CSV: line {max(self._line, 1)}: {reason}.")


def _numbers(cells: Sequence[str]) -> Sequence[float | str]:
    """Returns the cells of a column as numbers; leaves a cell that is not a number unchanged."""
    if set("".join(cells)) <= _PLAIN:
        try:
            return list(map(float, cells))
        except ValueError:  # an empty cell, for instance
            pass
    return [float(text) if NUMBER.fullmatch(text := bare(cell)) else cell for cell in cells]
