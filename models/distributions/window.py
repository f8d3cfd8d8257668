"""A window: counts of rows that were served in a while, and how much the counts vary between blocks of rows.

Rows of one client often come in runs of similar rows, so a window of 2,000 rows may hold much less news than 2,000
independent rows. The sums of squared counts over blocks of rows that came one after the other show by how much:
`models.distributions.evaluation.design_effect`. Longer blocks detect longer runs, shorter ones measure more
precisely.

All numbers of a window can be added over processes.
"""

from __future__ import annotations

import struct
import time

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = (100, 400)
_LEVELS = len(BLOCK_ROWS)
_HEAD = struct.Struct(f"<qddq{_LEVELS}q")  # number, began, ended, rows, blocks; then counts and squares, float64


class Window:
    """The counts of one window of one model version in one process, or summed over processes.

    Args:
        number: number of the window, which all processes count together.
        slots: number of slots.
        began: time of the start, in seconds since 1970; None for now.

    Attributes:
        ended: time of the last counted row, in seconds since 1970.
        rows: number of counted rows.
        counts: `(slots,)` counts.
        blocks: number of complete blocks of each length.
        squares: `(lengths, slots)` sums over complete blocks of the squared count divided by the rows of the block.
    """

    def __init__(self, number: int, slots: int, began: float | None = None) -> None:
        self.number = number
        self.began = self.ended = time.time() if began is None else began
        self.rows = 0
        self.blocks = [0] * _LEVELS
        self.counts: NDArray[np.float64] = np.zeros(slots)
        self.squares: NDArray[np.float64] = np.zeros((_LEVELS, slots))
        self._growing: NDArray[np.float64] = np.zeros((_LEVELS, slots))
        self._growing_rows = [0] * _LEVELS

    def add(self, counts: NDArray[np.int64], rows: int) -> None:
        """Adds the counts of consecutive rows, at most as many as in a short block."""
        self.ended = time.time()
        if not self.rows:
            self.began = self.ended
        self.rows += rows
        self.counts += counts
        self._growing += counts
        for level, length in enumerate(BLOCK_ROWS):
            self._growing_rows[level] += rows
            if self._growing_rows[level] >= length:
                self._end_block(level)

    def _end_block(self, level: int) -> None:
        self.squares[level] += self._growing[level] ** 2 / self._growing_rows[level]
        self.blocks[level] += 1
        self._growing[level] = 0
        self._growing_rows[level] = 0

    def snapshot(self) -> Window:
        """Returns a copy in which the blocks that still grow count as complete."""
        copy = Window(self.number, len(self.counts), self.began)
        copy.ended, copy.rows, copy.blocks = self.ended, self.rows, self.blocks.copy()
        copy.counts, copy.squares = self.counts.copy(), self.squares.copy()
        copy._growing, copy._growing_rows = self._growing.copy(), self._growing_rows.copy()
        for level in range(_LEVELS):
            if copy._growing_rows[level]:
                copy._end_block(level)
        copy._growing = np.empty((_LEVELS, 0))  # nothing is added to a snapshot
        return copy

    def merge(self, other: Window) -> None:
        """Adds another process's snapshot of the same window."""
        if other.rows:
            self.began = min(self.began, other.began) if self.rows else other.began
            self.ended = max(self.ended, other.ended) if self.rows else other.ended
        self.rows += other.rows
        self.blocks = [ours + theirs for ours, theirs in zip(self.blocks, other.blocks, strict=True)]
        self.counts += other.counts
        self.squares += other.squares

    def to_bytes(self) -> bytes:
        """Returns a snapshot as bytes, for `from_bytes`."""
        whole = self.snapshot()
        head = _HEAD.pack(whole.number, whole.began, whole.ended, whole.rows, *whole.blocks)
        return head + whole.counts.astype("<f8").tobytes() + whole.squares.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, slots: int) -> Window:
        """Reads the result of `to_bytes`.

        Raises:
            ValueError: the bytes are of another number of slots.
        """
        if len(data) != cls.size(slots):
            raise ValueError(f"{len(data)} bytes where a window has {cls.size(slots)}.")
        number, began, ended, rows, *blocks = _HEAD.unpack_from(data)
        window = cls(number, slots, began)
        window.ended, window.rows, window.blocks = ended, rows, blocks
        numbers = np.frombuffer(data, "<f8", offset=_HEAD.size).reshape(1 + _LEVELS, slots)
        window.counts, window.squares = numbers[0].copy(), numbers[1:].copy()
        return window

    @staticmethod
    def size(slots: int) -> int:
        """Returns the number of bytes of a window."""
        return _HEAD.size + 8 * (1 + _LEVELS) * slots
