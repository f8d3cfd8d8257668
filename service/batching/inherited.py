"""The inheritance of a new API process from a dead one: the models of the store, and the served versions.

When an API process dies, the store may be lost, or a file of it damaged. The other API processes go on with what they
have in memory. A successor has no such memory, so it takes the models from a file that each API process keeps up to
date, and a version that the store cannot give from the copy of the checkpoint that the workers keep.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from models.alias_target import target_from_json, target_to_json
from models.errors import ConfigError, StoreError, reason_of
from models.keys import parse_key
from models.model_store import ReadableStore
from models.shadow_file import ShadowSetting
from models.store import FolderVersion
from models.store_entry import StoreEntry
from service.batching.link import Loaded
from service.batching.store_problems import LOST
from service.logs import get_logger
from service.stream.kept_checkpoints import KeptCheckpoints

log = get_logger(__name__)


class KnownModels:
    """The file with the known models of the store, replaced as a whole by each API process after a change.

    Args:
        runtime_dir: folder that the server's processes share.
        role: name of the process, `api-0`.
    """

    def __init__(self, runtime_dir: Path, role: str) -> None:
        self._path = runtime_dir / "known-models"
        self._temporary = runtime_dir / f".known-models.{role}"
        self._known: dict[str, StoreEntry] = {}

    def read(self) -> dict[str, StoreEntry]:
        """Returns the entries by name; none if the file cannot be read."""
        try:
            documents = json.loads(self._path.read_text(encoding="utf-8"))
            self._known = {document["name"]: _entry_of(document) for document in documents}
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            self._known = {}
        return self._known

    def write(self, entries: Iterable[StoreEntry]) -> None:
        """Replaces the file. An entry that could not be read is written as it was before.

        Args:
            entries: entries of the store.
        """
        known = (entry if entry.problem is None else self._known.get(entry.name) for entry in entries)
        self._known = {entry.name: entry for entry in known if entry is not None}
        text = json.dumps([_document_of(entry) for entry in self._known.values()])
        try:
            self._temporary.write_text(text, encoding="utf-8")
            self._temporary.replace(self._path)
        except OSError as error:
            log.warning("a successor of this process would not know the models of a lost store", reason=str(error))
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)


class Inherited:
    """The models and versions that a successor takes over from its predecessor and its siblings.

    Args:
        entries: entries of the store by name, as the server knows them.
        keys: keys of the versions that the server serves.
        kept: copies of checkpoints.
        load_on_workers: function that loads the version of a key on all workers from its copy.

    Attributes:
        load_on_workers: function that loads the version of a key on all workers from its copy.
        lost: reason why the last `scan` yielded the inherited entries alone; None if the store had some.
    """

    def __init__(
        self,
        entries: Mapping[str, StoreEntry],
        keys: Collection[str],
        kept: KeptCheckpoints,
        load_on_workers: Callable[[str], Awaitable[Loaded]],
    ) -> None:
        self.load_on_workers = load_on_workers
        self.lost: str | None = None
        self._entries = entries
        self._kept = kept
        self._keys = {parse_key(key)[:2]: key for key in keys if kept.path(key).exists()}

    def scan(self, store: ReadableStore) -> Iterator[StoreEntry]:
        """Yields the entries of the store, with an inherited one in place of each that cannot be read.

        A store that is empty or gone has all inherited entries.

        Raises:
            StoreError: the store cannot be read, and nothing was inherited.
        """
        self.lost = LOST
        try:
            for entry in store.scan():
                self.lost = None
                yield entry if entry.problem is None else self._entries.get(entry.name, entry)
        except StoreError as error:
            if self.lost is None or not self._entries:
                raise
            self.lost = reason_of(error)
        if not self._entries:  # the store was empty before
            self.lost = None
        if self.lost is not None:
            yield from self._entries.values()

    def follow(self, store: ReadableStore) -> Iterator[StoreEntry]:
        """Yields the entries of the store, and none that were inherited."""
        self.lost = None
        yield from store.scan()

    def version(self, place: tuple[str, int]) -> FolderVersion | None:
        """Returns the copy of a version that was served before, None without one."""
        key = self._keys.get(place)
        return None if key is None else FolderVersion(*place, self._kept.path(key))

    def is_key_of(self, place: tuple[str, int], key: str) -> bool:
        """Returns True if the version was served under this key."""
        return self._keys.get(place) == key

    def forget(self, place: tuple[str, int]) -> None:
        """Forgets the copy of a version, which this process serves from now on."""
        self._keys.pop(place, None)


def _document_of(entry: StoreEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "versions": entry.versions,
        "aliases": {alias: target_to_json(target) for alias, target in entry.aliases.items()},
        "shadows": {alias: shadow.to_json() for alias, shadow in entry.shadows.items()},
        "shadow_problem": entry.shadow_problem,
        "preloaded": entry.preloaded,
        "withheld": entry.withheld,
        "policy": entry.policy,
        "policy_problem": entry.policy_problem,
    }


def _entry_of(document: Mapping[str, Any]) -> StoreEntry:
    return StoreEntry(
        name=document["name"],
        versions=tuple(document["versions"]),
        aliases={alias: target_from_json(target) for alias, target in document["aliases"].items()},
        shadows={alias: ShadowSetting.of(**shadow) for alias, shadow in document["shadows"].items()},
        shadow_problem=document["shadow_problem"],
        preloaded=tuple(document["preloaded"]),
        withheld=tuple(document["withheld"]),
        policy=document["policy"],
        policy_problem=document["policy_problem"],
    )
