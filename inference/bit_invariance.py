"""The check that a row's answer is the same, bit for bit, whoever stands beside it in a batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inference.row_blocks import RowBlocks
from models.network.fuse import Affine, InferenceNetwork
from models.network.input_stage import InputStage

PROBES = 8

Float32Array = NDArray[np.float32]


def is_batch_invariant(
    forward: Callable[[Float32Array], Float32Array], network: InferenceNetwork, blocks: RowBlocks, *, seed: int = 0
) -> bool:
    """Whether probe rows alone are answered as they are at random places of batches of many sizes.

    Evidence and not proof: it tries 8 rows, and the edges and the ends of the sizes.

    Args:
        forward: (rows, in_features) → (rows, out_features).
        network: what `forward` computes, to draw rows for which neither a product nor its bias drowns the other.
        blocks: the row counts that `forward` pads to.
        seed: of the rows drawn.
    """
    rng = np.random.default_rng(seed)
    probes = _draw(network, PROBES, rng)  # (8, in_features)
    alone = np.concatenate([forward(probe[None]) for probe in probes])  # (8, out_features)
    company = _draw(network, max(sizes := trial_sizes(blocks)), rng)
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


def _draw(network: InferenceNetwork, rows: int, rng: np.random.Generator) -> Float32Array:
    """Random rows: (rows, in_features)."""
    size = 4.0 ** rng.integers(-1, 2, (rows, 1))  # some rows saturate a sigmoid, some do not
    drawn = rng.standard_normal((rows, network.in_features), dtype=np.float32) * size.astype(np.float32)
    first = network.members[0][0]
    if isinstance(first, InputStage):
        return _as_encoded(first, drawn, rng)
    assert isinstance(first, Affine)  # noqa: S101 -- what InferenceNetwork promises
    return drawn * _scale(first)


def _scale(first: Affine) -> Float32Array:
    """(in_features,) of columns such that each moves the first product's values alike."""
    in_features = first.weight.shape[1]
    column = np.sqrt(np.square(first.weight, dtype=np.float64).mean(axis=0))  # (in_features,)
    reach = max(1.0, float(np.sqrt(np.square(first.bias, dtype=np.float64).mean())))
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.where(column > 0, reach / (column * np.sqrt(in_features)), 1.0)
    return np.clip(scale, 0, 1e30).astype(np.float32)


def _as_encoded(first: InputStage, drawn: Float32Array, rng: np.random.Generator) -> Float32Array:
    """The rows as an encoder might give them: numbers of the columns' spread, flags, indices that are in the table."""
    inputs = first.inputs
    with np.errstate(over="ignore"):
        numbers = drawn[:, inputs.numbers] * first.divisor + first.shift
    drawn[:, inputs.numbers] = np.clip(numbers, -1e30, 1e30)
    drawn[:, inputs.flags] = rng.integers(0, 2, (len(drawn), len(inputs.flags)))
    for at, categories in zip(inputs.indices, inputs.categories, strict=True):
        drawn[:, at] = rng.integers(0, categories + 1, len(drawn))
    return drawn
