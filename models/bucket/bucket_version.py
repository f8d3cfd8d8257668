"""One version of a model in a bucket, whose checkpoint is read from the cache of this machine."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bucket.manifest import Manifest
from models.checkpoint import LoadedCheckpoint, parse_checkpoint, read_header, read_open_header
from models.errors import CheckpointError, NotFetched, SignatureError
from models.file_identity import FileIdentity
from models.model_version import ModelVersion
from models.signatures.trust import Signed, Trust
from models.store import CHECKPOINT_FILE

if TYPE_CHECKING:
    from models.bucket.files import BucketFiles


class BucketVersion(ModelVersion):
    """One version in a bucket.

    Args:
        files: files of the store.
        name: name of the model.
        version: version number.
        trust: trust that decides which versions are read; None to read all.
    """

    def __init__(self, files: BucketFiles, name: str, version: int, trust: Trust | None = None) -> None:
        self._files = files
        self.trust = trust
        self.name = name
        self.version = version

    def __eq__(self, other: object) -> bool:
        """Returns True for the same version of the same store."""
        if not isinstance(other, BucketVersion):
            return NotImplemented
        return (self.store_address, str(self)) == (other.store_address, str(other))

    def __hash__(self) -> int:
        return hash((self.store_address, str(self)))

    def __repr__(self) -> str:
        return f"BucketVersion({str(self)!r}, store={self.store_address!r})"

    @property
    def store_address(self) -> str:
        """URL of the store."""
        return self._files.address

    @property
    def path(self) -> Path:
        """Path of the checkpoint in the cache; the file is there once the version was read.

        Raises:
            CheckpointError: The store has no such version.
        """
        return self._files.path(self._manifest())

    def with_trust(self, trust: Trust | None) -> BucketVersion:
        """Returns the version with another trust."""
        return BucketVersion(self._files, self.name, self.version, trust)

    def read_signed_header(self) -> tuple[dict[str, Any], Signed | None]:
        """Reads the checkpoint's header and its signature, after the file was brought and verified.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The store has no such version, or its file is not the one that the manifest names.
            NotFetched: The file cannot be brought now.
        """
        manifest = self._manifest()
        signed = None
        try:
            if self.trust is None:
                header = read_header(self._files.fetched(manifest))
            else:
                payload, signed = self._read_trusted(manifest, self.trust)
                header = read_open_header(self._files.path(manifest), BytesIO(payload))
        except (NotFetched, SignatureError):
            raise
        except CheckpointError as error:
            raise CheckpointError(self._called, error.reason) from None
        self._check_digest(header["digest"], manifest)
        return header, signed

    def identity(self) -> FileIdentity:
        """Returns the identity that the manifest gives the checkpoint, without asking the bucket.

        Raises:
            CheckpointError: The store has no such version, or no sound manifest of it.
        """
        manifest = self._manifest()
        published = manifest.published_ns
        identity = FileIdentity(0, int(manifest.sha256[:15], 16), manifest.size, published, published)
        if self.trust is None or (content := self._files.signature(self.name, self.version)) is None:
            return identity
        mark = int(sha256(content).hexdigest()[:15], 16)
        return replace(identity, signature=FileIdentity(0, mark, len(content), 0, 0))

    def load(self) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint, after the file was brought and verified.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The store has no such version, or its file is not the one that the manifest names.
            NotFetched: The file cannot be brought now.
        """
        manifest = self._manifest()
        payload = self._files.content(manifest) if self.trust is None else self._read_trusted(manifest, self.trust)[0]
        try:
            loaded = parse_checkpoint(self._files.path(manifest), payload)
        except CheckpointError as error:
            raise CheckpointError(self._called, error.reason) from None
        self._check_digest(loaded.digest, manifest)
        return loaded

    def read_page(self, file_name: str, most_bytes: int) -> bytes | None:
        """Reads a page about the version from the bucket; returns None if there is none, or a larger one.

        Args:
            file_name: `README.md` or `report.html`.
            most_bytes: largest size of a page.

        Raises:
            StoreError: The bucket does not answer.
        """
        return self._files.read_page(self.name, self.version, file_name, most_bytes)

    def write_page(self, file_name: str, content: bytes) -> str:
        """Writes a page about the version to the bucket, and returns its URL.

        Args:
            file_name: `README.md` or `report.html`.
            content: text of the page, in UTF-8.

        Raises:
            StoreError: The bucket refuses the write.
        """
        return self._files.write_page(self.name, self.version, file_name, content)

    def read_signature(self) -> bytes | None:
        """Returns the signature as of the last listing; None for a version without one.

        Raises:
            NotFetched: The signature is in the bucket, and cannot be read.
        """
        return self._files.signature(self.name, self.version)

    def write_signature(self, content: bytes) -> None:
        """Writes the signature, in place of an earlier one.

        Raises:
            BucketError: The bucket refuses the write.
        """
        self._files.write_signature(self.name, self.version, content)

    def page_digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each page about the version, by name.

        Raises:
            BucketError: The bucket does not answer.
        """
        return self._files.page_digests(self.name, self.version)

    def _read_trusted(self, manifest: Manifest, trust: Trust) -> tuple[bytes, Signed | None]:
        """Reads the checkpoint, and verifies the bytes by their signature before anything but the size is used."""
        payload = self._files.content(manifest)
        return payload, trust.check(self.place, str(self), payload, self.read_signature())

    @property
    def place(self) -> Path:
        """Path of the checkpoint in a folder store, for the names in a signature and for messages."""
        return Path(self.name) / str(self.version) / CHECKPOINT_FILE

    def _manifest(self) -> Manifest:
        return self._files.manifest(self.name, self.version)

    def _check_digest(self, digest: str, manifest: Manifest) -> None:
        if digest != manifest.digest:
            raise CheckpointError(self._called, "is another checkpoint than the one that its manifest names.")

    @property
    def _called(self) -> str:
        return f"{self.store_address}: {self}"
