"""The files of a store in a bucket: checkpoints, by way of the cache of this machine, and pages about versions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from models.bucket.file_cache import FileCache
from models.bucket.index import MODELS, PARALLEL, SharedIndex
from models.bucket.manifest import Manifest
from models.bucket.objects import Objects
from models.errors import BucketError, CheckpointError, DataError, NotFetched

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 300.0
_MOST_FAILURES = 10_000
_PAGES = "pages"
_MOST_PAGE_BYTES = 1 << 26


class BucketFiles:
    """The files of a store in a bucket.

    A file that could not be brought is not tried again at once: the waiting time doubles with each failure, up to five
    minutes, so that a damaged object is not brought again and again.

    Args:
        objects: objects of the bucket.
        index: state of the store.
        cache: checkpoints on this machine.
        waits: True to wait after a failure, for a server; False to try at each call.
    """

    def __init__(self, objects: Objects, index: SharedIndex, cache: FileCache, *, waits: bool) -> None:
        self._objects = objects
        self._index = index
        self._cache = cache
        self._waits = waits
        self._failures: dict[str, tuple[float, float, str]] = {}  # by file: time to try again, waiting time, reason

    @property
    def address(self) -> str:
        """URL of the store."""
        return self._objects.address

    def manifest(self, name: str, version: int) -> Manifest:
        """Returns the manifest of a version.

        Raises:
            CheckpointError: The store has no such version, or no sound manifest of it.
            NotFetched: The bucket does not answer.
        """
        called = f"{self.address}: {name}@{version}"
        try:
            model = self._index.current().models.get(name)
            if model is None or version not in model.entry.versions:
                model = self._index.refresh().models.get(name)
        except BucketError as error:
            raise NotFetched(called, error.reason) from None
        if model is None or version not in model.entry.versions:
            raise CheckpointError(called, "is not in the store.")
        if version in model.faults:
            raise NotFetched(called, model.faults[version])
        return model.manifests[version]

    def path(self, manifest: Manifest) -> Path:
        """Returns the path of a checkpoint in the cache, which need not exist."""
        return self._cache.path(manifest.sha256)

    def fetched(self, manifest: Manifest) -> Path:
        """Returns the path of a verified checkpoint in the cache, and brings the checkpoint if necessary.

        Raises:
            NotFetched: The checkpoint cannot be brought now, or is another one than the manifest names.
        """
        if (path := self._cache.find(manifest.sha256)) is not None:
            return path
        called = f"{self.address}: {manifest.name}@{manifest.version}"
        until, waited, reason = self._failures.get(manifest.file, (0.0, 0.0, ""))
        if time.monotonic() < until:
            raise NotFetched(called, reason)
        try:
            path = self._cache.add(
                manifest.sha256, manifest.size, lambda: self._objects.chunks(manifest.file, manifest.size)
            )
        except BucketError as error:
            reason = f"could not be brought: {error.reason}"
        except DataError as error:
            reason = f"{error}."
        except OSError as error:
            reason = f"could not be written to the cache: {error.strerror}."
        else:
            self._failures.pop(manifest.file, None)
            return path
        if self._waits:
            wait = min(max(2 * waited, _FIRST_WAIT_SECONDS), _LONGEST_WAIT_SECONDS)
            self._failures[manifest.file] = (time.monotonic() + wait, wait, reason)
            while len(self._failures) > _MOST_FAILURES:
                self._failures.pop(next(iter(self._failures)))
        raise NotFetched(called, reason)

    def content(self, manifest: Manifest) -> bytes:
        """Returns the verified bytes of a checkpoint, and brings the checkpoint if necessary.

        Raises:
            NotFetched: The checkpoint cannot be brought now, or is another one than the manifest names.
        """
        for _ in range(2):  # between the two lines, another process may remove the file to make room
            if (content := self._cache.read(manifest.sha256)) is not None:
                return content
            self.fetched(manifest)
        called = f"{self.address}: {manifest.name}@{manifest.version}"
        raise NotFetched(called, "left the cache while it was read: the cache is too small (AXON_STORE_CACHE_BYTES).")

    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Brings checkpoints at the same time; a checkpoint that cannot be brought is left to the next reader.

        Args:
            versions: names and numbers of the versions.
        """

        def bring(version: tuple[str, int]) -> None:
            with contextlib.suppress(CheckpointError):
                self.fetched(self.manifest(*version))

        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="bucket") as pool:
            list(pool.map(bring, versions))

    def read_page(self, name: str, version: int, file_name: str, most_bytes: int) -> bytes | None:
        """Reads a page about a version; returns None if there is none, or one of more than `most_bytes`.

        Raises:
            BucketError: The bucket does not answer, or the page is larger.
        """
        found = self._objects.get(f"{_PAGES}/{name}/{version}/{file_name}", most_bytes)
        return None if found is None else found.content

    def write_page(self, name: str, version: int, file_name: str, content: bytes) -> str:
        """Writes a page about a version, and returns its URL.

        Raises:
            BucketError: The bucket refuses the write.
        """
        key = f"{_PAGES}/{name}/{version}/{file_name}"
        self._objects.put(key, content)
        return f"{self.address}/{key}"

    def signature(self, name: str, version: int) -> bytes | None:
        """Returns the signature of a version as of the last listing; None for a version without one.

        Raises:
            NotFetched: The signature is in the bucket, and cannot be read.
        """
        called = f"{self.address}: {name}@{version}"
        try:
            model = self._index.current().models.get(name)
        except BucketError as error:
            raise NotFetched(called, error.reason) from None
        record = None if model is None else model.signatures.get(version)
        if record is None:
            return None
        if record.content is None:
            raise NotFetched(called, f"has a signature that cannot be read: {record.fault}")
        return record.content.encode()

    def write_signature(self, name: str, version: int, content: bytes) -> None:
        """Writes the signature of a version, in place of an earlier one.

        Raises:
            BucketError: The bucket refuses the write.
        """
        self._objects.put(f"{MODELS}/{name}/{version}.sig", content)
        self._index.expire()
        self._index.refresh()

    def page_digests(self, name: str, version: int) -> dict[str, str]:
        """Returns the SHA-256 of each page about a version, by name.

        Raises:
            BucketError: The bucket does not answer, or a page has more than 64 MiB.
        """
        prefix = f"{_PAGES}/{name}/{version}/"
        digests = {}
        for one in self._objects.list(prefix):
            if (found := self._objects.get(one.key, _MOST_PAGE_BYTES)) is not None:
                digests[one.key.removeprefix(prefix)] = sha256(found.content).hexdigest()
        return digests

    def remove(self, name: str, version: int, file: str | None) -> None:
        """Removes the objects of a deleted version, as far as the bucket answers.

        Args:
            name: name of the model.
            version: version number.
            file: key of the checkpoint; None if it is not known.
        """
        with contextlib.suppress(BucketError):
            pages = [one.key for one in self._objects.list(f"{_PAGES}/{name}/{version}/")]
            self._objects.delete([*pages, f"{MODELS}/{name}/{version}.sig", *([file] if file is not None else [])])
