"""The learning-rate finder: the rate grows from step to step until the loss breaks away, and a good one is read off.

After Smith 2017, "Cyclical Learning Rates for Training Neural Networks". Nothing of it remains: the weights and the
optimiser are afterwards what they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from models.errors import ConfigError

SMOOTHING = 0.9  # of the running mean: about the last ten steps
DIVERGENCE = 4.0  # times the best smoothed loss, at which there is nothing more to see
_ROUNDING = 1e-9  # of the loss: a slope as flat as that is none
_SKIPPED = 10  # first steps, in which the running mean knows too little to have a slope

State = TypeVar("State")


class Stepper(Protocol[State]):
    """A model in training, one step at a time."""

    def step(self, learning_rate: float) -> float:
        """One step of the optimiser on the next batch; the batch's loss before it."""

    def state(self) -> State:
        """Everything that a step changes, as a copy."""

    def restore(self, state: State) -> None:
        """Puts back what `state` gave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a sweep saw.

    Attributes:
        rates: `(steps,)` ascending; those that were tried.
        losses: `(steps,)` each batch's.
        smoothed: `(steps,)` their running mean.
        suggested: the rate at which the smoothed loss falls fastest over the logarithm of the rate; None where it
            never falls.
        diverged: whether it ended early, because the loss had broken away.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    diverged: bool


def sweep(stepper: Stepper[State], *, low: float = 1e-6, high: float = 10.0, steps: int = 150) -> Sweep:
    """Makes steps at rates from `low` to `high`, evenly spread by their logarithm, and restores the stepper.

    Args:
        stepper: what is stepped.
        low: the first rate.
        high: the last.
        steps: how many at most; it ends where the smoothed loss is four times its best, or no finite number.

    Raises:
        ConfigError: rates that do not ascend from above 0, or too few steps to see a slope.
    """
    if not 0 < low < high < math.inf:
        raise ConfigError(f"the rates must ascend from above 0, got {low!r} to {high!r}.")
    if steps < 3 * _SKIPPED:
        raise ConfigError(f"{steps} steps are too few to see a slope: {3 * _SKIPPED} are needed.")
    before = stepper.state()
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    mean, diverged = 0.0, False
    try:
        for rate in np.geomspace(low, high, steps).tolist():
            loss = stepper.step(rate)
            if not math.isfinite(loss):
                diverged = True
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            rates.append(rate)
            losses.append(loss)
            smoothed.append(mean / (1 - SMOOTHING ** len(losses)))  # the mean began at 0
            if len(smoothed) > _SKIPPED and smoothed[-1] > DIVERGENCE * min(smoothed):
                diverged = True
                break
    finally:
        stepper.restore(before)
    return Sweep(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed),
        suggested=steepest(rates, smoothed),
        diverged=diverged,
    )


def steepest(rates: list[float], smoothed: list[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest over log(rate); None where it never falls."""
    if len(rates) < _SKIPPED + 2:
        return None
    slopes = np.gradient(np.array(smoothed), np.log(rates))[_SKIPPED:-1]
    at = int(slopes.argmin())
    return rates[_SKIPPED + at] if slopes[at] < -_ROUNDING * max(smoothed) else None
