"""Checks of single settings of a run; each refuses a bad value with a sentence that names the setting."""

from __future__ import annotations

import math
from typing import Any, get_args

from models.errors import ConfigError

EpochPlan = tuple[tuple[int, int], ...]


def checked_plan(plan: object, epochs: int) -> EpochPlan:
    """Returns a plan of epochs as tuples; raises a `ConfigError` for an impossible one."""
    try:
        steps = tuple((done, planned) for done, planned in plan)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(f"epoch_plan must have pairs (epochs done, epochs planned), got {plan!r}.") from None
    whole = all(isinstance(number, int) and not isinstance(number, bool) for step in steps for number in step)
    done = [step[0] for step in steps] if whole else []
    if not whole or done != sorted(set(done)) or any(planned < max(made, 1) for made, planned in steps):
        raise ConfigError(
            f"epoch_plan must be whole numbers, with rising epochs done and none above the plan: {plan!r}."
        )
    if steps and (steps[0][0] != 0 or steps[-1][1] != epochs):
        raise ConfigError(
            f"epoch_plan must begin at 0 epochs done and end with a plan of epochs={epochs!r}, got {plan!r}."
        )
    return steps


def check_distilled(distill: bool, *, members: int, folds: bool, epoch_plan: object) -> None:
    """Refuses settings with which no student can learn from an ensemble; raises a `ConfigError`."""
    if not distill:
        return
    if members < 2:
        raise ConfigError("a distillation makes one network of an ensemble: --distill with --members K, such as 8.")
    if folds:
        raise ConfigError(
            "with folds the members learn from the rows of validation too, so no row is left that could choose the "
            "temperature of their student and measure it: leave out --folds or --distill."
        )
    if epoch_plan:
        raise ConfigError("an epoch plan is of one training, and a distillation has two: leave out one of them.")


def is_number(value: object) -> bool:
    """Returns True for a number that is no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_of(name: str, value: object, literal: Any) -> None:
    """Refuses a value that is not one of a `Literal`; raises a `ConfigError`."""
    if value not in get_args(literal):
        raise ConfigError(f"{name} must be one of {', '.join(get_args(literal))}; got {value!r}.")


def positive(name: str, value: object) -> None:
    """Refuses what is no finite number above 0; raises a `ConfigError`."""
    if not is_number(value) or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be positive and finite, got {value!r}.")


def share(name: str, value: object) -> None:
    """Refuses what is no number from 0 to below 1; raises a `ConfigError`."""
    if not is_number(value) or not 0 <= float(value) < 1:  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be in [0, 1), got {value!r}.")


def at_least(name: str, value: object, least: int) -> None:
    """Refuses what is no whole number of at least `least`; raises a `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}.")
