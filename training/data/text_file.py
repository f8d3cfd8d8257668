"""Reads a text file, compressed or not, in any encoding, as numbered lines or as a stream of bytes for Arrow.

The first bytes decide the compression, not the file's name. Lines that the user skips are left out here, so that every
reader of the file sees the same lines.
"""

from __future__ import annotations

import codecs
import io
import itertools
import lzma
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.errors import DataError
from training.data.text_encoding import check_is_no_markup, encoding_of, is_unicode, not_encoded, not_text
from training.data.text_format import TextFormat

BLANK = " "  # delimiter of the user's that stands for any run of blanks
TAB = "\t"  # delimiter that replaces a run of blanks in the lines read

_CHUNK = 1 << 22  # bytes
_LINES = 4_096  # lines encoded at a time
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bz2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\x00", "xz"),
)
_ENDS = re.compile(r"\r\n|\n|\r")
_REST_OF_QUOTED = re.compile(r'(?:[^"]|"")*"?')
# A run of blanks, or a quoted cell, in which blanks are text. A quote inside a cell is an ordinary character.
_BLANK_RUN = re.compile(r'(?<![^ \t])"(?:[^"]|"")*"|[ \t]+')
_CONTROLS = re.compile("[\x80-\x9f]")
# Characters before a quote that begins a cell. In a doubled quote, the second one opens the cell again.
_OPENS = frozenset(',;|\t "')


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A readable text file.

    Attributes:
        path: path of the file.
        compression: gzip, zstd, bz2, lz4 or xz; None if the file is not compressed.
        encoding: character encoding.
        size: number of bytes of the uncompressed text.
        text_lines: number of lines that are not empty.
        format: the user's description of the file.
        divides_blanks: True to replace each run of blanks by a tab, and to strip blanks at both ends of lines.
        lacks_name: True if the header, divided by blanks, lacks the name of the first column; an empty name is added.
        padded_after: delimiter after which blanks before a quote are removed; None to keep blanks.
        notes: sentences on the encoding for the user.
    """

    path: Path
    compression: str | None
    encoding: str
    size: int
    text_lines: int
    format: TextFormat
    divides_blanks: bool = False
    lacks_name: bool = False
    padded_after: str | None = None
    notes: tuple[str, ...] = ()

    def with_blanks_divided(self, *, lacks_name: bool = False) -> TextFile:
        """Returns the same file with a tab instead of each run of blanks."""
        return replace(self, divides_blanks=True, lacks_name=lacks_name)

    def with_blanks_before_quotes_cut(self, delimiter: str) -> TextFile:
        """Returns the same file without the blanks between a delimiter and a quote, as in `, "x, y"`."""
        return replace(self, padded_after=delimiter)

    def without_lines(self, count: int) -> TextFile:
        """Returns the same file without its first `count` lines."""
        return replace(self, format=replace(self.format, skip_lines=count))

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yields each line that is not skipped: its number in the file, from 1, and its text with the line end."""
        comment, lacks_name = self.format.comment, self.lacks_name
        padded = re.compile(rf'(?:^|(?<={re.escape(self.padded_after or ",")})) *"(?:[^"]|"")*"?')
        is_quoted = False
        with self._opened() as file, _text(file, self.encoding) as text:
            for number, line in enumerate(text, start=1):
                if number <= self.format.skip_lines:
                    continue
                if comment is not None and not is_quoted and line.lstrip().startswith(comment):
                    continue
                was_quoted = is_quoted
                if comment is not None or self.padded_after is not None:
                    is_quoted = ends_quoted(line, is_quoted)
                if self.divides_blanks:
                    line = _divided(line)
                    if lacks_name and line.strip():
                        line, lacks_name = TAB + line, False
                elif self.padded_after is not None:
                    line = _unpadded(line, padded, was_quoted)
                yield number, line

    @contextmanager
    def stream(self) -> Iterator[tuple[Any, str]]:
        """Opens the file for Arrow: a stream of bytes, and the encoding of the stream."""
        if self._is_rewritten:
            # Arrow may still read ahead in a thread after it is closed, so the last owner of the lines closes them.
            yield pa.PythonFile(_Utf8Stream(self.lines()), mode="r"), "utf-8"
            return
        with self._opened() as file:
            yield file, "utf-8" if self.encoding == "utf-8-sig" else self.encoding

    @property
    def _is_rewritten(self) -> bool:
        is_shorter = self.format.skip_lines > 0 or self.format.comment is not None
        return is_shorter or self.divides_blanks or self.padded_after is not None

    def _opened(self) -> Any:
        return _opened(self.path, self.compression)


