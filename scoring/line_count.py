"""A stream that counts the lines of a CSV file while Arrow reads the file."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa

_LINE_FEED, _CARRIAGE_RETURN = 10, 13


class LineCount(io.RawIOBase):
    """A stream that counts lines.

    A record of a CSV file has a line of its own, or several lines where a cell in quotes has line ends. So a file of
    more lines than records has such a cell, or a quote that swallows rows.

    Args:
        stream: bytes of the file, unpacked.
        counts_empty: True to count empty lines, which are records of a file with one column.
    """

    def __init__(self, stream: pa.NativeFile, *, counts_empty: bool) -> None:
        self._stream = stream
        self._counts_empty = counts_empty
        self._ended = 0
        self._begun = 0  # bytes of the line that has not ended yet
        self._last = 0  # last byte read

    @property
    def lines(self) -> int:
        """Number of lines so far, the last one with or without its end."""
        return self._ended + (self._begun > 0)

    def readable(self) -> bool:
        """Returns True: the stream can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Returns the next `size` bytes, or all that are left."""
        data: bytes = self._stream.read(None if size < 0 else size)
        if data:
            self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        letters = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(letters == _LINE_FEED)
        if not len(ends):
            self._begun += len(data)
        else:
            self._ended += len(ends)
            if not self._counts_empty:
                lengths = np.diff(ends, prepend=-1 - self._begun) - 1
                before = np.where(ends > 0, letters[ends - 1], self._last)
                is_empty = (lengths == 0) | ((lengths == 1) & (before == _CARRIAGE_RETURN))
                self._ended -= int(np.count_nonzero(is_empty))
            self._begun = len(data) - 1 - int(ends[-1])
        self._last = int(letters[-1])
