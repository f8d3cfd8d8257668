"""The row counts that a device computes: a batch is cut into blocks, and each block is padded to an allowed count.

The rounding of a row in a matrix product depends on the product's number of rows. So the row counts decide whether a
network is batch-invariant: docs/decisions/0005-the-same-row-the-same-bits.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

LEAST = 16  # on a CPU, all row counts are multiples of this one
CPU_FIXED = 64
CUDA_LEAST = 32  # without workspace, cuBLAS adds in one order from this row count on (cublas.py)
CUDA_FIXED = 256
_CPU_ROWS = ((1_000_000, 1024), (16_000_000, 256))  # up to these multiply-adds per row → rows that fill a processor
_CPU_ROWS_LEAST = 64
_MAX_NUMBERS = 1 << 24  # in one matrix


class Block(NamedTuple):
    """A block of consecutive rows of a batch.

    Attributes:
        start: index of the first row.
        rows: number of rows.
        padded: number of rows that the device computes.
    """

    start: int
    rows: int
    padded: int


class RowBlocks:
    """The allowed row counts, ascending; a batch larger than the largest becomes several blocks."""

    def __init__(self, sizes: range | list[int]) -> None:
        if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise ValueError(f"row counts must be positive and ascending, got {sizes=}.")
        self.sizes = sizes
        self.smallest = sizes[0]
        self.largest = sizes[-1]

    def padded(self, rows: int) -> int:
        """Returns the allowed row count for a block of at most `largest` rows."""
        return self.sizes[bisect_left(self.sizes, rows)]

    def cut(self, rows: int) -> Iterator[Block]:
        """Yields the blocks of a batch, in order."""
        for start in range(0, rows, self.largest):
            block = min(rows - start, self.largest)
            yield Block(start, block, self.padded(block))


def choices(device_type: str, *, max_batch_rows: int, multiply_adds: int, widest: int) -> list[RowBlocks]:
    """Returns the choices of row counts to test on a device until one is batch-invariant, the fastest first.

    Args:
        device_type: type of the torch device, `cpu` or `cuda`.
        max_batch_rows: number of rows of the largest batch.
        multiply_adds: multiply-adds of the network for one row.
        widest: number of columns of the network's widest matrix.
    """
    on_cpu = device_type == "cpu"
    # Larger blocks are no faster than these, do not fit into caches, and take longer to test.
    most = next((rows for limit, rows in _CPU_ROWS if multiply_adds <= limit), _CPU_ROWS_LEAST) if on_cpu else 4096
    while most > LEAST and most * widest > _MAX_NUMBERS:
        most //= 2
    most = min(most, -(-max_batch_rows // LEAST) * LEAST)
    if on_cpu:
        return [RowBlocks(range(LEAST, most + 1, LEAST)), RowBlocks([CPU_FIXED])]
    # A GPU has a captured graph for each count, so there are only a few counts: powers of two. The GPU's library
    # decides if two counts share a kernel. With one count for all batches it has no choice.
    powers = [min(CUDA_LEAST, most)]
    while powers[-1] < most:
        powers.append(powers[-1] * 2)
    return [RowBlocks(powers), RowBlocks([CUDA_FIXED])]
