"""The target of an alias: one version, or a split, which divides the alias's requests among versions by weight.

In `aliases.json`, a version is a number, and a split is an object with the weights by version:
`{"default": 3, "production": {"weights": {"3": 90, "4": 10}}}`. Weights add up to 100 (per cent) or to 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models.errors import ConfigError

_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_WEIGHTS = "weights"
_PERCENT = Decimal(100)
_MOST_VERSIONS = 32  # a sticky request hashes each of them
_MOST_DIGITS = 30  # of a weight, as text


@dataclass(frozen=True, slots=True)
class Split:
    """A split of an alias's requests among versions.

    Attributes:
        weights: version and weight of each part, ascending by version; the weights add up to 100.
    """

    weights: tuple[tuple[int, Decimal], ...]

    @classmethod
    def of(cls, weights: Mapping[Any, Any]) -> Split:
        """Returns the split with the given weights.

        Args:
            weights: weight by version; the versions may be texts, and the weights may add up to 100 or to 1.

        Raises:
            ConfigError: a version or a weight is not valid, or the weights add up to something else.
        """
        if not weights:
            raise ConfigError("a split needs the weight of one version or more.")
        if len(weights) > _MOST_VERSIONS:
            raise ConfigError(f"a split has {_MOST_VERSIONS} versions at most, and not {len(weights):,}.")
        parts = sorted((_version(version), _weight(version, weight)) for version, weight in weights.items())
        if len({version for version, _ in parts}) < len(parts):
            raise ConfigError("a split names each version once.")
        # Decimals, so that 33.3 + 33.3 + 33.4 is 100 and not 100 and a rounding error.
        total = sum((weight for _, weight in parts), Decimal(0))
        if total not in (Decimal(1), _PERCENT):
            raise ConfigError(f"the weights add up to {_shown(total)}; they have to add up to 100 (or to 1).")
        scale = _PERCENT if total == 1 else Decimal(1)
        return cls(tuple((version, (weight * scale).normalize()) for version, weight in parts))

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions of the split, ascending."""
        return tuple(version for version, _ in self.weights)

    @property
    def lead(self) -> int:
        """Version with the largest weight; the newest of several."""
        return max(self.weights, key=lambda part: (part[1], part[0]))[0]

    def to_json(self) -> dict[str, Any]:
        """Returns the split as JSON types."""
        return {_WEIGHTS: {str(version): _number(weight) for version, weight in self.weights}}


Target = int | Split  # what an alias means


def versions_of(target: Target) -> tuple[int, ...]:
    """Returns the versions that a target names."""
    return target.versions if isinstance(target, Split) else (target,)


def lead_of(target: Target) -> int:
    """Returns the version of a target, the one with the largest weight for a split."""
    return target.lead if isinstance(target, Split) else target


def target_to_json(target: Target) -> Any:
    """Returns a target as JSON types."""
    return target.to_json() if isinstance(target, Split) else target


def target_from_json(document: Any) -> Target:
    """Reads a target from JSON types.

    Raises:
        ConfigError: the document is not a target.
    """
    if type(document) is int:
        return document
    if isinstance(document, dict) and isinstance(weights := document.get(_WEIGHTS), dict):
        if extra := [name for name in document if name != _WEIGHTS]:
            raise ConfigError(f"{extra[0][:80]!r} is not a part of a split.")
        return Split.of(weights)
    raise ConfigError('a target is a version, or a split such as {"weights": {"3": 90, "4": 10}}.')


def target_text(name: str, target: Target) -> str:
    """Returns a target in words, such as `iris@3 (90 %) and iris@4 (10 %)`."""
    if not isinstance(target, Split):
        return f"{name}@{target}"
    *first, last = [f"{name}@{version} ({_shown(weight)} %)" for version, weight in target.weights]
    return f"{', '.join(first)} and {last}" if first else last


def _version(given: Any) -> int:
    text = str(given)[:80] if type(given) in (str, int) else ""
    if not _VERSION.fullmatch(text):
        raise ConfigError(f"{str(given)[:80]!r} is not a version (1, 2, 3, …).")
    return int(text)


def _weight(version: Any, given: Any) -> Decimal:
    if type(given) not in (int, float, Decimal):
        raise ConfigError(f"the weight of version {version} has to be a number, not {str(given)[:80]!r}.")
    text = str(given) if type(given) is not int or abs(given) < 10**9 else "1e9"
    weight = Decimal(text[:_MOST_DIGITS])
    if not weight.is_finite() or not 0 <= weight <= _PERCENT:
        raise ConfigError(f"the weight of version {version} is {text[:_MOST_DIGITS]}; it has to be 0 to 100.")
    return weight


def _number(weight: Decimal) -> int | float:
    return int(weight) if weight == int(weight) else float(weight)


def _shown(weight: Decimal) -> str:
    return f"{weight.normalize():f}"
