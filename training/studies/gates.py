"""Circuits of AND and OR gates compute the parity of n bits: 2ⁿ⁻¹ + 1 gates in two layers, 3(n - 1) in a tree.

Gates have any number of inputs, and NOT is free. An AND of bits and negated bits that leaves one bit out covers rows of
both parities, so in an OR of ANDs each of the 2ⁿ⁻¹ odd rows needs an AND of its own; by duality an AND of ORs takes as
many. `never_wrong` tries all 3ⁿ ANDs. With a constant number d of layers the count stays exponential, 2^Ω(n^(1/(d-1)))
(Håstad 1986, Almost optimal lower bounds for small depth circuits). With 2·⌈log₂ n⌉ layers a tree of XORs takes three
gates for each of its n - 1 XORs. A threshold unit counts its inputs, and so n of them suffice in one hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.studies.parity import ParityNetwork, all_rows, parity, threshold_network

MAX_GATE_BITS = 10  # 3ⁿ ANDs are tried on 2ⁿ rows


@dataclass(frozen=True, kw_only=True, slots=True)
class GateCount:
    """Gates for the parity of n bits.

    Attributes:
        bits: number of bits n.
        ands: number of ANDs that are never wrong and that the two layers use.
        widest: most rows that an AND which is never wrong covers.
        tree: gates of the tree of XORs.
        tree_layers: its layers.
        threshold_units: threshold units of one hidden layer that computes the same.
        wrong_rows: rows of all 2ⁿ that the two layers, the tree or the threshold units get wrong.
    """

    bits: int
    ands: int
    widest: int
    tree: int
    tree_layers: int
    threshold_units: int
    wrong_rows: int

    @property
    def two_layers(self) -> int:
        """Gates of the two layers: the ANDs and one OR."""
        return self.ands + 1


def count_gates(bits: int) -> GateCount:
    """Counts the gates of both circuits, and tries the circuits on all rows."""
    rows = all_rows(bits).astype(bool)  # (2ⁿ, n)
    odd = parity(all_rows(bits)) == 1  # (2ⁿ,)
    covered = never_wrong(bits)
    tree, gates, layers = _tree(rows)
    summed, units = _threshold_layer(rows)
    return GateCount(
        bits=bits,
        ands=len(covered),
        widest=max(covered),
        tree=gates,
        tree_layers=layers,
        threshold_units=units,
        wrong_rows=or_of_ands(bits).wrong_rows() + int((tree != odd).sum()) + int((summed != odd).sum()),
    )


def never_wrong(bits: int) -> list[int]:
    """Tries every AND of bits and negated bits, and returns how many rows each covers that covers odd rows alone."""
    numbers = np.arange(2**bits)
    odd = parity(all_rows(bits))  # (2ⁿ,)
    covered: list[int] = []
    for mask in range(2**bits):  # the bits that the AND looks at
        wanted = numbers & mask  # (2ⁿ,): the one AND over these bits that covers the row
        total = np.bincount(wanted, minlength=2**bits)
        right = np.bincount(wanted, weights=odd, minlength=2**bits)
        covered += total[(total > 0) & (right == total)].tolist()
    return covered


def or_of_ands(bits: int) -> ParityNetwork:
    """Writes down the two layers as a ReLU network: a unit for each odd row, 1 there and 0 elsewhere, and their sum."""
    rows = all_rows(bits)
    own = rows[parity(rows) == 1].astype(np.float64)  # (2ⁿ⁻¹, n)
    weights = 2 * own - 1
    return threshold_network(
        [(weights, 1 - own.sum(axis=1)), (np.ones((1, len(own))), np.array([-0.5]))],
    )


def _threshold_layer(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """Computes parity by a threshold unit over a layer of them: answers (2ⁿ,), and the number of hidden units.

    Hidden unit k fires where at least k bits are 1. The output adds the odd ones and subtracts the even ones.
    """
    thresholds = np.arange(1, rows.shape[1] + 1)  # (n,)
    fires = rows.sum(axis=1)[:, None] >= thresholds  # (2ⁿ, n)
    z = fires @ np.where(thresholds % 2, 1, -1)  # (2ⁿ,): 1 for an odd number of ones, else 0
    return np.asarray(z - 0.5 >= 0), len(thresholds)


def _tree(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, int]:
    """Computes XORs of neighbours until one is left: answers (2ⁿ,), gates used, and layers."""
    level, gates, layers = [rows[:, i] for i in range(rows.shape[1])], 0, 0
    while len(level) > 1:
        pairs = [(a & ~b) | (~a & b) for a, b in zip(level[::2], level[1::2], strict=False)]  # two ANDs and an OR
        gates, layers = gates + 3 * len(pairs), layers + 2
        level = pairs + level[2 * len(pairs) :]
    return level[0], gates, layers
