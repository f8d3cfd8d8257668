"""The reader of a large prediction request in JSON; yields slices of rows, so that no step blocks the event loop.

A slice ends where a row seems to end, and is then parsed. If the parser accepts the slice, the cut was right: JSON is
read from left to right, so a text that begins with a row and parses as complete rows ends with a row. If the parser
fails at the very end of the slice, the cut was inside a text, and the slice is made longer. If the parser fails
earlier, the body is not JSON.

Rows longer than a slice are read in the same way, some of their cells at a time.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.http.wire.bulk_json import HINT_BYTES, NumberReader

SLICE_BYTES = 128 * 1024
_LONGEST_ROW_SLICE = 2 * SLICE_BYTES  # a longer row is read some cells at a time
_LONGEST_VALUE = 2 * SLICE_BYTES  # longest text, because a text is not divided
_SHORTEST_SLICE = SLICE_BYTES // 1024
_LONGEST_KEY = 4096
_SPACE_STEP = 1 << 20

_CLOSING = {b"[": b"]", b"{": b"}"}
_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
_VALUE_START = re.compile(rb'[\[{"0-9tfn-]')
_TAIL = re.compile(rb'(?<!\\)"model"\s*:\s*"([A-Za-z0-9._@-]{1,300})"\s*\}\s*\Z')
_TAIL_BYTES = 512
_ROWS_FIRST = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"instances"[ \t\n\r]*:')
_NOTHING_BEHIND_ROWS = re.compile(rb"\][ \t\n\r]*\}[ \t\n\r]*")

Body = bytes | bytearray
Rows = list[Any] | NDArray[np.float64]
Steps = Iterator[None]


class RequestShape(Exception):
    """An error for JSON that is not a prediction request.

    Attributes:
        document: short document with the same fault.
    """

    def __init__(self, document: object) -> None:
        self.document = document
        super().__init__()


class RowTooWide(Exception):
    """An error for a row with too many cells.

    Attributes:
        row: number of the row, counted from 0.
        cells: largest number of cells.
    """

    def __init__(self, row: int, cells: int) -> None:
        self.row, self.cells = row, cells
        super().__init__()


def model_last(body: Body) -> str | None:
    """Returns the model's id if a request seems to end with the id, or None; only the reader is certain."""
    found = _TAIL.search(body[-_TAIL_BYTES:])
    return None if found is None else found[1].decode()


def names_no_model(body: Body) -> bool:
    """Returns True if a request certainly names no model: the rows come first, and no other key follows."""
    end = body.rfind(b"]")
    if end < 0 or len(body) - end > HINT_BYTES:  # megabytes of blanks, say: left to the reader, which works in steps
        return False
    return _ROWS_FIRST.match(body, 0, HINT_BYTES) is not None and _NOTHING_BEHIND_ROWS.fullmatch(body, end) is not None


