"""One look at the store: what it holds, and which of its models differ from the look before."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from models.errors import CheckpointError
from models.file_identity import FileIdentity
from models.store import Store, StoreEntry
from service.served_ahead import ids_served_ahead

Place = tuple[str, int]  # name and number of a version


@dataclass(frozen=True)
class StoreLook:
    """What a look found. Nothing of it is changed afterwards, so threads may share it.

    Attributes:
        entries: entries of the store by name, sorted.
        identities: identities of the files that ids mean first; None for a file that cannot be looked at.
        found: places of all versions.
        problems: reasons by name why an entry could not be read.
        changed: names whose entry or files differ from the look before; those that have gone are among them.
    """

    entries: Mapping[str, StoreEntry] = field(default_factory=dict)
    identities: Mapping[Place, FileIdentity | None] = field(default_factory=dict)
    found: Set[Place] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @classmethod
    def take(cls, store: Store, before: StoreLook) -> StoreLook:
        """Looks at the store; belongs in a thread.

        The thread compares, so that a store in which nothing has changed costs the event loop nothing. Between two
        models lies a call of the system, with which the thread lets go of the interpreter's lock.

        Raises:
            StoreError: the store cannot be read.
        """
        entries: dict[str, StoreEntry] = {}
        identities: dict[Place, FileIdentity | None] = {}
        changed: list[str] = []
        for entry in store.entries():
            files = _first_files(store, entry)
            entries[entry.name] = entry
            identities |= files
            # Where the entries are equal, the places are the same.
            if before.entries.get(entry.name) != entry or any(before.identities[at] != files[at] for at in files):
                changed.append(entry.name)
        changed += [name for name in before.entries if name not in entries]
        if not changed:
            return replace(before, changed=())
        return cls(
            entries=entries,
            identities=identities,
            found={(name, version) for name, entry in entries.items() for version in entry.versions},
            problems={name: entry.problem for name, entry in entries.items() if entry.problem is not None},
            changed=tuple(changed),
        )


def _first_files(store: Store, entry: StoreEntry) -> dict[Place, FileIdentity | None]:
    """The identity of each file that an id of the entry means first."""
    firsts = (next(candidates, None) for _, candidates in ids_served_ahead(entry))
    files: dict[Place, FileIdentity | None] = {}
    for version in {version for version in firsts if version is not None}:
        try:
            files[entry.name, version] = store.version(entry.name, version).identity()
        except CheckpointError:  # looked at again, and told, when it is made ready
            files[entry.name, version] = None
    return files
