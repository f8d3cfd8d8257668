"""A budget of time for a run: total seconds, start, and remaining seconds.

A budget in seconds counts all that a user waits for: reading, preparing, training, evaluation and the report. The
levels `quick`, `default` and `best` are settings and look at no clock.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from models.errors import ConfigError
from training.setting_checks import one_of

Level = Literal["quick", "default", "best"]

_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_MOST_SECONDS = 30 * 86400.0
_QUICK_SHARE = 4  # `quick` trains a fourth of the epochs of the recipe


@dataclass(frozen=True, kw_only=True)
class TimeBudget:
    """A budget in seconds of wall-clock time.

    Attributes:
        seconds: seconds of the whole run.
        begun: reading of the clock at which the run began.
        has_report: True if the report, with its measurement of importances, is part of the run.
        clock: clock in seconds that never runs backwards.
    """

    seconds: float
    begun: float
    has_report: bool = False
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    @property
    def spent(self) -> float:
        """The seconds since the run began."""
        return self.clock() - self.begun

    @property
    def left(self) -> float:
        """The seconds until the budget is over; below 0 afterwards."""
        return self.seconds - self.spent


def parse_budget(budget: str | float) -> Level | float:
    """Returns a level, or a number of seconds.

    Args:
        budget: level, number of seconds, or text such as `90`, `60s`, `5min` or `1.5h`.

    Raises:
        ConfigError: the budget is neither, or no possible time.
    """
    if isinstance(budget, str) and budget in get_args(Level):
        return budget  # type: ignore[return-value]
    text = str(budget).strip().lower() if not isinstance(budget, bool) else ""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text, re.ASCII)
    if found is None or found[2] not in _UNITS:
        raise ConfigError(
            f"a budget is a time such as 60s, 5min or 1h, or {', '.join(get_args(Level))}; got {budget!r}."
        )
    seconds = float(found[1]) * _UNITS[found[2]]
    if not 0 < seconds <= _MOST_SECONDS:
        raise ConfigError(f"a budget must be above 0 seconds and at most 30 days, got {budget!r}.")
    return seconds


def shown_seconds(seconds: float) -> str:
    """Returns seconds as a budget in text, such as `60s`."""
    return f"{seconds:.6g}s"


def level_settings(
    level: Level, settings: Mapping[str, Any], *, of_dataset: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the settings of a level.

    Args:
        level: level of the budget.
        settings: choices of the user.
        of_dataset: settings of a built-in dataset, of whose epochs `quick` takes its share; None for the recipe's.

    Raises:
        ConfigError: the engine of the run has no such level, or the user chose another value for the one setting that
            the level has, so that the budget would do nothing.
    """
    if level == "default":
        return {}
    check_engine(settings, level)
    if level == "quick":
        decided = {"epochs": math.ceil(_usual_epochs(settings, of_dataset or {}) / _QUICK_SHARE)}
    else:
        decided = {"members": MOST_MEMBERS}
    for name, value in decided.items():
        if settings.get(name) not in (None, value):
            raise ConfigError(
                f"--budget {level} does nothing but set {name} to {value}, and --{name} {settings[name]} sets them "
                "too: leave out one of the two."
            )
    return decided


def _usual_epochs(settings: Mapping[str, Any], of_dataset: Mapping[str, Any]) -> int:
    """Returns the epochs of a run of the torch engine without a budget."""
    # Imported here: the commands show the levels in their help before they need any recipe.
    from training.recipes import Recipe, values_of

    recipe: Recipe = settings.get("recipe") or of_dataset.get("recipe") or "default"
    one_of("recipe", recipe, Recipe)
    return int({**values_of("torch", recipe, task="classification"), **of_dataset}["epochs"])


MOST_MEMBERS = 8  # of a budget: more members cost more in serving than they gain


def check_planned(settings: Mapping[str, Any], budget: TimeBudget) -> None:
    """Refuses settings that only a budget of time decides, and runs without a plan.

    Raises:
        ConfigError: the engine is not torch, the run has a portfolio, or a setting plans the epochs.
    """
    check_engine(settings, shown_seconds(budget.seconds))
    if settings.get("portfolio"):
        raise ConfigError(
            "a budget of time does not plan a portfolio: leave out --portfolio, or the budget (--budget)."
        )
    for name in ("rows_per_epoch", "epoch_plan"):
        if settings.get(name):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"a budget of time plans the epochs: leave out {option}, or the budget (--budget).")


def check_engine(settings: Mapping[str, Any], budget: str) -> None:
    """Refuses a budget for an engine whose runs have no plan of epochs and members.

    Raises:
        ConfigError: the engine is not torch.
    """
    engine = settings.get("engine") or "torch"
    if engine != "torch":
        raise ConfigError(
            f"a budget ({budget}) plans epochs and members of the torch engine, and the engine is {engine}."
        )
