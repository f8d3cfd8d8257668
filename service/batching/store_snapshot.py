"""A snapshot of the store: all entries, and the models that differ from the snapshot before."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from models.errors import CheckpointError
from models.file_identity import FileIdentity
from models.model_store import ReadableStore
from models.store_entry import StoreEntry
from service.preloaded_versions import preloaded_ids

_AWAKE_SECONDS = 500e-6
_ASLEEP_SECONDS = 100e-6

Place = tuple[str, int]  # name and number of a version


@dataclass(frozen=True)
class StoreSnapshot:
    """A snapshot of the store. No part is changed afterwards, so threads may share it.

    Attributes:
        entries: entries of the store by name, sorted.
        identities: identities of the files that are the first choice of some id; None for a file that cannot be read.
        found: places of all versions.
        problems: reasons by name why an entry could not be read.
        policy_problems: reasons by name why a model's version policy is not followed.
        changed: names whose entry or files differ from the snapshot before, including removed names.
    """

    entries: Mapping[str, StoreEntry] = field(default_factory=dict)
    identities: Mapping[Place, FileIdentity | None] = field(default_factory=dict)
    found: Set[Place] = frozenset()
    problems: Mapping[str, str] = field(default_factory=dict)
    policy_problems: Mapping[str, str] = field(default_factory=dict)
    changed: tuple[str, ...] = ()

    @classmethod
    def take(
        cls, store: ReadableStore, before: StoreSnapshot, found: Iterable[StoreEntry] | None = None
    ) -> StoreSnapshot:
        """Takes a snapshot of the store; has to be called in a thread.

        The comparison is made in the thread, so that an unchanged store costs the event loop nothing. The thread sleeps
        regularly: at each short system call it releases the interpreter's lock, but takes the lock back before the
        event loop has woken up, which would then wait for 10 ms and more.

        Args:
            store: store of checkpoints.
            before: snapshot before this one.
            found: entries of the store; None to scan the store.

        Raises:
            StoreError: the store cannot be read.
        """
        entries: dict[str, StoreEntry] = {}
        identities: dict[Place, FileIdentity | None] = {}
        changed: list[str] = []
        until = time.perf_counter() + _AWAKE_SECONDS
        for entry in store.scan() if found is None else found:
            if time.perf_counter() >= until:
                time.sleep(_ASLEEP_SECONDS)
                until = time.perf_counter() + _AWAKE_SECONDS
            files = _first_files(store, entry)
            entries[entry.name] = entry
            identities |= files
            # If the entries are equal, `files` has the same places as before.
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
            policy_problems={name: problem for name, entry in entries.items() if (problem := entry.policy_problem)},
            changed=tuple(changed),
        )


def _first_files(store: ReadableStore, entry: StoreEntry) -> dict[Place, FileIdentity | None]:
    """Returns the identities of the files that are the first choice of some id of an entry."""
    firsts = (next(candidates, None) for _, candidates in preloaded_ids(entry))
    files: dict[Place, FileIdentity | None] = {}
    for version in {version for version in firsts if version is not None}:
        try:
            files[entry.name, version] = store.version(entry.name, version).identity()
        except CheckpointError:  # reported when the version is loaded
            files[entry.name, version] = None
    return files
