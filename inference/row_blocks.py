"""The row counts that a device computes: a batch is cut into blocks, and each is padded to the next count allowed.

What a matrix product does to a row depends on how many rows it is given, so the counts decide whether a row's answer
depends on its company: docs/decisions/0005-the-same-row-the-same-bits.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

LEAST = 16  # on a CPU, also what the others are multiples of
CPU_FIXED = 64
CUDA_FIXED = 256
_CPU_ROWS = ((1_000_000, 1024), (16_000_000, 256))  # multiply-adds of a row at most → rows that fill a processor
_CPU_ROWS_LEAST = 64
_MAX_NUMBERS = 1 << 24  # in one matrix


class Block(NamedTuple):
    """Some rows of a batch: `rows` of them from `start` on, computed as `padded` rows."""

    start: int
    rows: int
    padded: int


class RowBlocks:
    """Row counts allowed, ascending; a batch larger than the largest becomes several blocks."""

    def __init__(self, sizes: range | list[int]) -> None:
        if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise ValueError(f"row counts must be positive and ascending, got {sizes=}.")
        self.sizes = sizes
        self.smallest = sizes[0]
        self.largest = sizes[-1]

    def padded(self, rows: int) -> int:
        """The count that a block of these rows, `largest` at most, is padded to."""
        return self.sizes[bisect_left(self.sizes, rows)]

    def cut(self, rows: int) -> Iterator[Block]:
        """The blocks of a batch, in order."""
        for start in range(0, rows, self.largest):
            block = min(rows - start, self.largest)
            yield Block(start, block, self.padded(block))


def choices(device_type: str, *, max_batch_rows: int, multiply_adds: int, widest: int) -> list[RowBlocks]:
    """What to try on a device until every row has the same answer in any company, the fastest first.

    Args:
        device_type: torch's `cpu` or `cuda`.
        max_batch_rows: the largest batch that will come.
        multiply_adds: the network's, for one row.
        widest: columns of its widest matrix.
    """
    on_cpu = device_type == "cpu"
    # More rows at once are no faster than these, fall out of caches, and take longer to try.
    most = next((rows for limit, rows in _CPU_ROWS if multiply_adds <= limit), _CPU_ROWS_LEAST) if on_cpu else 4096
    while most > LEAST and most * widest > _MAX_NUMBERS:
        most //= 2
    most = min(most, -(-max_batch_rows // LEAST) * LEAST)
    if on_cpu:
        return [RowBlocks(range(LEAST, most + 1, LEAST)), RowBlocks([CPU_FIXED])]
    # A GPU runs a captured graph for each count, so there are few: powers of two. Whether two counts share a kernel
    # is its library's choice; one count for everything leaves it none, and 256 rows cost a GPU little more than one.
    powers = [LEAST]
    while powers[-1] < most:
        powers.append(powers[-1] * 2)
    return [RowBlocks(powers), RowBlocks([CUDA_FIXED])]
