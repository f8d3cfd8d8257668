"""The preloaded versions of a store, loaded before any request: each model's default, newest and aliased versions.

A version policy may add versions.

The catalog and the workers use the same rule. So a worker that reports that it is ready has loaded the versions that
the catalog needs first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.alias_file import DEFAULT_ALIAS, LATEST
from models.alias_target import Split, lead_of
from models.errors import CheckpointError, StoreError
from models.model_store import ReadableStore
from models.store_entry import StoreEntry
from service.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class VersionToLoad:
    """A version to preload.

    Attributes:
        name: name of the model.
        version: number of the version.
        digest: digest that the header of its checkpoint claims.
    """

    name: str
    version: int
    digest: str


def preloaded_versions(store: ReadableStore) -> Iterator[VersionToLoad]:
    """Yields the versions that a worker loads before reporting that the worker is ready."""
    try:
        entries = store.entries()
    except StoreError as error:
        log.error("store not read", reason=str(error))
        return
    places: dict[tuple[str, int], None] = {}
    for entry in entries:
        # A shadow is loaded later: a worker that cannot load a shadow has to be ready all the same.
        first = (next(candidates, None) for _, candidates in preloaded_ids(entry, with_shadows=False))
        places |= dict.fromkeys((entry.name, version) for version in sorted({one for one in first if one is not None}))
    store.fetch(places)
    for name, version in places:
        try:
            digest: Any = store.version(name, version).read_header()["digest"]
        except CheckpointError as error:
            log.error("checkpoint not loaded", model=name, version=version, reason=str(error))
            continue
        yield VersionToLoad(name, version, digest)


def preloaded_ids(entry: StoreEntry, *, with_shadows: bool = True) -> Iterator[tuple[str, Iterator[int]]]:
    """Yields each preloaded id of one model with the candidate versions of the id, the best first.

    If the newest version cannot be loaded, the version before is the next candidate. An alias has one candidate. The
    versions of a split, and shadows, have the ids of their own numbers.

    Args:
        entry: entry of the store.
        with_shadows: False to leave out the shadows.
    """
    if DEFAULT_ALIAS in entry.aliases:
        yield entry.name, iter([lead_of(entry.aliases[DEFAULT_ALIAS])])
    else:
        yield entry.name, reversed(entry.versions)
    yield f"{entry.name}@{LATEST}", reversed(entry.versions)
    numbered: dict[int, None] = {}
    for alias, target in entry.aliases.items():
        yield f"{entry.name}@{alias}", iter([lead_of(target)])
        if isinstance(target, Split):
            numbered |= dict.fromkeys(target.versions)
    if with_shadows:
        numbered |= {shadow.version: None for shadow in entry.shadows.values()}
    numbered |= dict.fromkeys(entry.preloaded)
    for version in sorted(numbered.keys() & set(entry.versions)):  # what is not there is named by its alias
        yield f"{entry.name}@{version}", iter([version])
