"""The test for batch invariance: no bit of a row's answer depends on the other rows of the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.random  # by its name, or NumPy imports it at the first use, in each worker again
from numpy.typing import NDArray

from inference.row_blocks import RowBlocks
from models.network.inference_network import Affine, InferenceNetwork
from models.network.input_stage import InputStage

PROBES = 8

Float32Array = NDArray[np.float32]


def is_batch_invariant(
    forward: Callable[[Float32Array], Float32Array], network: InferenceNetwork, blocks: RowBlocks, *, seed: int = 0
) -> bool:
    """Returns True if probe rows get the same bits alone and at random places of batches of many sizes.

    This is evidence, not proof: the test tries 8 rows, and only batch sizes at which kernels are known to change.

    Args:
        forward: function (rows, in_features) → (rows, out_features).
        network: network that `forward` computes; random rows are scaled so that products and biases are of like size.
        blocks: row counts to which `forward` pads.
        seed: seed of the random rows.
    """
    rng = np.random.default_rng(seed)
    probes = _draw(network, PROBES, rng)  # (8, in_features)
    alone = np.concatenate([forward(probe[None]) for probe in probes])  # (8, out_features)
    others = _draw(network, max(sizes := trial_sizes(blocks)), rng)
    for rows in sizes:
        batch = others[:rows].copy()
        places = rng.permutation(rows)[:PROBES]
        batch[places] = probes[: len(places)]
        if forward(batch)[places].tobytes() != alone[: len(places)].tobytes():
            return False
    return True


def trial_sizes(blocks: RowBlocks) -> list[int]:
    """Returns batch sizes just below, at and above the row counts where kernels are known to change, in order."""
    counts = [size for size in blocks.sizes if size & (size - 1) == 0 or size in {48, 80, 144, 272}]
    tried = {2, blocks.smallest - 1, *counts, *(count + 1 for count in counts[:4]), blocks.largest}
    return sorted(size for size in tried if 0 < size <= blocks.largest)


def _draw(network: InferenceNetwork, rows: int, rng: np.random.Generator) -> Float32Array:
    """Draws random rows, (rows, in_features)."""
    size = 4.0 ** rng.integers(-1, 2, (rows, 1))  # some rows saturate a sigmoid, some do not
    drawn = rng.standard_normal((rows, network.in_features), dtype=np.float32) * size.astype(np.float32)
    stage = network.members[0][0]
    if isinstance(stage, InputStage):
        return _as_encoded(stage, drawn, rng)
    return drawn * _scale(stage) if isinstance(stage, Affine) else drawn


def _scale(product: Affine) -> Float32Array:
    """Returns a scale for each column, (in_features,), so that all columns have like effects on the first product."""
    in_features = product.weight.shape[1]
    column = np.sqrt(np.square(product.weight, dtype=np.float64).mean(axis=0))  # (in_features,)
    reach = max(1.0, float(np.sqrt(np.square(product.bias, dtype=np.float64).mean())))
    with np.errstate(divide="ignore", over="ignore"):
        scale = np.where(column > 0, reach / (column * np.sqrt(in_features)), 1.0)
    return np.clip(scale, 0, 1e30).astype(np.float32)


def _as_encoded(stage: InputStage, drawn: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Makes random rows look encoded: numbers with the columns' spread, flags, and indices of the table."""
    inputs = stage.inputs
    with np.errstate(over="ignore"):
        numbers = drawn[:, inputs.numbers] * stage.divisor + stage.shift
    drawn[:, inputs.numbers] = np.clip(numbers, -1e30, 1e30)
    drawn[:, inputs.flags] = rng.integers(0, 2, (len(drawn), len(inputs.flags)))
    for at, categories in zip(inputs.indices, inputs.categories, strict=True):
        drawn[:, at] = rng.integers(0, categories + 1, len(drawn))
    return drawn
