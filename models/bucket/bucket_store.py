"""The store in a bucket.

    models/iris/1.json                        the manifest of a version: its file, with size and SHA-256
    models/iris/1.sig                         its signature, if it was signed: `models.signatures`
    models/iris/aliases.json                  aliases, their history, shadows, version policy, deleted versions
    files/iris/SHA256-NONCE.safetensors       a checkpoint; each publication has an object of its own
    pages/iris/1/README.md, report.html       pages about a version

A version is published by its manifest, which is put last and only if its key is free: of two publishers of the same
number, one gets it, and the other gets the next. The aliases of a model are one object, which is replaced only if it
still is what the writer has read. The manifest of a deleted version is replaced by a short note, so that its number
stays taken. `models.bucket.index` says how readers follow.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from models.alias_changes import AliasChanges
from models.bucket.address import BucketAddress
from models.bucket.alias_document import MOST_BYTES as MOST_ALIAS_BYTES
from models.bucket.alias_document import AliasDocument
from models.bucket.bucket_version import BucketVersion
from models.bucket.cache_folder import cache_folder, cache_limit
from models.bucket.file_cache import FileCache
from models.bucket.files import BucketFiles
from models.bucket.index import ALIASES, MODELS, IndexedModel, SharedIndex
from models.bucket.manifest import Manifest, file_key, now_text, tombstone
from models.bucket.objects import Objects
from models.checkpoint import Checkpoint, pack_checkpoint
from models.errors import BucketError, DataError, ModelNotFound, StoreError
from models.model_store import ModelStore
from models.signatures.trust import Trust
from models.store_entry import LAST_VERSION, Reference, StoreEntry, check_model_name
from models.version_policy import VersionPolicy

_ATTEMPTS = 100  # of a change while other writers are first
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 1.0

_T = TypeVar("_T")
_Edit = Callable[[AliasDocument, StoreEntry], _T]


class BucketStore(ModelStore):
    """A store of models in a bucket.

    Args:
        objects: objects of the bucket.
        folder: folder on this machine for what is brought from the bucket.
        limit_bytes: largest number of bytes of the checkpoints in the folder.
        follow_seconds: time between two listings of all processes of this machine, for a server, which has the last
            known state while the bucket does not answer; None to list at each reading.
        trust: trust that decides which versions are read; None to read all.

    Raises:
        StoreError: The folder cannot be written to.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        folder: Path,
        limit_bytes: int,
        follow_seconds: float | None = None,
        trust: Trust | None = None,
    ) -> None:
        self._objects = objects
        self._trust = trust
        state = folder / hashlib.sha256(objects.place.encode()).hexdigest()[:16]
        try:
            state.mkdir(parents=True, exist_ok=True, mode=0o700)
            cache = FileCache(folder / "files", limit_bytes)
        except OSError as error:
            raise StoreError(f"AXON_STORE_CACHE: {folder} cannot be written to: {error.strerror}.") from None
        self._index = SharedIndex(objects, state, follow_seconds)
        self._files = BucketFiles(objects, self._index, cache, waits=follow_seconds is not None)
        self._is_conditional = False  # True once the bucket has shown that it heeds conditions

    @classmethod
    def open(
        cls,
        url: str,
        follow_seconds: float | None = None,
        cache: Path | None = None,
        cache_bytes: int | None = None,
        trust: Trust | None = None,
    ) -> BucketStore:
        """Opens the store of a URL, with the credentials of the environment; sends nothing yet.

        Args:
            url: URL of the store.
            follow_seconds: time between two listings of all processes of this machine; None to list at each reading.
            cache: folder on this machine for what is brought from the bucket; that of the environment if None.
            cache_bytes: largest number of bytes of the checkpoints in the folder; that of the environment if None.
            trust: trust that decides which versions are read; None to read all.

        Raises:
            StoreError: The URL is not valid, or there is no folder for the cache.
        """
        folder = cache_folder(cache)
        limit = cache_limit() if cache_bytes is None else cache_bytes
        objects = Objects.open(BucketAddress.parse(url))
        return cls(objects, folder=folder, limit_bytes=limit, follow_seconds=follow_seconds, trust=trust)

    @property
    def address(self) -> str:
        """URL of the store."""
        return self._objects.address

    @property
    def folder(self) -> None:
        """None: the store is no folder of this machine."""
        return

    @property
    def problem(self) -> str | None:
        """Reason why the last reading used the last known state, and did not reach the bucket; None otherwise."""
        return self._index.problem

    def publish(self, name: str, checkpoint: Checkpoint) -> BucketVersion:
        """Writes the checkpoint as the next version of `name`.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError, CheckpointError: The bucket refuses the write; there is no new version.
        """
        check_model_name(name)
        self._check_conditions()
        payload, digest = pack_checkpoint(checkpoint, f"{self.address}: {name}")
        sha256 = hashlib.sha256(payload).hexdigest()
        key = file_key(name, sha256, secrets.token_hex(8))
        self._objects.put(key, payload)
        for attempt in range(_ATTEMPTS):
            version = max(self._numbers(name), default=0) + 1
            if version > LAST_VERSION:
                raise StoreError(f"model {name!r} has no version number left after {LAST_VERSION}.")
            manifest = Manifest(
                name=name,
                version=version,
                file=key,
                size=len(payload),
                sha256=sha256,
                digest=digest,
                published=now_text(),
            )
            if self._put_manifest(manifest):
                self.expire()
                return BucketVersion(self._files, name, version, self._trust)
            _pause(attempt)
        raise StoreError(f"{self.address}: others publish {name!r} all the time; try again.")

    def try_publishing(self, name: str, *, size: int = 0) -> None:
        """Tests if a version of `name` can be published: the bucket takes an object, and heeds conditions.

        Args:
            name: name of the model.
            size: not used; a bucket has room.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError: The bucket refuses the write.
        """
        check_model_name(name)
        self._is_conditional = False
        self._check_conditions()

    def delete(self, name: str, version: int) -> None:
        """Removes a version atomically; the version's number is not assigned again.

        Raises:
            ModelNotFound: There is no such model or version.
            StoreError: An alias still names the version, or the version is a shadow; or the bucket refuses.
        """

        def edit(document: AliasDocument, entry: StoreEntry) -> None:
            entry.resolve(Reference(name, version=version))
            _changes(document, entry).check_unused(version)
            document.deleted.add(version)

        self._edit(name, edit)
        # From here on, no reader sees the version. Its number stays taken by the note in place of its manifest.
        model = self._index.current().models.get(name)
        manifest = None if model is None else model.manifests.get(version)
        self._objects.put(_manifest_key(name, version), tombstone(name, version))
        self._files.remove(name, version, None if manifest is None else manifest.file)
        self.expire()

    def scan(self) -> Iterator[StoreEntry]:
        """Yields the models of the store, sorted by name.

        Raises:
            StoreError: The bucket does not answer.
        """
        for model in self._index.refresh().models.values():
            if model.entry.versions or model.entry.problem is not None:
                yield model.entry

    def entry(self, name: str) -> StoreEntry:
        """Returns the model of this name.

        Raises:
            InvalidName: `name` is not a model name.
            ModelNotFound: There is no model of this name.
            StoreError: The bucket does not answer.
        """
        return self._model(name).entry

    def version(self, name: str, version: int) -> BucketVersion:
        """Returns a version, even one that does not exist.

        Raises:
            InvalidName: `name` is not a model name.
        """
        check_model_name(name)
        return BucketVersion(self._files, name, version, self._trust)

    def read_policy(self, name: str) -> tuple[VersionPolicy | None, str | None]:
        """Reads the version policy of one model, as of the last listing.

        Returns:
            The policy, None if the model has none of its own; and the reason why it is not valid, or None.
        """
        model = self._index.current().models.get(name)
        return (None, None) if model is None else model.policy

    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Brings versions into the cache at the same time, as far as possible.

        Args:
            versions: names and numbers of the versions.
        """
        self._files.fetch(versions)

    def expire(self) -> None:
        """Makes the next reading list the bucket."""
        self._index.expire()

    def _write_policy(self, name: str, policy: VersionPolicy | None) -> None:
        self._edit(name, lambda document, _: document.set_policy(policy))
        self._index.refresh()

    def _change(self, name: str, change: Callable[[AliasChanges, StoreEntry], _T]) -> _T:
        return self._edit(name, lambda document, entry: change(_changes(document, entry), entry))

    def _edit(self, name: str, edit: _Edit[_T]) -> _T:
        """Changes the document of an existing model, atomically, and returns the result of the function.

        Args:
            name: name of the model.
            edit: function that changes the document; called again if another writer was first.
        """
        self._check_conditions()
        key = f"{MODELS}/{name}/{ALIASES}"
        for attempt in range(_ATTEMPTS):
            self.expire()
            model = self._model(name)
            seen = self._objects.get(key, MOST_ALIAS_BYTES)
            document, entry = self._document(name, None if seen is None else seen.content, model)
            result = edit(document, entry)
            change = secrets.token_hex(8)
            if self._is_written(lambda: self._objects.replace(key, document.to_json(change), seen), key, change):  # noqa: B023
                self.expire()
                return result
            _pause(attempt)
        raise StoreError(f"{self.address}: others change the aliases of {name!r} all the time; try again.")

    def _document(self, name: str, content: bytes | None, model: IndexedModel) -> tuple[AliasDocument, StoreEntry]:
        """Returns the present document of a model, and the matching entry.

        Raises:
            StoreError: The document is not valid.
            ModelNotFound: All versions of the model are deleted.
        """
        try:
            document = AliasDocument(name, content)
        except DataError as error:
            raise StoreError(f"{name}/{ALIASES} {error}.") from None
        known = model.manifests.keys() | model.faults.keys()
        document.deleted &= known  # the others have left their manifests
        aliases, problem = document.aliases()
        if problem is not None:
            raise StoreError(problem)
        versions = tuple(sorted(known - document.deleted))
        if not versions:
            raise ModelNotFound(f"there is no model {name!r} in {self.address}.")
        return document, StoreEntry(name, versions, aliases, None, *document.shadows())

    def _is_written(self, write: Callable[[], bool], key: str, mark: str) -> bool:
        """Writes an object under a condition; returns False if another writer was first.

        The answer to a write may get lost, and the client then repeats the write, which finds its own object. So a
        refused or failed write is looked up: the object that holds the mark is ours.

        Args:
            write: function that writes the object, and returns False if the condition does not hold.
            key: key of the object.
            mark: text that no other writer's object holds.
        """
        failure = None
        try:
            if write():
                return True
        except BucketError as error:
            failure = error
        found = self._objects.get(key, MOST_ALIAS_BYTES)
        if found is not None and mark.encode() in found.content:
            return True
        if failure is not None:
            raise failure
        return False

    def _put_manifest(self, manifest: Manifest) -> bool:
        """Writes a manifest to the bucket, and returns False if its version number is already assigned."""
        key = _manifest_key(manifest.name, manifest.version)
        return self._is_written(lambda: self._objects.create(key, manifest.to_json()), key, manifest.file)

    def _numbers(self, name: str) -> list[int]:
        """Returns all numbers that were ever assigned, in a new listing."""
        prefix = f"{MODELS}/{name}/"
        tails = (one.key.removeprefix(prefix).removesuffix(".json") for one in self._objects.list(prefix))
        return [int(tail) for tail in tails if tail.isascii() and tail.isdecimal()]

    def _model(self, name: str) -> IndexedModel:
        check_model_name(name)
        model = self._index.refresh().models.get(name)
        if model is None or not (model.entry.versions or model.entry.problem is not None):
            raise ModelNotFound(f"there is no model {name!r} in {self.address}.")
        return model

    def _check_conditions(self) -> None:
        """Tests, once, that the bucket can be written to and refuses to create an object that is there.

        Raises:
            StoreError: The bucket refuses the write, or ignores conditions.
        """
        if self._is_conditional:
            return
        key = f"trials/{secrets.token_hex(8)}"
        try:
            self._objects.create(key, b"1")
            if self._objects.create(key, b"2"):
                raise StoreError(
                    f"{self.address}: the service of the bucket ignores conditions (If-None-Match), so that two "
                    "publishers could overwrite each other; publish to one that heeds them."
                )
        finally:
            with contextlib.suppress(BucketError):
                self._objects.delete([key])
        self._is_conditional = True


def _changes(document: AliasDocument, entry: StoreEntry) -> AliasChanges:
    return AliasChanges(entry.name, document, entry.versions, entry.aliases, entry.shadows)


def _manifest_key(name: str, version: int) -> str:
    return f"{MODELS}/{name}/{version}.json"


def _pause(attempt: int) -> None:
    """Waits for a random time, longer with each attempt, so that writers who met do not meet again."""
    longest = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
    time.sleep(random.uniform(0, longest))  # noqa: S311  # nosec B311
