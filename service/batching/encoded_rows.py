"""Encoded rows of a large request, in the blocks of the reader, each block in the smallest form."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from models.columns.compact_rows import CompactRows
from service.stream.frames import Buffer


class EncodedRows:
    """Rows in several blocks, one after the other.

    Args:
        compact: form in which compact blocks are held.

    Attributes:
        rows: number of rows.
        row_bytes: number of bytes of one row as sent to a worker.
    """

    def __init__(self, compact: CompactRows) -> None:
        self.rows = 0
        self.row_bytes = 4 * compact.row_width
        self._compact = compact
        self._blocks: list[Buffer | NDArray[np.float32]] = []
        self._starts: list[int] = []  # the first row of each block

    def append(self, block: Buffer | NDArray[np.float32]) -> None:
        """Appends rows, given as bytes of whole rows or as compact rows."""
        self._starts.append(self.rows)
        if isinstance(block, np.ndarray):
            self.rows += len(block)
            self._blocks.append(block)
        else:
            self.rows += len(block) // self.row_bytes
            self._blocks.append(memoryview(block))

    def cut(self, start: int, stop: int) -> list[Buffer]:
        """Returns the rows from `start` up to `stop`, as bytes."""
        at = bisect_right(self._starts, start) - 1
        parts: list[Buffer] = []
        while start < stop:
            first, block = self._starts[at], self._blocks[at]
            if isinstance(block, np.ndarray):
                some = block[start - first : stop - first]
                parts.append(self._compact.expand(some).tobytes())
                start += len(some)
            else:
                parts.append(block[(start - first) * self.row_bytes : (stop - first) * self.row_bytes])
                start += len(parts[-1]) // self.row_bytes
            at += 1
        return parts

    def every(self, start: int, stop: int, step: int) -> bytes:
        """Returns every `step`-th row from `start` up to `stop`, as bytes."""
        parts: list[bytes] = []
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            first, block = self._starts[at], self._blocks[at]
            end = self._starts[at + 1] if at + 1 < len(self._starts) else self.rows
            if isinstance(block, np.ndarray):
                some = block[start - first : stop - first : step]
                parts.append(self._compact.expand(some).tobytes())
            else:
                matrix = np.frombuffer(block, dtype="<f4").reshape(end - first, -1)
                parts.append(matrix[start - first : stop - first : step].tobytes())
            start += -(-(min(end, stop) - start) // step) * step
            at += 1
            while at + 1 < len(self._starts) and self._starts[at + 1] <= start:
                at += 1
        return b"".join(parts)


def encoded_row(data: Buffer | EncodedRows, rows: int, row: int) -> NDArray[np.float32]:
    """Returns one encoded row as sent to a worker, `(width,)` float32.

    Args:
        data: encoded rows of a request.
        rows: number of rows of the request.
        row: position of the row.
    """
    if isinstance(data, EncodedRows):
        [cells] = data.cut(row, row + 1)
    else:
        row_bytes = len(data) // rows
        cells = memoryview(data)[row * row_bytes : (row + 1) * row_bytes]
    return np.frombuffer(cells, dtype="<f4")
