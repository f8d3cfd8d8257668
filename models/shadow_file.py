"""The shadows of one model, as a JSON file in its folder.

A shadow is a version that gets a copy of an alias's requests, and whose answers are compared and never returned.
`shadows.json` has the shadow of each alias: `{"production": {"version": 4, "share": 100}}`. The share is the percentage
of requests that the shadow gets. A file that cannot be read changes no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.alias_file import LATEST, is_alias, read_table, write_table
from models.errors import ConfigError

SHADOWS_FILE = "shadows.json"

_FIELDS = {"version", "share"}


@dataclass(frozen=True, slots=True)
class ShadowSetting:
    """The shadow of an alias.

    Attributes:
        version: version that gets the copies.
        share: percentage of the alias's requests that are copied, above 0 and up to 100.
    """

    version: int
    share: float = 100.0

    @classmethod
    def of(cls, version: Any, share: Any = 100) -> ShadowSetting:
        """Returns the setting with the given values.

        Raises:
            ConfigError: a value is not valid.
        """
        if type(version) is not int or version < 1:
            raise ConfigError(f"the version of a shadow has to be 1, 2, 3, …, not {str(version)[:80]!r}.")
        if type(share) not in (int, float) or not 0 < share <= 100:
            raise ConfigError(f"the share of a shadow has to be above 0 and up to 100, not {str(share)[:80]!r}.")
        return cls(version, float(share))

    def to_json(self) -> dict[str, Any]:
        """Returns the setting as JSON types."""
        share = self.share
        return {"version": self.version, "share": int(share) if share == int(share) else share}


def read_shadows(folder: Path) -> tuple[dict[str, ShadowSetting], str | None]:
    """Reads a model's shadows.

    Returns:
        Setting by alias, and the reason why the shadows could not be read, or None.
    """
    content, problem = read_table(folder, SHADOWS_FILE)
    shadows, fault = shadows_of(content, f"{folder.name}/{SHADOWS_FILE}")
    return shadows, fault or problem


def shadows_of(content: Mapping[str, Any], called: str) -> tuple[dict[str, ShadowSetting], str | None]:
    """Returns the shadows of a JSON object.

    Args:
        content: shadow by alias, as JSON types.
        called: name of the file or object, for the reason.

    Returns:
        Setting by alias, and the reason why the object is not valid, or None.
    """
    shadows = {}
    try:
        for alias, given in content.items():
            if not is_alias(alias) or alias == LATEST:
                raise ConfigError(f"{alias[:80]!r} cannot be an alias.")
            if not isinstance(given, dict) or not given.keys() <= _FIELDS:
                raise ConfigError('a shadow is an object such as {"version": 4, "share": 100}.')
            shadows[alias] = ShadowSetting.of(**{"version": None, **given})
    except ConfigError as error:
        return {}, f"{called}: {error}"
    return shadows, None


def write_shadows(folder: Path, shadows: Mapping[str, ShadowSetting]) -> None:
    """Writes a model's shadows, atomically.

    Raises:
        OSError: The disk refuses the write.
    """
    if shadows or (folder / SHADOWS_FILE).exists():
        write_table(folder, SHADOWS_FILE, {alias: shadow.to_json() for alias, shadow in shadows.items()})
