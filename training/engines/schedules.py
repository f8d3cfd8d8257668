"""How rates change over a run, as shares of their highest; time goes from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from training.recipes import Regularization, Schedule


def cosine(time: float) -> float:
    """Half a cosine from 1 down to 0 (Loshchilov & Hutter 2017, SGDR)."""
    return (1 + math.cos(math.pi * time)) / 2


def coslog4(time: float) -> float:
    """Four waves from 0 to 1 and back, each twice as long as the one before (Holzmüller et al. 2024, RealMLP)."""
    return (1 - math.cos(2 * math.pi * math.log2(1 + 15 * time))) / 2


def flat_cosine(time: float) -> float:
    """1 up to the middle, then half a cosine down to 0 (likewise RealMLP's)."""
    return 1.0 if time < 0.5 else cosine(2 * time - 1)


def constant(time: float) -> float:
    """1."""
    return 1.0


LEARNING_RATES: Mapping[Schedule, Callable[[float], float]] = {
    "cosine": cosine,
    "coslog4": coslog4,
    "constant": constant,
}
REGULARIZATIONS: Mapping[Regularization, Callable[[float], float]] = {
    "constant": constant,
    "flat_cosine": flat_cosine,
}
