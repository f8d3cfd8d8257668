"""Encoded rows of a large request, in the blocks in which they were read."""

from __future__ import annotations

from bisect import bisect_right

from service.stream.frames import Buffer


class EncodedRows:
    """Rows in several blocks of bytes, one after the other.

    Args:
        row_bytes: number of bytes of one row.
    """

    __slots__ = ("_blocks", "_starts", "row_bytes", "rows")

    def __init__(self, row_bytes: int) -> None:
        self.row_bytes = row_bytes
        self.rows = 0
        self._blocks: list[memoryview] = []
        self._starts: list[int] = []  # the first row of each block

    def append(self, block: Buffer) -> None:
        """Adds the next rows."""
        self._starts.append(self.rows)
        self._blocks.append(memoryview(block))
        self.rows += len(block) // self.row_bytes

    def cut(self, start: int, stop: int) -> list[Buffer]:
        """Gives the rows from `start` up to `stop`, without a copy."""
        at = bisect_right(self._starts, start) - 1
        parts: list[Buffer] = []
        while start < stop:
            first = self._starts[at]
            block = self._blocks[at][(start - first) * self.row_bytes : (stop - first) * self.row_bytes]
            parts.append(block)
            start += len(block) // self.row_bytes
            at += 1
        return parts
