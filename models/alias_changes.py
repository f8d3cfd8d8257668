"""Changes of the aliases of one model, with their history. The caller keeps other writers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.alias_file import DEFAULT_ALIAS, LATEST, is_alias
from models.alias_tables import AliasTables
from models.alias_target import Target, target_text, versions_of
from models.errors import InvalidName, ModelNotFound, StoreError
from models.shadow_file import ShadowSetting


class AliasChanges:
    """The aliases of one model, for a writer.

    Args:
        name: name of the model.
        tables: place of the aliases, histories and shadows.
        versions: version numbers, ascending.
        aliases: target by alias.
        shadows: shadow by alias.
    """

    def __init__(
        self,
        name: str,
        tables: AliasTables,
        versions: Sequence[int],
        aliases: Mapping[str, Target],
        shadows: Mapping[str, ShadowSetting],
    ) -> None:
        self._name = name
        self._tables = tables
        self._versions = versions
        self._aliases = aliases
        self._shadows = shadows

    def point(self, alias: str, target: Target) -> None:
        """Makes an alias mean a target.

        Raises:
            InvalidName: the text cannot be an alias (`latest` is reserved).
            ModelNotFound: there is no such version.
        """
        if not is_alias(alias) or alias == LATEST:
            raise InvalidName(
                f"{alias[:80]!r} cannot be an alias: letters, digits, . _ - after a letter, not 'latest'."
            )
        for version in versions_of(target):
            self._check_version(version)
        past = self._meanings(alias)
        if past and past[-1] == target:
            past.pop()
        self._tables.write_history(alias, past)
        self._tables.write_aliases({**self._aliases, alias: target})

    def remove(self, alias: str) -> None:
        """Removes an alias and its shadow.

        Raises:
            ModelNotFound: there is no such alias.
        """
        self._check_alias(alias)
        past = self._meanings(alias)
        if alias == DEFAULT_ALIAS and self._versions and self._versions[-1] != past[-1]:
            past.append(self._versions[-1])  # the meaning of the bare name from now on
        self._tables.write_history(alias, past)
        self._tables.write_aliases({key: value for key, value in self._aliases.items() if key != alias})
        if alias in self._shadows and alias != DEFAULT_ALIAS:  # the bare name keeps its shadow
            self.remove_shadow(alias)

    def roll_back(self, alias: str) -> tuple[Target, Target]:
        """Restores the target before of an alias, as far as the versions are still there.

        Returns:
            Target of the alias until now, and its target from now on.

        Raises:
            ModelNotFound: there is no such alias.
            StoreError: no earlier target is known, or versions of all of them were deleted.
        """
        if alias != DEFAULT_ALIAS:
            self._check_alias(alias)
        *past, now = self._meanings(alias)
        while past and (past[-1] == now or not set(versions_of(past[-1])) <= set(self._versions)):
            past.pop()
        if not past:
            called = self._name if alias == DEFAULT_ALIAS else f"{self._name}@{alias}"
            raise StoreError(f"no version is known that {called} meant before {target_text(self._name, now)}.")
        before = past.pop()
        # The alias first: if the process ends in between, the history ends with what the alias means, which is skipped.
        self._tables.write_aliases({**self._aliases, alias: before})
        self._tables.write_history(alias, past)
        return now, before

    def set_shadow(self, alias: str, shadow: ShadowSetting) -> None:
        """Gives an alias a shadow; `default` is the bare name, even without that alias.

        Raises:
            ModelNotFound: there is no such alias or version.
        """
        if alias != DEFAULT_ALIAS:
            self._check_alias(alias)
        self._check_version(shadow.version)
        self._tables.write_shadows({**self._shadows, alias: shadow})

    def remove_shadow(self, alias: str) -> None:
        """Removes the shadow of an alias.

        Raises:
            ModelNotFound: the alias has no shadow.
        """
        if alias not in self._shadows:
            raise ModelNotFound(f"alias {alias[:80]!r} of model {self._name!r} has no shadow.")
        self._tables.write_shadows({key: value for key, value in self._shadows.items() if key != alias})

    def check_unused(self, version: int) -> None:
        """Refuses a version that an alias names, or that is a shadow.

        Raises:
            StoreError: the version is in use.
        """
        for alias, target in self._aliases.items():
            if version in versions_of(target):
                raise StoreError(f"{self._name}@{version} is what alias {alias!r} names: move the alias first.")
        for alias, shadow in self._shadows.items():
            if version == shadow.version:
                raise StoreError(f"{self._name}@{version} is the shadow of alias {alias!r}: remove the shadow first.")

    def _check_alias(self, alias: str) -> None:
        if alias not in self._aliases:
            raise ModelNotFound(f"model {self._name!r} has no alias {alias[:80]!r}.")

    def _check_version(self, version: int) -> None:
        if version not in self._versions:
            raise ModelNotFound(f"model {self._name!r} has no version {version}.")

    def _meanings(self, alias: str) -> list[Target]:
        """Returns the targets that an alias had, the present one last; for `default`, those of the bare name."""
        past = self._tables.read_history(alias)
        if alias in self._aliases:
            return [*past, self._aliases[alias]]
        if alias != DEFAULT_ALIAS:
            return past
        last = max(versions_of(past[-1])) if past else 0
        meant: list[Target] = [*past, *(version for version in self._versions if version > last)]
        newest = self._versions[-1]
        return meant if meant[-1] == newest else [*meant, newest]  # versions after the newest may have been deleted
