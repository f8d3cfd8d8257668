"""What of a store is served before anybody asks for it: each model's default, newest and aliased versions.

The catalog and the workers go by the same rule, so that a worker that says that it is ready has loaded what the
catalog asks for first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.alias_file import DEFAULT_ALIAS, LATEST
from models.errors import CheckpointError, StoreError
from models.store import Store, StoreEntry
from service.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class VersionToLoad:
    """A version that is served by default, with the digest that its header claims."""

    name: str
    version: int
    digest: str


def preloaded_versions(store: Store) -> Iterator[VersionToLoad]:
    """What a worker loads before it says that it is ready: each model's default, newest and aliased versions."""
    try:
        entries = store.entries()
    except StoreError as error:
        log.error("store not read", reason=str(error))
        return
    for entry in entries:
        first = (next(candidates, None) for _, candidates in preloaded_ids(entry))
        for version in sorted({version for version in first if version is not None}):
            try:
                digest: Any = store.version(entry.name, version).read_header()["digest"]
            except CheckpointError as error:
                log.error("checkpoint not loaded", model=entry.name, version=version, reason=str(error))
                continue
            yield VersionToLoad(entry.name, version, digest)


def preloaded_ids(entry: StoreEntry) -> Iterator[tuple[str, Iterator[int]]]:
    """Ids of one model that are served ahead, each with the versions that may answer to it, best first.

    The newest stands back for the one before it where it cannot be loaded; an alias means its one version.
    """
    if DEFAULT_ALIAS in entry.aliases:
        yield entry.name, iter([entry.aliases[DEFAULT_ALIAS]])
    else:
        yield entry.name, reversed(entry.versions)
    yield f"{entry.name}@{LATEST}", reversed(entry.versions)
    for alias, version in entry.aliases.items():
        yield f"{entry.name}@{alias}", iter([version])
