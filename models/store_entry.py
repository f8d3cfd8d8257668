"""One model of the store, read from its folder: versions, aliases and shadows; and references to a model."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.alias_file import DEFAULT_ALIAS, LATEST, is_alias, read_aliases
from models.alias_target import Target, lead_of, versions_of
from models.errors import InvalidName, ModelNotFound, StoreError
from models.links import is_link_out
from models.shadow_file import SHADOWS_FILE, ShadowSetting, read_shadows

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
LAST_VERSION = 999_999_999  # the largest number that VERSION matches


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: `name`, `name@version` or `name@alias`.

    Attributes:
        name: name of the model.
        version: version number, or None.
        alias: alias, or None; never set together with `version`.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parses a reference.

        Raises:
            InvalidName: The text is not a well-formed reference.
        """
        name, at, tail = text.partition("@")
        check_model_name(name)
        if not at:
            return cls(name)
        if VERSION.fullmatch(tail):
            return cls(name, version=int(tail))
        if is_alias(tail):
            return cls(name, alias=tail)
        raise InvalidName(f"{tail[:80]!r} is neither a version (1, 2, 3, …) nor an alias.")


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One model of the store.

    Attributes:
        name: name of the model.
        versions: version numbers, ascending.
        aliases: target by alias.
        problem: reason why versions or aliases could not be read, without paths outside the store; None if all was
            read.
        shadows: shadow by alias.
        shadow_problem: reason why the shadows could not be read, or None.
        preloaded: versions that a server loads before any request, besides those that a name means.
        withheld: versions in the store that a server does not serve, ascending.
        policy: version policy that withholds them, as a phrase.
        policy_problem: reason why the model's own policy is not followed; None if it is, or if there is none.
    """

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, Target] = field(default_factory=dict)
    problem: str | None = None
    shadows: Mapping[str, ShadowSetting] = field(default_factory=dict)
    shadow_problem: str | None = None
    preloaded: tuple[int, ...] = ()
    withheld: tuple[int, ...] = ()
    policy: str = ""
    policy_problem: str | None = None

    def resolve(self, reference: Reference) -> int:
        """Returns the version that a reference to this model means; of a split, the version with the largest weight.

        Raises:
            ModelNotFound: There is no such version or alias.
            StoreError: The store could not be read, and a guess might serve another model.
        """
        needs_aliases = reference.version is None and reference.alias != LATEST
        if self.problem is not None and (needs_aliases or not self.versions):
            raise StoreError(self.problem)
        if reference.version is not None:
            wanted, called = reference.version, f"version {reference.version}"
        elif reference.alias is not None and reference.alias != LATEST:
            if reference.alias not in self.aliases:
                raise ModelNotFound(f"model {self.name!r} has no alias {reference.alias!r}.")
            wanted, called = lead_of(self.aliases[reference.alias]), f"version that its alias {reference.alias!r} names"
        elif reference.alias is None and DEFAULT_ALIAS in self.aliases:
            wanted, called = lead_of(self.aliases[DEFAULT_ALIAS]), "version that its alias 'default' names"
        elif self.versions:
            return self.versions[-1]
        elif self.withheld:
            raise ModelNotFound(f"no version of model {self.name!r} is served: {self._withholding(self.withheld[-1])}")
        else:
            raise ModelNotFound(f"model {self.name!r} has no version.")
        if wanted in self.withheld:
            raise ModelNotFound(f"{self.name}@{wanted} is not served: {self._withholding(wanted)}")
        if wanted not in self.versions:
            raise ModelNotFound(f"model {self.name!r} has no {called}.")
        return wanted

    def _withholding(self, version: int) -> str:
        """Returns the reason why a version is not served, and the remedy."""
        served = f"versions {', '.join(map(str, self.versions[-10:]))}" if self.versions else "none"
        return (
            f"{self.policy} serves {served}. An alias on version {version} or `axon versions {self.name} "
            "POLICY` changes that."
        )


def read_entry(folder: Path) -> StoreEntry:
    """Reads a model's folder; the entry has the reason if the folder cannot be read."""
    if problem := foreign(folder):
        return StoreEntry(folder.name, (), problem=problem)
    while True:
        aliases, problem = read_aliases(folder)
        try:
            versions, has_shadows = read_versions(folder)
        except OSError as error:
            return StoreEntry(folder.name, (), problem=f"{folder.name} cannot be read: {error.strerror}.")
        # Since the aliases were read, a writer may have published, moved an alias and deleted a version. If the aliases
        # are unchanged, the store really has an alias without its version.
        named = {version for target in aliases.values() for version in versions_of(target)}
        if named <= set(versions) or (aliases, problem) == read_aliases(folder):
            shadows, shadow_problem = read_shadows(folder) if has_shadows else ({}, None)
            return StoreEntry(folder.name, versions, aliases, problem, shadows, shadow_problem)


def read_versions(folder: Path) -> tuple[tuple[int, ...], bool]:
    """Returns the version numbers in a model's folder, ascending, and True if the folder has a file of shadows."""
    try:
        with os.scandir(folder) as places:
            found = {
                place.name: place for place in places if VERSION.fullmatch(place.name) or place.name == SHADOWS_FILE
            }
            has_shadows = found.pop(SHADOWS_FILE, None) is not None
            folders = [name for name, place in found.items() if is_folder(place)]
    except (FileNotFoundError, NotADirectoryError):
        return (), False
    return tuple(sorted(map(int, folders))), has_shadows


def check_model_name(name: str) -> None:
    """Refuses a text that is not a model name. No model name is a path that leaves the store's folder.

    Raises:
        InvalidName: The text is not a model name.
    """
    if not MODEL_NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:80]!r} is not a model name: up to 64 letters, digits, . _ -, beginning with a letter or a digit."
        )


def foreign(path: Path) -> str | None:
    """Returns an error message if a model's folder is a link that leads out of the store, else None."""
    return f"{path.name} is a link that leads out of the store." if is_link_out(path, path.parent) else None


def is_folder(place: os.DirEntry[str]) -> bool:
    """Returns True for a folder and for a link to one."""
    # DirEntry needs no disk access for an entry that is not a link; for a circular link it raises, and Path does not.
    return Path(place).is_dir() if place.is_symlink() else place.is_dir()
