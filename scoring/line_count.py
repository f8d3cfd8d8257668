"""A stream that counts the lines of a CSV file and looks at the quotes, while Arrow reads the file."""

from __future__ import annotations

import codecs
import io
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_LINE_FEED, _CARRIAGE_RETURN, _QUOTE = 10, 13, 34


class LineCount(io.RawIOBase):
    """A stream that counts lines.

    A record of a CSV file has a line of its own, or several lines where a cell in quotes has line ends. So a file of
    more lines than records has such a cell, or a quote that swallows rows.

    Args:
        stream: bytes of the file, unpacked.
        delimiter: delimiter of the cells.
        counts_empty: True to count empty lines, which are records of a file with one column.
    """

    def __init__(self, stream: pa.NativeFile, *, delimiter: str, counts_empty: bool) -> None:
        self._stream = stream
        self._counts_empty = counts_empty
        self._ended = 0
        self._begun = 0  # bytes of the line that has not ended yet
        self._last = _LINE_FEED  # last byte read
        self._is_first = True
        self._borders = np.zeros(256, dtype=np.bool_)  # bytes that may stand beside a cell in quotes
        self._borders[[ord(delimiter), _LINE_FEED, _CARRIAGE_RETURN, _QUOTE]] = True
        self._is_quoted = self._is_stray = self._has_closed = False

    @property
    def lines(self) -> int:
        """Number of lines so far, the last one with or without its end."""
        return self._ended + (self._begun > 0)

    @property
    def has_strays(self) -> bool:
        """True if a quote so far is neither at an end of a cell nor doubled, or if a cell in quotes is still open."""
        return self._is_stray or self._is_quoted

    def readable(self) -> bool:
        """Returns True: the stream can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Returns the next `size` bytes, or all that are left."""
        data: bytes = self._stream.read(None if size < 0 else size)
        if data:
            letters = np.frombuffer(data, dtype=np.uint8)
            if self._is_first and data.startswith(codecs.BOM_UTF8):
                letters = letters[len(codecs.BOM_UTF8) :]
            self._is_first = False
            if len(letters):
                self._count(letters)
                self._check_quotes(letters, has_quotes=b'"' in data)
                self._last = int(letters[-1])
        return data

    def _count(self, letters: NDArray[np.uint8]) -> None:
        ends = np.flatnonzero(letters == _LINE_FEED)
        if not len(ends):
            self._begun += len(letters)
            return
        self._ended += len(ends)
        if not self._counts_empty:
            lengths = np.diff(ends, prepend=-1 - self._begun) - 1
            is_empty = (lengths == 0) | ((lengths == 1) & (self._before(letters, ends) == _CARRIAGE_RETURN))
            self._ended -= int(np.count_nonzero(is_empty))
        self._begun = len(letters) - 1 - int(ends[-1])

    def _check_quotes(self, letters: NDArray[np.uint8], *, has_quotes: bool) -> None:
        """Looks at the bytes before the quotes that open a cell and behind those that close one.

        In a doubled quote, the first closes the cell and the second opens the cell again. So, where no quote is stray,
        every second quote opens.
        """
        if self._has_closed:
            self._is_stray |= not self._borders[letters[0]]
            self._has_closed = False
        if not has_quotes or self._is_stray:
            return
        places = np.flatnonzero(letters == _QUOTE)
        opening, closing = places[int(self._is_quoted) :: 2], places[1 - int(self._is_quoted) :: 2]
        if len(closing) and closing[-1] == len(letters) - 1:
            self._has_closed, closing = True, closing[:-1]
        is_sound = self._borders[self._before(letters, opening)].all() and self._borders[letters[closing + 1]].all()
        self._is_stray = not is_sound
        self._is_quoted ^= len(places) % 2 == 1

    def _before(self, letters: NDArray[np.uint8], places: NDArray[Any]) -> NDArray[np.uint8]:
        """Returns the bytes before some places."""
        return np.where(places > 0, letters[places - 1], np.uint8(self._last))
