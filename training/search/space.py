"""A search space: the fields of `TrainConfig` that vary, with the possible values. Data only; no sampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import ConfigError
from models.finite_number import is_finite_number
from training.config import TrainConfig

_NEVER_VARY = {
    "seed": "it decides which rows validate, so trials that differ in it cannot be compared",
    "split": "it decides which rows validate, so trials that differ in it cannot be compared",
    "folds": "by folds other rows validate, so trials that differ in it cannot be compared",
    "portfolio": "it is chosen by folds, and trials have none",
    "distill": "the trials of a search are trained once: fit the settings of the winner with it",
    "class_weight": "it decides how rows count, so trials that differ in it cannot be compared",
    "metric": "it brings settings of its own: search for one metric at a time",
    "quantile": "answers of different quantiles cannot be compared",
    "epoch_plan": "a budget of time writes it, and the trials of a search have none",
    "engine": "it brings settings of its own: search with one engine at a time",
    "recipe": "it brings settings of its own: search with one recipe at a time",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatRange:
    """A range of numbers from `low` to `high`, both included; `log` spreads points evenly by the logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> Any:
        """Returns the value if in the range, else the nearer end."""
        return min(max(float(value), self.low), self.high) if _is_number(value) else self.low

    def grid(self, points: int) -> tuple[Any, ...]:
        """Returns evenly spread points that include both ends."""
        if self.low == self.high:
            return (self.low,)
        spread = np.geomspace if self.log else np.linspace
        inner = spread(self.low, self.high, max(points, 2))[1:-1]
        return (self.low, *(float(f"{value:.6g}") for value in inner), self.high)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types."""
        return {"kind": "float", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntRange:
    """A range of integers from `low` to `high`, both included; `log` spreads points evenly by the logarithm."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(end, int) for end in (self.low, self.high)):
            raise ConfigError(f"a range of whole numbers needs whole ends, got {self.low!r}..{self.high!r}.")
        _check_range(self.low, self.high, log=self.log)

    def nearest(self, value: Any) -> Any:
        """Returns the value if in the range, else the nearer end."""
        return min(max(int(value), self.low), self.high) if _is_number(value) else self.low

    def grid(self, points: int) -> tuple[Any, ...]:
        """Returns evenly spread points that include both ends; fewer if the range has fewer numbers."""
        spread = np.geomspace if self.log else np.linspace
        return tuple(sorted({round(float(value)) for value in spread(self.low, self.high, max(points, 2))}))

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types."""
        return {"kind": "int", "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """A set of values without an order; the widths of all layers count as one value."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        as_tuples = tuple(tuple(value) if isinstance(value, list) else value for value in self.values)
        object.__setattr__(self, "values", as_tuples)
        if not self.values:
            raise ConfigError("a choice needs at least one value.")
        labels = [exact_label(value) for value in self.values]
        if twice := [name for name in labels if labels.count(name) > 1]:
            raise ConfigError(f"{twice[0]} is there twice among the choices {', '.join(labels)}.")

    def nearest(self, value: Any) -> Any:
        """Returns the value if among the choices, else the first choice."""
        return value if exact_label(value) in map(exact_label, self.values) else self.values[0]

    def grid(self, points: int) -> tuple[Any, ...]:
        """Returns all choices."""
        return self.values

    def of_label(self, text: str) -> Any:
        """Returns the value whose exact label is `text`."""
        return next(value for value in self.values if exact_label(value) == text)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types."""
        return {
            "kind": "choices",
            "values": [list(value) if isinstance(value, tuple) else value for value in self.values],
        }


Parameter = FloatRange | IntRange | Choices


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """A search space: a parameter for each field of `TrainConfig` that varies.

    Raises:
        ConfigError: there is no parameter, a name is not a field, or trials that differ in a field cannot be compared.
    """

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError("the search space is empty: name what is to vary (--vary NAME=LOW..HIGH).")
        for name in self.parameters:
            check_field_name(name)

    def nearest(self, config: TrainConfig) -> dict[str, Any]:
        """Returns a configuration's values of the varying fields, each moved to the nearest value of the space."""
        return {name: parameter.nearest(getattr(config, name)) for name, parameter in self.parameters.items()}

    def moved(self, config: TrainConfig) -> list[str]:
        """Returns the varying fields of which the space does not have the configuration's value."""
        nearest = self.nearest(config)
        return [name for name, value in nearest.items() if exact_label(value) != exact_label(getattr(config, name))]

    def grid(self, points: int) -> Iterator[dict[str, Any]]:
        """Yields every combination of values; the last parameter changes fastest.

        Args:
            points: number of points of each range.
        """
        axes = [parameter.grid(points) for parameter in self.parameters.values()]
        for values in itertools.product(*axes):
            yield dict(zip(self.parameters, values, strict=True))

    def grid_size(self, points: int) -> int:
        """Returns the number of combinations that `grid` yields."""
        return math.prod(len(parameter.grid(points)) for parameter in self.parameters.values())

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types."""
        return {name: parameter.to_json() for name, parameter in self.parameters.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Mapping[str, Any]]) -> SearchSpace:
        """Reads a space from the JSON types that `to_json` returned.

        Raises:
            KeyError, TypeError: `stored` is not from `to_json`.
        """
        kinds = {"float": FloatRange, "int": IntRange, "choices": Choices}
        return cls(
            parameters={
                name: kinds[how["kind"]](**{key: value for key, value in how.items() if key != "kind"})
                for name, how in stored.items()
            }
        )


def check_field_name(name: str) -> None:
    """Refuses the name of a setting that cannot vary.

    Raises:
        ConfigError: `name` is not a field of `TrainConfig`, or trials that differ in this field cannot be compared.
    """
    known = TrainConfig.setting_names()
    if name not in known:
        raise ConfigError(f"there is no setting {name!r} to vary; there are {', '.join(known)}.")
    if name in _NEVER_VARY:
        raise ConfigError(f"{name} does not vary: {_NEVER_VARY[name]}.")


def label(value: Any) -> str:
    """Returns a value as the text that is shown: `64,64`, `none`, `true`, `0.15`, `relu`; numbers with four digits."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(str(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def exact_label(value: Any) -> str:
    """Returns a choice as the text that is stored: its label, with all digits of a number."""
    shown = label(value)
    return repr(value) if isinstance(value, float) and float(shown) != value else shown


def _check_range(low: float, high: float, *, log: bool) -> None:
    if not (is_finite_number(low) and is_finite_number(high) and low <= high):
        raise ConfigError(f"a range goes from a lower to a higher finite number, got {low!r}..{high!r}.")
    if log and low <= 0:
        raise ConfigError(f"a logarithmic range begins above 0, got {low!r}..{high!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
