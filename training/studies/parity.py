"""Networks with constructed weights that compute the parity of n bits: one wide and shallow, two narrow and deep.

Each network has n inputs of 0 and 1 and one threshold unit as output: 1 for an odd number of ones. All weights are
small whole numbers or powers of two, so that float32 arithmetic is exact.

- `shallow`: a zigzag over the number of ones s, with one ReLU unit per turn (n units). A network that depends on s only
  needs n - 1 units: with m ReLU units, it is piecewise linear in s with at most m turns, and parity crosses the
  threshold between any two neighbouring counts.
- `tree`: XOR of pairs, of pairs of pairs, …: relu(a + b) - 2·relu(a + b - 1) is the XOR of two bits.
- `fold`: the tent map, two ReLU units wide, folds [0, 1] in half at each layer. ⌈log₂ n⌉ layers have 2^⌈log₂ n⌉ turns,
  for each of which a shallow network needs one unit (Telgarsky 2016, Benefits of depth in neural networks).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.fuse import fuse
from models.network.inference_network import InferenceNetwork

MIN_BITS, MAX_BITS = 2, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityNetwork:
    """A ReLU network with a step output, and the tensors by name, as in a checkpoint."""

    config: MLPConfig
    tensors: Mapping[str, NDArray[np.float32]]

    @property
    def hidden_units(self) -> int:
        """The number of hidden units."""
        return sum(self.config.hidden_sizes)

    def network(self) -> InferenceNetwork:
        """Returns the fused network, as in serving."""
        return fuse(self.config, self.tensors)

    def wrong_rows(self) -> int:
        """Counts the wrong answers of the network on all 2ⁿ rows."""
        rows = all_rows(self.config.in_features)
        answers = self.network().forward(rows.astype(np.float32)).argmax(axis=1)  # (2ⁿ,)
        return int((answers != parity(rows)).sum())


def all_rows(bits: int) -> NDArray[np.int64]:
    """Returns all rows of n bits, (2ⁿ, n), in counting order."""
    numbers = np.arange(2**bits)[:, None]  # (2ⁿ, 1)
    return np.asarray((numbers >> np.arange(bits)[::-1]) & 1)


def parity(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns 1 for an odd number of ones, else 0: (rows, n) → (rows,)."""
    return np.asarray(rows.sum(axis=1) % 2)


def shallow(bits: int) -> ParityNetwork:
    """Constructs one hidden layer of n units: relu(s) - 2·relu(s - 1) + 2·relu(s - 2) - …, or 0, 1, 0, 1, … over s."""
    turns = np.arange(bits, dtype=np.float64)
    outer = np.where(turns % 2 == 0, 2.0, -2.0)  # (n,)
    outer[0] = 1.0
    return threshold_network([(np.ones((bits, bits)), -turns), (outer[None, :], np.array([-0.5]))])


def fold(bits: int) -> ParityNetwork:
    """Constructs ⌈log₂ n⌉ hidden layers of two units, the tent map 2·relu(u) - 4·relu(u - ½); first u = s/2^⌈log₂ n⌉.

    The map sends k/2^j to a multiple of 1/2^(j-1) with the parity of k, so that only 0 and 1 are left after all folds.
    """
    depth = (bits - 1).bit_length()
    tent, turn = np.array([[2.0, -4.0]]), np.array([0.0, -0.5])  # (1, 2), (2,)
    both = np.ones((2, 1))
    layers = [(both @ np.full((1, bits), 2.0**-depth), turn)]
    layers += [(both @ tent, turn) for _ in range(depth - 1)]
    return threshold_network([*layers, (tent, np.array([-0.5]))])


def tree(bits: int) -> ParityNetwork:
    """Constructs ⌈log₂ n⌉ hidden layers: XOR of neighbours with two units, and one unit for a bit without neighbour."""
    layers: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    decode = np.eye(bits)  # maps the units before to the bits of this level: (bits here, units before)
    while len(decode) > 1:
        here = len(decode)
        pairs, alone = divmod(here, 2)
        units = 2 * pairs + alone
        encode, bias = np.zeros((units, here)), np.zeros(units)
        following = np.zeros((pairs + alone, units))
        for i in range(pairs):
            encode[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = 1  # both units compute a + b
            bias[2 * i + 1] = -1
            following[i, 2 * i : 2 * i + 2] = (1, -2)
        if alone:
            encode[-1, -1] = following[-1, -1] = 1
        layers.append((encode @ decode, bias))
        decode = following
    return threshold_network([*layers, (decode, np.array([-0.5]))])


CONSTRUCTIONS: Mapping[str, Callable[[int], ParityNetwork]] = MappingProxyType(
    {"shallow": shallow, "tree": tree, "fold": fold}
)


def threshold_network(layers: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> ParityNetwork:
    """Builds a ReLU network with a step output from pairs of weight (n_out, n_in) and bias (n_out,)."""
    sizes = (layers[0][0].shape[1], *(len(weight) for weight, _ in layers))
    config = MLPConfig(layer_sizes=sizes, activation="relu", output="step")
    named = itertools.chain.from_iterable(
        ((f"layers.{i}.weight", weight), (f"layers.{i}.bias", bias)) for i, (weight, bias) in enumerate(layers)
    )
    return ParityNetwork(config=config, tensors={name: array.astype(np.float32) for name, array in named})
