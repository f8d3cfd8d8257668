"""The text format: the user's description of a text file's delimiter, encoding and first lines."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from models.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """Options of a text file that the user gives; the reader determines those that are None.

    Attributes:
        delimiter: character between two cells; a space stands for any run of blanks.
        encoding: name of a character encoding that Python knows.
        skip_lines: number of lines before the header.
        comment: text at the beginning of lines that are skipped.

    Raises:
        DataError: a value is not valid.
    """

    delimiter: str | None = None
    encoding: str | None = None
    skip_lines: int = 0
    comment: str | None = None

    def __post_init__(self) -> None:
        _check_delimiter(self.delimiter)
        _check_encoding(self.encoding)
        _check_comment(self.comment)
        if isinstance(self.skip_lines, bool) or not isinstance(self.skip_lines, int) or self.skip_lines < 0:
            raise DataError(f"skip_lines must be a whole number of lines, at least 0, got {self.skip_lines!r}.")
        if self.comment is not None and self.delimiter is not None and self.delimiter in self.comment:
            raise DataError(f"comment {self.comment!r} contains the delimiter {self.delimiter!r}: change one of them.")


def _check_delimiter(delimiter: str | None) -> None:
    if delimiter is None:
        return
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise DataError(f"the delimiter must be one character other than a quote or a line end, got {delimiter!r}.")
    if not delimiter.isascii():
        # Arrow splits UTF-8 bytes at a single byte.
        raise DataError(f"the delimiter must be an ASCII character, got {delimiter!r}.")


def _check_encoding(encoding: str | None) -> None:
    if encoding is None:
        return
    try:
        b"a".decode(encoding, errors="ignore")  # raises for codecs that do not return texts, such as base64
        codecs.getincrementaldecoder(encoding)()
    except (LookupError, UnicodeError, ValueError, TypeError):
        raise DataError(
            f"{encoding!r} is not a character encoding: utf-8, utf-16, cp1252 and latin-1 are some."
        ) from None


def _check_comment(comment: str | None) -> None:
    if comment is None:
        return
    if not isinstance(comment, str) or not comment.strip() or any(end in comment for end in '"\r\n'):
        raise DataError(f"comment must be the text that such lines begin with, such as '#', got {comment!r}.")
