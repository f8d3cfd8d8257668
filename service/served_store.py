"""The served part of a store: each model with the versions that the version policy serves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from models.alias_target import Split
from models.checkpoint import LoadedCheckpoint
from models.errors import StoreError
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.open_store import open_store
from models.signatures.trust import Trust
from models.store_entry import StoreEntry
from models.version_policy import POLICY_FILE, VersionPolicy
from service.settings import Settings

# Of the time between two readings of the store: how old a listing of a bucket may be, by another process of the server.
_SHARED = 0.7


class ServedStore:
    """A store whose entries have only served versions; `withheld` has the others.

    Args:
        store: store of models.
        policy: version policy of models without a policy of their own, the text of the setting.
    """

    def __init__(self, store: ModelStore, policy: str) -> None:
        self._store = store
        self._policy = VersionPolicy.parse(policy)
        self._own_policies: dict[str, VersionPolicy | None] = {}  # as last read, by name of the model

    @classmethod
    def of(cls, settings: Settings, trust: Trust | None = None) -> ServedStore:
        """Opens the store that the settings name.

        Args:
            settings: settings of the server.
            trust: keys that may have signed versions; None to load all versions.

        Raises:
            StoreError: The store cannot be opened.
        """
        store = open_store(
            settings.store,
            follow_seconds=_SHARED * settings.reload_seconds,
            cache=settings.store_cache,
            cache_bytes=settings.store_cache_bytes,
            trust=trust,
        )
        return cls(store, settings.versions)

    @property
    def problem(self) -> str | None:
        """Reason why the last reading used the last known state, and did not reach the store; None otherwise."""
        return self._store.problem

    def scan(self) -> Iterator[StoreEntry]:
        """Yields the models of the store, sorted by name, each with the versions that are served.

        Raises:
            StoreError: The store cannot be read.
        """
        names = set()
        for entry in self._store.scan():
            names.add(entry.name)
            yield self._restricted(entry)
        self._own_policies = {name: own for name, own in self._own_policies.items() if name in names}

    def entries(self) -> list[StoreEntry]:
        """Returns the models of the store, sorted by name, each with the versions that are served.

        Raises:
            StoreError: The store cannot be read.
        """
        return list(self.scan())

    def version(self, name: str, version: int) -> ModelVersion:
        """Returns a version, even one that does not exist.

        Raises:
            InvalidName: `name` is not a model name.
        """
        return self._store.version(name, version)

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means.

        Raises:
            InvalidName, ModelNotFound, StoreError, CheckpointError: The cases of `ModelStore.load`.
        """
        return self._store.load(reference)

    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Brings versions onto this machine at the same time, as far as possible.

        Args:
            versions: names and numbers of the versions.
        """
        self._store.fetch(versions)

    def expire(self) -> None:
        """Makes the next reading ask the store, and not use a recent copy of the state."""
        self._store.expire()

    def _restricted(self, entry: StoreEntry) -> StoreEntry:
        """Returns an entry with the versions that its policy serves.

        If a policy cannot be read, the one that was read before holds: another one might serve what is withheld, or
        withhold what is served.
        """
        try:
            own, problem = self._store.read_policy(entry.name)
        except StoreError as error:
            if entry.name not in self._own_policies:
                return replace(entry, problem=str(error))
            own, problem = self._own_policies[entry.name], str(error)
        self._own_policies[entry.name] = own
        policy = self._policy if own is None else own
        if policy.listed and problem is None and (missing := set(policy.listed).difference(entry.versions)):
            problem = f"{entry.name}/{POLICY_FILE} lists version {min(missing)}, which the store does not have."
        served = policy.served(entry.versions, _named_versions(entry))
        if len(served) == len(entry.versions) and not policy.preloads and problem is None:
            return entry
        where = "AXON_VERSIONS" if own is None else POLICY_FILE
        return replace(
            entry,
            versions=served,
            preloaded=served if policy.preloads else (),
            withheld=tuple(version for version in entry.versions if version not in served),
            policy=f"the version policy {policy.text!r} ({where})",
            policy_problem=problem,
        )


def _named_versions(entry: StoreEntry) -> set[int]:
    """Returns the versions that an alias or a shadow of a model names."""
    named = {shadow.version for shadow in entry.shadows.values()}
    for target in entry.aliases.values():
        named.update(target.versions if isinstance(target, Split) else (target,))
    return named
