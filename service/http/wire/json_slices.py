"""The reader of a large prediction request in Axon's own JSON; yields slices of rows, so that no step takes long."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any

from service.errors import InvalidRequest
from service.http.wire.bulk_json import HINT_BYTES, NumberReader
from service.http.wire.json_cutter import Elements, SliceCutter
from service.http.wire.json_text import USUAL_SIZES, Body, JsonText, SliceSizes

_TAIL = re.compile(rb'(?<!\\)"model"\s*:\s*"([A-Za-z0-9._@-]{1,300})"\s*\}\s*\Z')
_TAIL_BYTES = 512
_ROWS_FIRST = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"instances"[ \t\n\r]*:')
_NOTHING_BEHIND_ROWS = re.compile(rb"\][ \t\n\r]*\}[ \t\n\r]*")


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
        sizes: numbers of bytes read at a time.

    Attributes:
        model: id of the model; None before the id was read, and for a request without an id.
        members: number of members of an ensemble that answer; None before it was read, and for all members.
        level: level of the intervals or sets; None before it was read, and for an answer without.
    """

    def __init__(
        self, body: Body, *, most_cells: int, numbers: NumberReader | None, sizes: SliceSizes = USUAL_SIZES
    ) -> None:
        self.model: str | None = None
        self.members: int | None = None
        self.level: float | None = None
        self._text = JsonText(body, sizes=sizes)
        self._rows = SliceCutter(self._text, numbers=numbers, noun="Row")
        self._most_cells = most_cells

    @property
    def at(self) -> int:
        """Number of bytes read so far."""
        return self._text.at

    def slices(self) -> Iterator[Elements | None]:
        """Yields slices of rows in order, and None after a step that gave no rows.

        Raises:
            InvalidRequest: the body is not JSON, or a value is too long.
            RequestShape: the body is JSON, but not a prediction request.
            RowTooWide: a row has too many cells.
        """
        text = self._text
        yield from text.skip_space()
        if text.byte() != b"{":
            raise RequestShape([]) if text.at_value() else text.not_json("unexpected character")
        keys: set[str] = set()
        text.at += 1
        yield from text.skip_space()
        while True:
            key = text.read_text("a key")
            yield from text.skip_space()
            text.expect(b":")
            yield from text.skip_space()
            if key in keys:
                raise InvalidRequest(f"The body is not a prediction request: {key!r} stands twice.")
            keys.add(key)
            if key == "instances":
                yield from self._read_rows()
            elif key == "model":
                self._read_model()
            elif key == "members":
                self._read_members()
            elif key == "intervals":
                self._read_level()
            else:
                raise RequestShape({"instances": [[]], key: None})
            yield from text.skip_space()
            if text.byte() != b",":
                break
            text.at += 1
            yield from text.skip_space()
        text.expect(b"}")
        yield from text.finish()
        if "instances" not in keys:
            raise RequestShape({})

    def _read_rows(self) -> Iterator[Elements | None]:
        text = self._text
        if text.byte() != b"[":
            raise RequestShape({"instances": None})
        text.at += 1
        yield from text.skip_space()
        if text.byte() == b"]":
            raise RequestShape({"instances": []})
        while True:
            rows = yield from self._rows.cut()
            if rows is None:
                rows = yield from self._long_row()
            yield rows
            yield from text.skip_space()
            if text.byte() == b"]":
                text.at += 1
                return
            text.expect(b",")
            yield from text.skip_space()

    def _long_row(self) -> Generator[None, None, Elements]:
        """Reads one row, some of its cells at a time."""
        row = self._rows.read
        cells: list[Any] = []
        names: dict[str, Any] = {}
        for found in self._rows.long_element():
            if found is not None:
                some = found[1]
                if isinstance(some, dict):
                    names |= some
                else:
                    cells += some
                if len(cells) + len(names) > self._most_cells:
                    raise RowTooWide(row, self._most_cells)
            yield
        return [names or cells]

    def _read_model(self) -> None:
        text = self._text
        if text.byte() == b'"':
            self.model = text.read_text("the model's id")
        elif text.body[text.at : text.at + 4] == b"null":
            text.at += 4
        elif text.at_value():
            raise RequestShape({"instances": [[]], "model": 0})
        else:
            raise text.not_json("unexpected character")

    def _read_members(self) -> None:
        members = self._read_scalar("members")
        if members is not None and (type(members) is not int or members < 1):
            raise RequestShape({"instances": [[]], "members": members})
        self.members = members

    def _read_level(self) -> None:
        level = self._read_scalar("intervals")
        if level is not None and (type(level) not in (int, float) or not 0 < level < 1):
            raise RequestShape({"instances": [[]], "intervals": level})
        self.level = level

    def _read_scalar(self, name: str) -> Any:
        """Returns the value of an option, which is no list and no object."""
        text = self._text
        if text.byte() in (b"[", b"{"):
            raise RequestShape({"instances": [[]], name: []})
        return text.read_scalar()
