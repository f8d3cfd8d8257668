"""The learning-rate finder: raises the rate from step to step until the loss diverges, and suggests a good rate.

After Smith 2017, "Cyclical Learning Rates for Training Neural Networks". The sweep restores the weights and the
optimiser's state afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from models.errors import ConfigError

SMOOTHING = 0.9  # decay of the running mean, which averages about the last ten steps
DIVERGENCE = 4.0  # the sweep ends when the smoothed loss is more than this many times its minimum
_ROUNDING = 1e-9  # fraction of the loss; a flatter slope counts as zero
_SKIPPED = 10  # number of first steps whose running mean averages too few losses for a slope

State = TypeVar("State")


class Stepper(Protocol[State]):
    """A model that trains one step at a time."""

    def step(self, learning_rate: float) -> float:
        """Makes one optimiser step on the next batch and returns the batch's loss before the step."""

    def state(self) -> State:
        """Returns a copy of all state that a step changes."""

    def restore(self, state: State) -> None:
        """Restores a copy that `state` returned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """The measurements of a sweep over learning rates.

    Attributes:
        rates: `(steps,)` learning rates of the steps, ascending.
        losses: `(steps,)` loss of each step's batch.
        smoothed: `(steps,)` running mean of the losses.
        suggested: learning rate at which the smoothed loss falls fastest over the logarithm of the rate; None if the
            loss never falls.
        diverged: True if the sweep ended early because the loss diverged.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    diverged: bool


def sweep(stepper: Stepper[State], *, low: float = 1e-6, high: float = 10.0, steps: int = 150) -> Sweep:
    """Makes steps at rates from `low` to `high`, evenly spread by their logarithm, and restores the stepper.

    Args:
        stepper: model in training.
        low: first learning rate.
        high: last learning rate.
        steps: maximum number of steps; the sweep ends early if the smoothed loss exceeds four times its minimum, or
            if a loss is not finite.

    Raises:
        ConfigError: the rates do not ascend from above 0, or the steps are too few for a slope.
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
            smoothed.append(mean / (1 - SMOOTHING ** len(losses)))  # corrects the bias of a mean that starts at 0
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
    """Returns the rate at which the smoothed loss falls fastest over log(rate); None if the loss never falls."""
    if len(rates) < _SKIPPED + 2:
        return None
    slopes = np.gradient(np.array(smoothed), np.log(rates))[_SKIPPED:-1]
    at = int(slopes.argmin())
    return rates[_SKIPPED + at] if slopes[at] < -_ROUNDING * max(smoothed) else None
