"""The interface of every store of models: a folder (`models.store`) or a bucket (`models.bucket`).

A reference is `name`, `name@version` or `name@alias`. `name` alone means the alias `default` if that is set, else the
newest version; `name@latest` always means the newest version. An alias may divide requests among versions
(`models.alias_target`) and may have a shadow (`models.shadow_file`). A reader sees a whole version or nothing, and
numbers are never assigned twice, even after a version was deleted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from models.alias_changes import AliasChanges
from models.alias_file import DEFAULT_ALIAS
from models.alias_target import Split, Target
from models.checkpoint import Checkpoint, LoadedCheckpoint
from models.errors import ModelNotFound, StoreError
from models.model_version import ModelVersion
from models.shadow_file import ShadowSetting
from models.store_entry import Reference, StoreEntry
from models.version_policy import VersionPolicy

_T = TypeVar("_T")


class ReadableStore(Protocol):
    """A store for a server, which only reads."""

    @property
    def problem(self) -> str | None:
        """Reason why the last reading used the last known state, and did not reach the store; None otherwise."""

    def scan(self) -> Iterator[StoreEntry]:
        """Yields the models of the store, sorted by name."""

    def entries(self) -> list[StoreEntry]:
        """Returns the models of the store, sorted by name."""

    def version(self, name: str, version: int) -> ModelVersion:
        """Returns a version, even one that does not exist."""

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means."""

    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Brings versions onto this machine at the same time, as far as possible."""

    def expire(self) -> None:
        """Makes the next reading ask the store, and not use a recent copy of the state."""


class ModelStore(ABC):
    """A store of models, each with numbered versions and named aliases."""

    @property
    def problem(self) -> str | None:
        """Reason why the last reading used the last known state, and did not reach the store; None otherwise."""
        return None

    @property
    @abstractmethod
    def address(self) -> str:
        """Folder or URL of the store, in the form that users write."""

    @property
    @abstractmethod
    def folder(self) -> Path | None:
        """Folder of the store; None for a store that is not a folder of this machine."""

    @abstractmethod
    def publish(self, name: str, checkpoint: Checkpoint) -> ModelVersion:
        """Writes the checkpoint as the next version of `name`.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError, CheckpointError: The store refuses the write, and is unchanged.
        """

    @abstractmethod
    def try_publishing(self, name: str, *, size: int = 0) -> None:
        """Tests if a version of `name` can be published, and leaves the store unchanged.

        Args:
            name: name of the model.
            size: number of bytes of the checkpoint, as far as known.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError: The store refuses the write.
        """

    @abstractmethod
    def delete(self, name: str, version: int) -> None:
        """Removes a version atomically; the version's number is not assigned again.

        Raises:
            ModelNotFound: There is no such model or version.
            StoreError: An alias still names the version, or the version is a shadow.
        """

    @abstractmethod
    def scan(self) -> Iterator[StoreEntry]:
        """Yields the same models as `entries`, one by one.

        Raises:
            StoreError: The store cannot be read.
        """

    @abstractmethod
    def entry(self, name: str) -> StoreEntry:
        """Returns the model of this name.

        Raises:
            InvalidName: `name` is not a model name.
            ModelNotFound: There is no model of this name.
            StoreError: The store cannot be read.
        """

    @abstractmethod
    def version(self, name: str, version: int) -> ModelVersion:
        """Returns the place of a version in the store, even of one that does not exist.

        Raises:
            InvalidName: `name` is not a model name.
        """

    @abstractmethod
    def read_policy(self, name: str) -> tuple[VersionPolicy | None, str | None]:
        """Reads the version policy of one model.

        Returns:
            The policy, None if the model has none of its own; and the reason why it cannot be followed, or None.

        Raises:
            StoreError: The policy cannot be read.
        """

    @abstractmethod
    def _write_policy(self, name: str, policy: VersionPolicy | None) -> None:
        """Writes the version policy of an existing model, atomically; None removes the policy."""

    @abstractmethod
    def _change(self, name: str, change: Callable[[AliasChanges, StoreEntry], _T]) -> _T:
        """Applies a change to the aliases of an existing model, atomically, and returns the result.

        Args:
            name: name of the model.
            change: function that makes the change; called again if another writer was first.

        Raises:
            ModelNotFound: There is no model of this name.
            StoreError: The store refuses the write, or the model cannot be read.
        """

    @abstractmethod
    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Brings versions onto this machine at the same time, as far as possible; does nothing for a folder.

        Args:
            versions: names and numbers of the versions.
        """

    @abstractmethod
    def expire(self) -> None:
        """Makes the next reading ask the store, and not use a recent copy of the state; does nothing for a folder."""

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points `alias` at a version, atomically.

        Raises:
            InvalidName: `name` is not a model name, or `alias` cannot be an alias (`latest` is reserved).
            ModelNotFound: There is no such model or version.
        """
        self._change(name, lambda changes, _: changes.point(alias, int(version)))

    def split(self, name: str, alias: str, weights: Mapping[int, float]) -> Split:
        """Divides the requests of `alias` among versions, atomically, and returns the split.

        Args:
            name: name of the model.
            alias: alias; `default` is what the name alone means.
            weights: weight by version; the weights add up to 100 or to 1.

        Raises:
            ConfigError: The weights are not valid.
            InvalidName: `name` is not a model name, or `alias` cannot be an alias (`latest` is reserved).
            ModelNotFound: There is no such model or version.
        """
        split = Split.of(weights)
        self._change(name, lambda changes, _: changes.point(alias, split))
        return split

    def remove_alias(self, name: str, alias: str) -> None:
        """Removes an alias, and its shadow.

        Raises:
            ModelNotFound: There is no such model or alias.
        """
        self._change(name, lambda changes, _: changes.remove(alias))

    def roll_back(self, name: str, alias: str = DEFAULT_ALIAS) -> tuple[Target, Target]:
        """Restores the previous target of an alias, a version or a split; `default` is the meaning of the bare name.

        Without the alias `default`, the bare name meant each new version in turn, so it goes back to the version before
        the newest.

        Returns:
            Target of the alias until now, and its target from now on.

        Raises:
            ModelNotFound: There is no such model or alias.
            StoreError: No earlier target of the alias is known, or versions of all of them were deleted.
        """
        return self._change(name, lambda changes, _: changes.roll_back(alias))

    def set_shadow(self, name: str, alias: str, version: int, share: float = 100) -> None:
        """Makes a version the shadow of an alias: the server compares its answers to copies of the requests.

        Args:
            name: name of the model.
            alias: alias; `default` is what the name alone means.
            version: version that gets the copies.
            share: percentage of the requests that are copied.

        Raises:
            ConfigError: The share is not above 0 and up to 100.
            ModelNotFound: There is no such model, alias or version.
        """
        shadow = ShadowSetting.of(version, share)

        def change(changes: AliasChanges, entry: StoreEntry) -> None:
            _check_shadows(entry)
            changes.set_shadow(alias, shadow)

        self._change(name, change)

    def remove_shadow(self, name: str, alias: str = DEFAULT_ALIAS) -> None:
        """Removes the shadow of an alias.

        Raises:
            ModelNotFound: There is no such model, or the alias has no shadow.
        """

        def change(changes: AliasChanges, entry: StoreEntry) -> None:
            _check_shadows(entry)
            changes.remove_shadow(alias)

        self._change(name, change)

    def set_policy(self, name: str, policy: VersionPolicy | None) -> None:
        """Writes the version policy of one model, atomically; None lets the server's setting hold.

        Raises:
            InvalidName: `name` is not a model name.
            ModelNotFound: There is no such model, or the store has not all listed versions.
            StoreError: The store refuses the write.
        """
        entry = self.entry(name)
        if policy is not None and (missing := set(policy.listed or ()).difference(entry.versions)):
            raise ModelNotFound(f"model {name!r} has no version {min(missing)}.")
        self._write_policy(name, policy)

    def names(self) -> list[str]:
        """Returns the sorted names of the models with at least one version."""
        return [entry.name for entry in self.entries() if entry.versions]

    def entries(self) -> list[StoreEntry]:
        """Returns the models of the store, sorted by name.

        What is not a model is skipped. A model that cannot be read has a `problem`, and perhaps no versions.

        Raises:
            StoreError: The store cannot be read.
        """
        return list(self.scan())

    def resolve(self, reference: str) -> ModelVersion:
        """Returns the version that `name`, `name@version` or `name@alias` means.

        Raises:
            InvalidName: The reference is not well formed.
            ModelNotFound: There is no such model, version or alias.
            StoreError: The store cannot be read.
        """
        parsed = Reference.parse(reference)
        return self.version(parsed.name, self.entry(parsed.name).resolve(parsed))

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means.

        Raises:
            InvalidName, ModelNotFound, StoreError, CheckpointError: The cases of `resolve` and `ModelVersion.load`.
        """
        return self.resolve(reference).load()


def _check_shadows(entry: StoreEntry) -> None:
    if entry.shadow_problem is not None:
        raise StoreError(entry.shadow_problem)