class SlicedRequest:
    """A reader of one request.

    Args:
        body: JSON text of the request.
        most_cells: largest number of cells in a row.
        numbers: fast reader for slices of numbers; None if the model's rows cannot be plain numbers.

    Attributes:
        model: id of the model; None before the id was read, and for a request without an id.
        at: number of bytes read so far.
    """

    def __init__(self, body: Body, *, most_cells: int, numbers: NumberReader | None) -> None:
        self.model: str | None = None
        self.at = 0
        self._body = body
        self._end = len(body)
        self._most_cells = most_cells
        self._numbers = numbers
        self._row = 0  # rows read so far

    def slices(self) -> Iterator[Rows | None]:
        """Yields slices of rows in order, and None after a step that gave no rows.

        Raises:
            InvalidRequest: the body is not JSON, or a value is too long.
            RequestShape: the body is JSON, but not a prediction request.
            RowTooWide: a row has too many cells.
        """
        yield from self._skip_space()
        if self._byte() != b"{":
            raise RequestShape([]) if _VALUE_START.match(self._byte()) else self._not_json("unexpected character")
        keys: set[str] = set()
        self.at += 1
        yield from self._skip_space()
        while True:
            key = self._read_text("a key")
            yield from self._skip_space()
            self._expect(b":")
            yield from self._skip_space()
            if key in keys:
                raise InvalidRequest(f"The body is not a prediction request: {key!r} stands twice.")
            keys.add(key)
            if key == "instances":
                yield from self._rows()
            elif key == "model":
                self._read_model()
            else:
                raise RequestShape({"instances": [[]], key: None})
            yield from self._skip_space()
            if self._byte() != b",":
                break
            self.at += 1
            yield from self._skip_space()
        self._expect(b"}")
        yield from self._skip_space()
        if self.at != self._end:
            raise self._not_json("unexpected content after the document")
        if "instances" not in keys:
            raise RequestShape({})

    def _rows(self) -> Iterator[Rows | None]:
        if self._byte() != b"[":
            raise RequestShape({"instances": None})
        self.at += 1
        yield from self._skip_space()
        if self._byte() == b"]":
            raise RequestShape({"instances": []})
        while True:
            rows = self._cut()
            if rows is None:
                rows = yield from self._long_row()
            self._row += len(rows)
            yield rows
            yield from self._skip_space()
            if self._byte() == b"]":
                self.at += 1
                return
            self._expect(b",")
            yield from self._skip_space()

    def _cut(self) -> Rows | None:
        """Reads a slice of complete rows; returns None if the first row is longer than a slice."""
        for stop in self._stops(_LONGEST_ROW_SLICE):
            for end in self._row_ends(stop):
                text = b"".join((b"[", self._body[self.at : end], b"]"))
                rows: Rows | None = None if self._numbers is None else self._numbers.read(text)
                if rows is None:
                    rows, end = self._parse(text, b"]", end)
                if rows is not None:
                    self.at = end
                    return rows
        return None

    def _row_ends(self, stop: int) -> Iterator[int]:
        """Yields positions before `stop` where a row may end, the most likely first."""
        body, at = self._body, self.at
        last = body.rfind(b"]", at, stop)
        if stop == self._end and last > at:
            yield last  # the bracket that closes the list of rows; no bracket follows it in a request
        kinds = (b"},", b"],") if body[at : at + 1] == b"{" else (b"],", b"},")  # the first kind matches most often
        for kind in kinds:
            end = body.rfind(kind, at, stop)
            if end > at:
                yield end + 1
        if last > at:
            yield last + 1
            yield last
        for mark, more in ((b"}", 1), (b",", 0)):
            end = body.rfind(mark, at, stop)
            if end > at:
                yield end + more

    def _long_row(self) -> Generator[None, None, Rows]:
        """Reads one row, some of its cells at a time."""
        opening = self._byte()
        closing = _CLOSING.get(opening)
        if closing is None:
            raise self._too_long()
        cells: list[Any] = []
        names: dict[str, Any] = {}
        self.at += 1
        while True:
            yield from self._skip_space()
            if self._byte() in (b",", closing):  # a long row is not empty
                raise self._not_json("a value is expected")
            some = self._cut_cells(opening, closing)
            if isinstance(some, dict):
                names |= some
            else:
                cells += some
            if len(cells) + len(names) > self._most_cells:
                raise RowTooWide(self._row, self._most_cells)
            yield from self._skip_space()
            is_last = self._byte() == closing
            self._expect(closing if is_last else b",")
            if is_last:
                return [names or cells]
            yield

    def _cut_cells(self, opening: bytes, closing: bytes) -> list[Any] | dict[str, Any]:
        """Reads a slice of complete cells."""
        for stop in self._stops(_LONGEST_VALUE):
            body, at = self._body, self.at
            # The first closing bracket ends the row, unless it is inside a text. The last one is at its end or beyond.
            ends = body.find(closing, at, stop), body.rfind(b",", at, stop), body.rfind(closing, at, stop) + 1
            for end in ends:
                if end > at:
                    text = b"".join((opening, body[at:end], closing))
                    some: list[Any] | dict[str, Any] | None
                    some, end_of_some = self._parse(text, closing, end)
                    if some is not None:
                        self.at = end_of_some
                        return some
        if self._end - self.at > _LONGEST_VALUE:
            raise self._too_long()
        raise self._not_json("unexpected end", self._end)

    def _stops(self, longest: int) -> Iterator[int]:
        """Yields positions before which to look for the end of a slice; the first gives the usual length of a slice.

        A slice ends at the last comma or bracket before the position. If that is inside a text, the next position is
        tried.
        """
        window = SLICE_BYTES
        while window >= _SHORTEST_SLICE:
            yield min(self.at + window, self._end)
            window //= 4
        while self.at + SLICE_BYTES < self._end and window < longest:
            window = 2 * max(window, SLICE_BYTES)
            yield min(self.at + window, self._end)

    def _parse(self, text: bytes, closing: bytes, end: int) -> tuple[Any, int]:
        """Parses a slice.

        Args:
            text: slice between an opening and a closing bracket.
            closing: closing bracket.
            end: position in the body after the slice.

        Returns:
            The content of the slice, or None if the slice ends inside a value; and the position in the body where the
            content ends. The position is before `end` if the slice includes the bracket that closes the content.
        """
        try:
            return orjson.loads(text), end
        except orjson.JSONDecodeError as error:
            if not error.doc:  # orjson keeps no document that is not UTF-8
                raise self._not_json(error.msg) from None
            if error.pos >= len(error.doc) - 1:
                return None, end
            before = len(error.doc[: error.pos].encode())
            reason = error.msg
        with contextlib.suppress(orjson.JSONDecodeError):
            found = orjson.loads(text[:before])
            return found, self._body.rfind(closing, self.at, self.at + before - 1)
        raise self._not_json(reason, self.at + before - 1)

    def _read_model(self) -> None:
        if self._byte() == b'"':
            self.model = self._read_text("the model's id")
        elif self._body[self.at : self.at + 4] == b"null":
            self.at += 4
        elif _VALUE_START.match(self._byte()):
            raise RequestShape({"instances": [[]], "model": 0})
        else:
            raise self._not_json("unexpected character")

    def _read_text(self, what: str) -> str:
        found = _STRING.match(self._body[self.at : self.at + _LONGEST_KEY])
        if found is None:
            if self._byte() == b'"' and self._end - self.at > _LONGEST_KEY:
                raise InvalidRequest(f"The body is not a prediction request: {what} has over {_LONGEST_KEY:,} bytes.")
            raise self._not_json("a text is expected")
        try:
            text: str = orjson.loads(found[0])
        except orjson.JSONDecodeError as error:
            raise self._not_json(error.msg) from None
        self.at += found.end()
        return text

    def _skip_space(self) -> Steps:
        while True:
            found = _SPACE.match(self._body, self.at, self.at + _SPACE_STEP)
            assert found is not None  # noqa: S101 -- the pattern also matches an empty text
            self.at = found.end()
            if found.end() - found.start() < _SPACE_STEP:
                return
            yield

    def _byte(self) -> bytes:
        return bytes(self._body[self.at : self.at + 1])

    def _expect(self, mark: bytes) -> None:
        if self._byte() != mark:
            at_end = self.at == self._end
            raise self._not_json("unexpected end" if at_end else f"{mark.decode()!r} is expected")
        self.at += 1

    def _too_long(self) -> InvalidRequest:
        detail = f"Row {self._row}: a value of more than {_LONGEST_VALUE:,} bytes begins at byte {self.at}."
        return InvalidRequest(detail)

    def _not_json(self, reason: str, at: int | None = None) -> InvalidRequest:
        return InvalidRequest(f"The body is not JSON: {reason} at byte {self.at if at is None else at}.")
