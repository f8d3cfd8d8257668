"""The plan of the requests for a file in a bucket: few and large ones, for the bytes that will be read alone."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from scoring.source_file import Range

# One request: at 50 MB/s, as one connection to a bucket has, its bytes take twice as long as the wait for the first
# one, and a slow line gets the bytes through before the request times out.
BLOCK_BYTES = 4 << 20
HELD_BYTES = 128 << 20  # blocks of one file in the memory
_LEAST_BLOCK_BYTES = 1 << 16
_GAP_BYTES = 1 << 18  # bytes between two chunks that are read along, because a request more costs more


class RangePlan:
    """The blocks of a file that will be read, in the order of their need.

    The chunks of a row group's columns are read side by side, each from its beginning to its end. So small chunks that
    lie near each other are one block, a large chunk is several ones, and the first blocks of all chunks come first.

    Args:
        groups: ranges that are read side by side, group by group.

    Attributes:
        blocks: blocks in the order of their need.
        held_bytes: bytes of blocks that are in the memory at most.
    """

    def __init__(self, groups: Iterable[Sequence[Range]] = ()) -> None:
        self.blocks: list[Range] = []
        self.held_bytes = HELD_BYTES
        for ranges in groups:
            chunks = sorted(one for one in ranges if one[1] > one[0])
            if not chunks:
                continue
            # Each chunk has a block that is read and one that is on the way.
            self.held_bytes = max(self.held_bytes, 2 * len(chunks) * _LEAST_BLOCK_BYTES)
            self.blocks += _blocks(chunks, self.held_bytes)
        self._sorted = sorted((start, end, order) for order, (start, end) in enumerate(self.blocks))
        self._starts = [start for start, _, _ in self._sorted]

    def find(self, place: int) -> int | None:
        """Returns the number of the block that has the byte at a place; None for a byte that was not planned."""
        at = bisect_right(self._starts, place) - 1
        return self._sorted[at][2] if at >= 0 and place < self._sorted[at][1] else None

    def next_start(self, place: int) -> int | None:
        """Returns the first byte of the next block behind a place; None behind the last block."""
        at = bisect_right(self._starts, place)
        return self._starts[at] if at < len(self._starts) else None


def _blocks(chunks: Sequence[Range], held_bytes: int) -> list[Range]:
    """Returns the blocks of one row group in the order of their need."""
    size = BLOCK_BYTES
    if sum(end - start for start, end in chunks) > held_bytes // 2:
        size = max(min(held_bytes // (2 * len(chunks)), BLOCK_BYTES), _LEAST_BLOCK_BYTES)
    runs: list[list[int]] = []
    for start, end in chunks:
        if runs and start - runs[-1][1] <= _GAP_BYTES and end - runs[-1][0] <= size:
            runs[-1][1] = max(end, runs[-1][1])
        else:
            runs.append([start, end])
    needed: list[tuple[float, Range]] = []
    for start, end in runs:
        count = -(-(end - start) // size)
        for block in range(count):
            cut = (start + (end - start) * block // count, start + (end - start) * (block + 1) // count)
            needed.append((block / count, cut))
    return [cut for _, cut in sorted(needed)]
