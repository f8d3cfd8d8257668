"""Circuits of AND and OR gates compute the parity of n bits: 2ⁿ⁻¹ + 1 gates in two layers, 3(n - 1) in a tree.

Gates have any number of inputs, and NOT is free. An AND of bits and negated bits that leaves one bit out covers rows of
both parities. In an OR of ANDs, each of the 2ⁿ⁻¹ odd rows therefore needs an AND of its own; by duality, an AND of ORs
needs as many gates. `never_wrong` tries all 3ⁿ ANDs. With a constant number d of layers, the count stays exponential,
2^Ω(n^(1/(d-1))) (Håstad 1986, Almost optimal lower bounds for small depth circuits). A tree of XORs has 2·⌈log₂ n⌉
layers and needs three gates for each of its n - 1 XORs. A threshold unit counts its inputs, so n units suffice in one
hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.studies.parity import ParityNetwork, all_rows, parity, threshold_network

MAX_GATE_BITS = 10  # the study tries 3ⁿ ANDs on 2ⁿ rows


@dataclass(frozen=True, kw_only=True, slots=True)
class GateCount:
    """Gates for the parity of n bits.

    Attributes:
        bits: number of bits n.
        ands: number of ANDs in the two layers; each is 1 on odd rows only.
        widest: largest number of rows on which such an AND is 1.
        tree: number of gates in the tree of XORs.
        tree_layers: number of layers of the tree.
        threshold_units: number of threshold units in one hidden layer that computes the same.
        wrong_rows: number of wrong answers of the two layers, the tree and the threshold units on all 2ⁿ rows.
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
        """The number of gates in the two layers: the ANDs and one OR."""
        return self.ands + 1


def count_gates(bits: int) -> GateCount:
    """Counts the gates of the circuits, and checks the circuits on all rows."""
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
    """Tries every AND of bits and negated bits; returns the row count of each AND that is 1 on odd rows only."""
    numbers = np.arange(2**bits)
    odd = parity(all_rows(bits))  # (2ⁿ,)
    covered: list[int] = []
    for mask in range(2**bits):  # the bits that the AND reads
        wanted = numbers & mask  # (2ⁿ,): the one AND over these bits that is 1 on the row
        total = np.bincount(wanted, minlength=2**bits)
        right = np.bincount(wanted, weights=odd, minlength=2**bits)
        covered += total[(total > 0) & (right == total)].tolist()
    return covered


def or_of_ands(bits: int) -> ParityNetwork:
    """Builds the two layers as a ReLU network: one unit for each odd row, 1 there and 0 elsewhere, and the sum."""
    rows = all_rows(bits)
    own = rows[parity(rows) == 1].astype(np.float64)  # (2ⁿ⁻¹, n)
    weights = 2 * own - 1
    return threshold_network(
        [(weights, 1 - own.sum(axis=1)), (np.ones((1, len(own))), np.array([-0.5]))],
    )


def _threshold_layer(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
    """Computes parity by a hidden layer of threshold units and a threshold unit as output.

    Hidden unit k is 1 if at least k bits are 1. The output adds units with odd k and subtracts units with even k.

    Returns:
        Answers, (2ⁿ,), and the number of hidden units.
    """
    thresholds = np.arange(1, rows.shape[1] + 1)  # (n,)
    fires = rows.sum(axis=1)[:, None] >= thresholds  # (2ⁿ, n)
    z = fires @ np.where(thresholds % 2, 1, -1)  # (2ⁿ,): 1 for an odd number of ones, else 0
    return np.asarray(z - 0.5 >= 0), len(thresholds)


def _tree(rows: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, int]:
    """Computes XORs of neighbours until one bit is left; returns answers (2ⁿ,), gates, and layers."""
    level, gates, layers = [rows[:, i] for i in range(rows.shape[1])], 0, 0
    while len(level) > 1:
        pairs = [(a & ~b) | (~a & b) for a, b in zip(level[::2], level[1::2], strict=False)]  # two ANDs and an OR
        gates, layers = gates + 3 * len(pairs), layers + 2
        level = pairs + level[2 * len(pairs) :]
    return level[0], gates, layers
