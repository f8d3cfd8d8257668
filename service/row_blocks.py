"""The row counts that a device computes: a batch is cut into blocks, and each is padded to the next count allowed.

What a matrix product does to a row depends on how many rows it is given, so the counts decide whether a row's answer
depends on its company: docs/decisions/0005-the-same-row-the-same-bits.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

CPU_MULTIPLE = 16
CPU_FIXED = 64
CUDA_FIXED = 256
_SMALL_NETWORK = 1_000_000  # multiply-adds of a row; beyond, blocks of 256 rows already fill the processor


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


def choices(device_type: str, max_batch_rows: int, multiply_adds: int) -> list[RowBlocks]:
    """What to try on a device until every row has the same answer in any company, the fastest first.

    Args:
        device_type: torch's `cpu` or `cuda`.
        max_batch_rows: the largest batch that will come.
        multiply_adds: the network's, for one row.
    """
    if device_type == "cpu":
        largest = 1024 if multiply_adds <= _SMALL_NETWORK else 256  # more at once is no faster, and falls out of caches
        largest = min(largest, -(-max_batch_rows // CPU_MULTIPLE) * CPU_MULTIPLE)
        return [RowBlocks(range(CPU_MULTIPLE, largest + 1, CPU_MULTIPLE)), RowBlocks([CPU_FIXED])]
    # A GPU runs a captured graph for each count, so there are few: powers of two. Whether two counts share a kernel
    # is its library's choice; one count for everything leaves it none, and 256 rows cost a GPU little more than one.
    powers = [16]
    while powers[-1] < min(max_batch_rows, 4096):
        powers.append(powers[-1] * 2)
    return [RowBlocks(powers), RowBlocks([CUDA_FIXED])]
