"""Schedules of learning rate and regularisation: factors on the highest value, over a time from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from training.recipes import Regularization, Schedule


def cosine(time: float) -> float:
    """Returns a factor that falls along half a cosine wave from 1 to 0 (Loshchilov & Hutter 2017, SGDR)."""
    return (1 + math.cos(math.pi * time)) / 2


def coslog4(time: float) -> float:
    """Returns a factor of four waves from 0 to 1 and back, each twice as long as the last (Holzmüller et al. 2024)."""
    return (1 - math.cos(2 * math.pi * math.log2(1 + 15 * time))) / 2


def flat_cosine(time: float) -> float:
    """Returns 1 up to the middle of the run, then a factor along half a cosine wave down to 0 (RealMLP's)."""
    return 1.0 if time < 0.5 else cosine(2 * time - 1)


def constant(time: float) -> float:
    """Returns 1."""
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
