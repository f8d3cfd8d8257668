"""The check that a row's answer is the same, bit for bit, whoever stands beside it in a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.fuse import Affine
from service.inference.row_blocks import RowBlocks

PROBES = 8

Float32Array = NDArray[np.float32]


def is_batch_invariant(
    forward: Callable[[Float32Array], Float32Array], first: Affine, blocks: RowBlocks, *, seed: int = 0
) -> bool:
    """Whether probe rows alone are answered as they are at random places of batches of many sizes.

    Evidence and not proof: it tries 8 rows, and the edges and the ends of the sizes.

    Args:
        forward: (rows, in_features) → (rows, out_features).
        first: the network's first stage, to draw rows for which neither the product nor the bias drowns the other.
        blocks: the row counts that `forward` pads to.
        seed: of the rows drawn.
    """
    rng = np.random.default_rng(seed)
    probes = _draw(first, PROBES, rng)  # (8, in_features)
    alone = np.concatenate([forward(probe[None]) for probe in probes])  # (8, out_features)
    company = _draw(first, max(sizes := trial_sizes(blocks)), rng)
    for rows in sizes:
        batch = company[:rows].copy()
        places = rng.permutation(rows)[:PROBES]
        batch[places] = probes[: len(places)]
        if forward(batch)[places].tobytes() != alone[: len(places)].tobytes():
            return False
    return True


def trial_sizes(blocks: RowBlocks) -> list[int]:
    """Batch sizes to try: just under, at and past the counts where kernels are known to change; the largest last."""
    counts = [size for size in blocks.sizes if size & (size - 1) == 0 or size in {48, 80, 144, 272}]
    tried = {2, blocks.smallest - 1, *counts, *(count + 1 for count in counts[:4]), blocks.largest}
    return sorted(size for size in tried if 0 < size <= blocks.largest)


def _draw(first: Affine, rows: int, rng: np.random.Generator) -> Float32Array:
    """Random rows: (rows, in_features). Columns are scaled so that each moves the first stage's values alike."""
    in_features = first.weight.shape[1]
    column = np.sqrt(np.square(first.weight, dtype=np.float64).mean(axis=0))  # (in_features,)
    reach = max(1.0, float(np.sqrt(np.square(first.bias, dtype=np.float64).mean())))
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.where(column > 0, reach / (column * np.sqrt(in_features)), 1.0)
    size = 4.0 ** rng.integers(-1, 2, (rows, 1))  # some rows saturate a sigmoid, some do not
    drawn = rng.standard_normal((rows, in_features), dtype=np.float32)
    drawn *= np.clip(scale, 0, 1e30).astype(np.float32)
    drawn *= size.astype(np.float32)
    return drawn
