"""One look at the store: what it holds, and which of its models differ from the look before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace

from models.errors import CheckpointError
from models.file_identity import FileIdentity
from models.store import Store, StoreEntry
from service.preloaded_versions import preloaded_ids

_AWAKE_SECONDS = 500e-6
_ASLEEP_SECONDS = 100e-6

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

        The thread compares, so that a store in which nothing has changed costs the event loop nothing. It sleeps again
        and again: with each short call of the system it lets go of the interpreter's lock and takes it back before the
        event loop has woken up, which would wait for 10 ms and more.

        Raises:
            StoreError: the store cannot be read.
        """
        entries: dict[str, StoreEntry] = {}
        identities: dict[Place, FileIdentity | None] = {}
        changed: list[str] = []
        until = time.perf_counter() + _AWAKE_SECONDS
        for entry in store.scan():
            if time.perf_counter() >= until:
                time.sleep(_ASLEEP_SECONDS)
                until = time.perf_counter() + _AWAKE_SECONDS
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
    firsts = (next(candidates, None) for _, candidates in preloaded_ids(entry))
    files: dict[Place, FileIdentity | None] = {}
    for version in {version for version in firsts if version is not None}:
        try:
            files[entry.name, version] = store.version(entry.name, version).identity()
        except CheckpointError:  # looked at again, and told, when it is made ready
            files[entry.name, version] = None
    return files