def open_text_file(path: Path, text_format: TextFormat) -> TextFile:
    """Reads a file once to the end, to determine its compression, encoding and size.

    Raises:
        DataError: the file cannot be read, is empty, is not a text, or is not valid in its encoding.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path} cannot be read as CSV: it is a folder.")
        return _checked(path, text_format)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}.") from None
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"{path} cannot be read: {reason}.") from error


def compression_of(path: Path) -> str | None:
    """Returns the compression that the first bytes of a file show; None for no known one."""
    with path.open("rb") as file:
        head = file.read(8)
    return next((name for magic, name in _COMPRESSIONS if head.startswith(magic)), None)


def ends_quoted(line: str, is_quoted: bool) -> bool:
    """Returns True if a quoted cell is open at the end of a line.

    Args:
        line: one line of a file.
        is_quoted: True if a quoted cell is open at the beginning of the line.
    """
    at = line.find('"')
    while at >= 0:
        is_quoted = not is_quoted and (at == 0 or line[at - 1] in _OPENS)
        at = line.find('"', at + 1)
    return is_quoted


def _opened(path: Path, compression: str | None) -> Any:
    if compression == "xz":
        return lzma.open(path)
    # Arrow cannot open a file whose name is not Unicode.
    file = pa.OSFile(str(path)) if is_unicode(str(path)) else path.open("rb")
    return file if compression is None else pa.CompressedInputStream(file, compression)


@contextmanager
def _text(file: Any, encoding: str) -> Iterator[io.TextIOWrapper]:
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        yield text
    finally:
        text.detach()  # the caller closes the file


def _checked(path: Path, text_format: TextFormat) -> TextFile:
    compression = compression_of(path)
    counted = _Counted()
    has_controls = False  # True if an ISO encoding yields control characters, where Windows has € and quotes
    is_other = False  # True if the text is valid UTF-8 beyond ASCII, although another encoding is used
    with _opened(path, compression) as file:
        chunk = file.read(_CHUNK)
        encoding = encoding_of(path, chunk, text_format)
        as_utf8 = None if encoding.startswith("utf") else codecs.getincrementaldecoder("utf-8")()
        decoder = codecs.getincrementaldecoder(encoding)()
        while True:
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise not_encoded(path, chunk, error, counted.lines, encoding, text_format) from None
            except UnicodeError as error:  # raised by a whole codec, such as one that requires a byte order mark
                reason = f"{error}; name another encoding (--encoding)."
                raise DataError(f"{path.name} is not {encoding}: {reason}") from None
            if "\0" in text:
                line = counted.lines + text.count("\n", 0, text.index("\0"))
                raise not_text(path, chunk, line)
            has_controls = has_controls or (encoding.startswith("iso8859") and _CONTROLS.search(text) is not None)
            if counted.is_blank:
                check_is_no_markup(path, text)
            counted.add(text)
            if as_utf8 is not None:
                try:
                    is_other |= not as_utf8.decode(chunk, final=not chunk).isascii()
                except UnicodeDecodeError:
                    as_utf8 = None
            if not chunk:
                break
            chunk = file.read(_CHUNK)
    if counted.is_blank:
        raise DataError(f"{path.name} is empty.")
    return TextFile(
        path=path,
        compression=compression,
        encoding=encoding,
        size=counted.size,
        text_lines=counted.text_lines,
        format=text_format,
        notes=_notes(path, encoding, is_utf8=as_utf8 is not None and is_other, has_controls=has_controls),
    )


def _notes(path: Path, encoding: str, *, is_utf8: bool, has_controls: bool) -> tuple[str, ...]:
    notes = []
    if is_utf8:
        notes.append(
            f"{path.name} is sound UTF-8, but was read as {encoding}, as asked: if letters look odd, omit --encoding."
        )
    if has_controls:
        notes.append(
            f"{path.name} holds control characters when it is read as {encoding}: if € or quotes are missing, it is in "
            "cp1252 (--encoding cp1252)."
        )
    return tuple(notes)


class _Counted:
    """Counts of a text that is read piece by piece.

    Attributes:
        lines: number of the line that is being read, from 1.
        size: upper limit of the number of bytes in UTF-8.
        is_blank: True if the text so far is white space only.
    """

    def __init__(self) -> None:
        self.lines = 1
        self.size = 0
        self.is_blank = True
        self._ended = 0  # complete lines that are not empty
        self._is_begun = False  # True if the line that is being read is not empty

    @property
    def text_lines(self) -> int:
        """The number of lines that are not empty."""
        return self._ended + self._is_begun

    def add(self, text: str) -> None:
        """Counts the next piece of the text."""
        self.size += len(text) if text.isascii() else 4 * len(text)
        self.is_blank = self.is_blank and not text.strip()
        first, *others = _ENDS.split(text) if "\r" in text else text.split("\n")
        self._is_begun = self._is_begun or bool(first)
        if others:
            self.lines += text.count("\n")
            self._ended += self._is_begun + sum(map(bool, others[:-1]))
            self._is_begun = bool(others[-1])


class _Utf8Stream(io.RawIOBase):
    """Lines as a stream of bytes, encoded a few thousand at a time."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._left = b""

    def readable(self) -> bool:
        """Returns True: the stream can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Returns the next `size` bytes, or all that are left."""
        pieces, length = [self._left], len(self._left)
        while size < 0 or length < size:
            some = list(itertools.islice(self._lines, _LINES))
            if not some:
                break
            pieces.append("".join(line for _, line in some).encode())
            length += len(pieces[-1])
        whole = b"".join(pieces)
        size = length if size < 0 else size
        self._left = whole[size:]
        return whole[:size]


def _unpadded(line: str, padded: re.Pattern[str], is_quoted: bool) -> str:
    """Removes the blanks before the quoted cells of a line; blanks inside cells stay.

    Args:
        line: one line of a file.
        padded: pattern of a quoted cell with the blanks before it.
        is_quoted: True if the line begins inside a quoted cell.
    """
    inside = _REST_OF_QUOTED.match(line) if is_quoted else None
    begins = 0 if inside is None else inside.end()
    return line[:begins] + padded.sub(lambda cell: cell[0].lstrip(" "), line[begins:])


def _divided(line: str) -> str:
    """Replaces each run of blanks outside quotes by one tab, and strips the blanks at both ends of a line."""
    text = line.rstrip("\r\n")
    end = line[len(text) :]
    return _BLANK_RUN.sub(lambda run: run[0] if run[0][0] == '"' else TAB, text.strip(" \t")) + end
