"""A JSON text that is read token by token, with errors that name the position in bytes.

What a large text consists of mostly is read by `json_cutter`, many values at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from service.errors import InvalidRequest

Body = bytes | bytearray
Steps = Iterator[None]

LONGEST_TEXT = 4096  # bytes of a text that is read as a token
_SPACE = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"')  # all but the check of escapes
_PLAIN_SCALAR = re.compile(rb"-?[0-9][0-9.eE+-]*+|[A-Za-z]++")
_VALUE_START = re.compile(rb'[\[{"0-9tfn-]')
_NAN, _NULL = b"NaN", b"null"
_MARK = b"nul\xff"  # as long as `null`; the last byte stands in no UTF-8 text
_ESCAPES = ((b"\\\\", b"\xfe\xfe"), (b'\\"', b"\xff\xff"))


@dataclass(frozen=True, slots=True)
class SliceSizes:
    """The numbers of bytes that the readers of large JSON texts take at a time.

    Attributes:
        first: bytes of the first slice of an array; most arrays are not large.
        usual: bytes of a usual slice.
        longest: bytes of the longest slice, and of the longest value in it.
        scanned: bytes that are searched by all marks of JSON, where a quick cut fails.
        space: bytes of white space skipped in one step.
    """

    first: int = 4096
    usual: int = 128 * 1024
    longest: int = 256 * 1024
    scanned: int = 32 * 1024
    space: int = 512 * 1024


USUAL_SIZES = SliceSizes()


class Broken(Exception):
    """An error for a text that is not JSON.

    Args:
        reason: message of the parser.
        at: position of the fault in the text, in bytes.
        size: number of bytes of the text.

    Attributes:
        reason: message of the parser.
        at: position of the fault in the text, in bytes.
        ends_early: True if the fault is at the last byte of the text, or behind it.
    """

    def __init__(self, reason: str, at: int, size: int) -> None:
        self.reason = reason
        self.at = at
        self.ends_early = at >= size - 1
        super().__init__()


class JsonText:
    """A JSON text with a position.

    Args:
        body: JSON text.
        sizes: numbers of bytes taken at a time.
        takes_nan: True if the token `NaN` stands for None.

    Attributes:
        at: number of bytes read so far.
        body: JSON text.
        sizes: numbers of bytes taken at a time.
        end: position behind the text, in bytes.
        takes_nan: True if the token `NaN` stands for None.
    """

    def __init__(self, body: Body, *, sizes: SliceSizes = USUAL_SIZES, takes_nan: bool = False) -> None:
        self.at = 0
        self.body = body
        self.end = len(body)
        self.sizes = sizes
        self.takes_nan = takes_nan

    def part(self, start: int, end: int, sizes: SliceSizes) -> JsonText:
        """Returns a part of the text, with positions in the same body.

        Args:
            start: position of the first byte.
            end: position behind the last byte.
            sizes: numbers of bytes taken at a time.
        """
        part = JsonText(self.body, sizes=sizes, takes_nan=self.takes_nan)
        part.at, part.end = start, end
        return part

    def skip_space(self) -> Steps:
        """Skips white space, and yields between steps."""
        size = self.sizes.space
        while True:
            found = _SPACE.match(self.body, self.at, self.at + size)
            assert found is not None  # noqa: S101 -- the pattern also matches an empty text
            self.at = found.end()
            if found.end() - found.start() < size:
                return
            yield

    def ahead(self, size: int) -> bytes:
        """Returns the next bytes, at most `size`."""
        return bytes(self.body[self.at : min(self.at + size, self.end)])

    def byte(self) -> bytes:
        """Returns the next byte; nothing at the end of the text."""
        return bytes(self.body[self.at : self.at + 1])

    def expect(self, mark: bytes) -> None:
        """Reads a mark.

        Raises:
            InvalidRequest: another byte is there.
        """
        if self.byte() != mark:
            at_end = self.at == self.end
            raise self.not_json("unexpected end" if at_end else f"{mark.decode()!r} is expected")
        self.at += 1

    def at_value(self) -> bool:
        """Returns True if the next byte can begin a value."""
        return _VALUE_START.match(self.byte()) is not None

    def read_text(self, what: str) -> str:
        """Reads a text.

        Args:
            what: name of the text for messages.

        Raises:
            InvalidRequest: the next token is not a text, or is too long.
        """
        found = _STRING.match(self.body, self.at, self.at + LONGEST_TEXT)
        if found is None:
            if self.byte() == b'"' and self.end - self.at > LONGEST_TEXT:
                raise self.refused(f"{what} has over {LONGEST_TEXT:,} bytes", self.at)
            raise self.not_json("a text is expected")
        text: str = self._read_token(bytes(found[0]))
        return text

    def read_scalar(self) -> Any:
        """Reads a text, a number, true, false or null.

        Raises:
            InvalidRequest: the next token is none of these, or is too long.
        """
        if self.byte() == b'"':
            return self.read_text("a text")
        found = _PLAIN_SCALAR.match(self.body, self.at, self.at + LONGEST_TEXT)
        if found is None:
            raise self.not_json("unexpected end" if self.at == self.end else "unexpected character")
        if found.end() - self.at == LONGEST_TEXT:
            raise self.refused(f"a number has over {LONGEST_TEXT:,} bytes", self.at)
        return self._read_token(bytes(found[0]))

    def _read_token(self, token: bytes) -> Any:
        try:
            value = self.parse(token)
        except Broken as broken:
            raise self.not_json(broken.reason, self.at + broken.at) from None
        self.at += len(token)
        return value

    def parse(self, text: bytes) -> Any:
        """Parses a part of the text.

        Raises:
            Broken: the part is not JSON.
        """
        given = text
        if has_nan := self.takes_nan and _NAN in text:
            given = _with_nan_as(_NULL, text)
        try:
            return orjson.loads(given)
        except orjson.JSONDecodeError as error:
            at = _position(error, given)
            if has_nan:
                at -= _with_nan_as(_MARK, text)[:at].count(_MARK)
            raise Broken(error.msg, at, len(text)) from None

    def finish(self) -> Steps:
        """Skips the white space behind the document.

        Raises:
            InvalidRequest: there is more than white space.
        """
        yield from self.skip_space()
        if self.at != self.end:
            raise self.not_json("unexpected content after the document")

    def not_json(self, reason: str, at: int | None = None) -> InvalidRequest:
        """Returns the error for a text that is not JSON.

        Args:
            reason: reason in a few words.
            at: position of the fault in bytes; None for the present position.
        """
        return InvalidRequest(f"The body is not JSON: {reason} at byte {self.at if at is None else at}.")

    def refused(self, reason: str, at: int) -> InvalidRequest:
        """Returns the error for a text that is JSON, but not a request.

        Args:
            reason: reason in a few words.
            at: position of the fault in bytes.
        """
        return InvalidRequest(f"The body is not a prediction request: {reason} at byte {at}.")


def _with_nan_as(mark: bytes, text: bytes) -> bytes:
    """Returns a text with a mark in place of each `NaN` outside of texts.

    A few operations over the whole text do this, because a loop in Python would take too long for one step.
    """
    if b'"' not in text:
        return text.replace(_NAN, mark)
    if has_escapes := b"\\" in text:
        if b"\xfe" in text or b"\xff" in text:  # not UTF-8, so the parser refuses the text
            return text
        for escape, stand_in in _ESCAPES:
            text = text.replace(escape, stand_in)
    parts = text.split(b'"')  # every second part is inside a text
    parts[::2] = b'"'.join(parts[::2]).replace(_NAN, mark).split(b'"')
    text = b'"'.join(parts)
    if has_escapes:
        for escape, stand_in in _ESCAPES:
            text = text.replace(stand_in, escape)
    return text


def _position(error: orjson.JSONDecodeError, text: bytes) -> int:
    """Returns the position of a fault in a text, in bytes; the parser counts characters."""
    if error.doc:
        return len(error.doc[: error.pos].encode())
    try:  # the parser keeps no document that is not UTF-8
        text.decode()
    except UnicodeDecodeError as fault:
        return fault.start
    return 0
