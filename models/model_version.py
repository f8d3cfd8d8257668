"""One version of a model in a store, whatever the store is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from models.checkpoint import LoadedCheckpoint
from models.file_identity import FileIdentity
from models.signatures.trust import Signed, Trust

CARD_FILE = "README.md"
REPORT_FILE = "report.html"


class ModelVersion(ABC):
    """One version in a store.

    Attributes:
        name: name of the model.
        version: version number.
        trust: trust that decides which versions are read; None to read all.
    """

    name: str
    version: int
    trust: Trust | None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    @abstractmethod
    def store_address(self) -> str:
        """Folder or URL of the store."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Path of the checkpoint on this machine; the file may be missing until the version is read."""

    @abstractmethod
    def with_trust(self, trust: Trust | None) -> ModelVersion:
        """Returns the version with another trust."""

    def read_header(self) -> dict[str, Any]:
        """Reads the checkpoint's header, without verifying the digest. With a trust, the whole file is verified by it.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The checkpoint cannot be read, or has no readable header.
        """
        return self.read_signed_header()[0]

    @abstractmethod
    def read_signed_header(self) -> tuple[dict[str, Any], Signed | None]:
        """Reads the header as `read_header` does, and returns the signature too; None for a version that needs none.

        Raises:
            SignatureError, CheckpointError: The cases of `read_header`.
        """

    @abstractmethod
    def identity(self) -> FileIdentity:
        """Returns the identity of the checkpoint, which changes with the content, and with a signature that counts.

        Raises:
            CheckpointError: The store has no such version, or the version cannot be read.
        """

    @abstractmethod
    def load(self) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The checkpoint cannot be read or is not sound.
        """

    @abstractmethod
    def read_page(self, file_name: str, most_bytes: int) -> bytes | None:
        """Reads a page about the version, such as the model card; returns None if there is none that may be read.

        Args:
            file_name: `README.md` or `report.html`.
            most_bytes: largest size of a page; a larger one counts as missing.

        Raises:
            OSError, StoreError: The store does not answer.
        """

    @abstractmethod
    def write_page(self, file_name: str, content: bytes) -> Path | str:
        """Writes a page about the version, whole or not at all, and returns its path or its URL.

        Args:
            file_name: `README.md` or `report.html`.
            content: text of the page, in UTF-8.

        Raises:
            OSError, StoreError: The store refuses the write.
        """
