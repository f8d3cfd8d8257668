"""The store of a server: each model with the versions that the version policy serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models.alias_target import Split
from models.signatures.trust import Trust
from models.store import Store
from models.store_entry import StoreEntry
from models.version_policy import POLICY_FILE, VersionPolicy, read_policy


class ServedStore(Store):
    """A store whose entries have only served versions; `withheld` has the others.

    Args:
        root: folder of the store.
        policy: version policy of models without a policy of their own, the text of the setting.
        trust: keys that may have signed versions; None to load all versions.
    """

    def __init__(self, root: Path, policy: str, trust: Trust | None = None) -> None:
        super().__init__(root, trust=trust)
        self._policy = VersionPolicy.parse(policy)

    def scan(self) -> Iterator[StoreEntry]:
        """Yields the models of the store, sorted by name, each with the versions that are served.

        Raises:
            StoreError: The store cannot be read.
        """
        for entry in super().scan():
            yield self._restricted(entry)

    def _restricted(self, entry: StoreEntry) -> StoreEntry:
        own, problem = read_policy(self.root / entry.name)
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
