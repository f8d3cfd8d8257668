"""The store in a folder: a folder of models, each with numbered versions and named aliases.

    checkpoints/
      iris/
        1/model.safetensors
        2/model.safetensors
        2/README.md             model card, if the version has one
        2/report.html           report of the run, if the version has one
        2/model.sig             signature of the version's files, if it was signed: `models.signatures`
        aliases.json            {"default": 1, "production": {"weights": {"1": 90, "2": 10}}}
        .alias-history.json     what each alias meant before, for `roll_back`
        shadows.json            {"production": {"version": 2, "share": 100}}
        policy.json             {"versions": "newest:2"}: `models.version_policy`
        .lock                   locked while publishing; contains the highest version number so far

`models.model_store` says what a reference means. A version is published by renaming a finished folder, so a reader
sees the whole version or nothing. Readers take no lock and write nothing, so a read-only store can be served.

A symbolic link to a folder of the store is read as that folder; `delete` removes the link and not its target. A link
that leads out of the store is refused: a user who can write to the store must not be able to make the service read
files that only the service may read. (The link is checked before the file is opened. Hard links and mounts are not
checked: to restrict these is the administrator's task.)
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from models.alias_changes import AliasChanges
from models.alias_tables import FolderTables
from models.checkpoint import (
    Checkpoint,
    LoadedCheckpoint,
    open_file,
    parse_checkpoint,
    read_header,
    read_open_header,
    read_payload,
    save_checkpoint,
)
from models.errors import CheckpointError, ModelNotFound, StoreError
from models.file_identity import FileIdentity
from models.links import leads_out
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.signatures.statement import SIGNATURE_FILE
from models.signatures.trust import Signed, Trust, read_signature
from models.store_entry import (
    LAST_VERSION,
    MODEL_NAME,
    VERSION,
    Reference,
    StoreEntry,
    check_model_name,
    foreign,
    is_folder,
    read_entry,
)
from models.store_lock import STAGING_PREFIX, LastVersion, locked, remove
from models.store_trial import try_writing
from models.version_policy import VersionPolicy, read_policy, write_policy
from models.whole_file import sync_folder, write_whole

CHECKPOINT_FILE = "model.safetensors"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FolderVersion(ModelVersion):
    """One version in a folder of models.

    Attributes:
        name: name of the model.
        version: version number.
        path: path of the checkpoint.
        trust: trust that decides which versions are read; None to read all.
    """

    name: str
    version: int
    path: Path
    trust: Trust | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def store_address(self) -> str:
        """Folder of the store."""
        return str(self.path.parents[2])

    @property
    def signature_path(self) -> Path:
        """Path of the signature, which need not exist."""
        return self.path.with_name(SIGNATURE_FILE)

    def with_trust(self, trust: Trust | None) -> FolderVersion:
        """Returns the version with another trust."""
        return replace(self, trust=trust)

    def read_signed_header(self) -> tuple[dict[str, Any], Signed | None]:
        """Reads the header as `read_header` does, and returns the signature too; None for a version that needs none.

        Raises:
            SignatureError, CheckpointError: The cases of `read_header`.
        """
        self._check_inside()
        if self.trust is None:
            return read_header(self.path), None
        # The header comes from the bytes that were verified: the file may be replaced meanwhile.
        payload, signed = self._read_trusted(self.trust)
        return read_open_header(self.path, BytesIO(payload)), signed

    def identity(self) -> FileIdentity:
        """Returns the identity of the checkpoint's file, which changes with the file, and with a signature that counts.

        Raises:
            CheckpointError: The file cannot be read.
        """
        try:
            identity = FileIdentity.of(self.path)
        except OSError as error:
            raise CheckpointError(self.path, f"cannot be read: {error.strerror}.") from error
        if self.trust is not None:
            with contextlib.suppress(OSError):  # reported when the version is loaded
                return replace(identity, signature=FileIdentity.of(self.signature_path))
        return identity

    def load(self) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The path leads out of the store, or the cases of `load_checkpoint`.
        """
        self._check_inside()
        payload = read_payload(self.path) if self.trust is None else self._read_trusted(self.trust)[0]
        return parse_checkpoint(self.path, payload)

    def _read_trusted(self, trust: Trust) -> tuple[bytes, Signed | None]:
        """Reads the checkpoint, and verifies the bytes by their signature before anything but the size is used."""
        payload = read_payload(self.path)
        return payload, trust.check(self.path, str(self), payload, read_signature(self.signature_path))

    def read_page(self, file_name: str, most_bytes: int) -> bytes | None:
        """Reads a page beside the checkpoint; returns None if there is none, or none that may be read.

        Args:
            file_name: `README.md` or `report.html`.
            most_bytes: largest size of a page; a larger one counts as missing.

        Raises:
            OSError: The disk does not give the file.
        """
        path = self.path.parent / file_name
        try:
            if leads_out(path, self.path.parents[2]):
                return None
            with open_file(path) as file:
                content = file.read(most_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if len(content) > most_bytes else content

    def write_page(self, file_name: str, content: bytes) -> Path:
        """Writes a page beside the checkpoint, whole or not at all, and returns its path.

        Args:
            file_name: `README.md` or `report.html`.
            content: text of the page, in UTF-8.

        Raises:
            OSError: The disk refuses the write.
        """
        path = self.path.with_name(file_name)
        write_whole(path, content)
        return path

    def _check_inside(self) -> None:
        if leads_out(self.path, self.path.parents[2]):
            raise CheckpointError(self.path, "is, or lies behind, a link that leads out of the store.")


class Store(ModelStore):
    """A folder of models. Publishing creates the folder if it does not exist.

    Args:
        root: path of the folder.
        trust: trust that decides which versions are read; None to read all.
    """

    def __init__(self, root: Path | str, *, trust: Trust | None = None) -> None:
        self.root = Path(root)
        self.trust = trust

    @property
    def address(self) -> str:
        """Path of the folder, as given."""
        return str(self.root)

    @property
    def folder(self) -> Path:
        """Path of the folder."""
        return self.root

    def publish(self, name: str, checkpoint: Checkpoint) -> FolderVersion:
        """Writes the checkpoint as the next version of `name`.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError, CheckpointError: The disk refuses the write; the store is unchanged.
        """
        folder = self._folder(name)
        with _writing(folder), locked(folder, make=True) as last:
            version = max([*_numbers(folder), last.read()], default=0) + 1
            if version > LAST_VERSION:
                raise StoreError(f"model {name!r} has no version number left after {LAST_VERSION}.")
            staging = folder / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
            try:
                staging.mkdir()
                save_checkpoint(checkpoint, staging / CHECKPOINT_FILE)
                last.write(version)  # before the rename: a crash between the two skips a number, but repeats none
                staging.rename(folder / str(version))
            except BaseException:
                remove(staging)
                raise
            sync_folder(folder)
        return self._version(name, version)

    def try_publishing(self, name: str, *, size: int = 0) -> None:
        """Writes a trial file to test if a version of `name` can be published, and leaves the store unchanged.

        Args:
            name: name of the model.
            size: number of bytes of the checkpoint, as far as known.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError: The disk refuses the write.
        """
        check_model_name(name)
        with _writing(self.root / name):
            folder = self._folder(name)
            # Under the lock, like publishing: this also detects a lock file that belongs to another user.
            with locked(folder) if folder.is_dir() else contextlib.nullcontext():
                try_writing(folder, size=size)

    def delete(self, name: str, version: int) -> None:
        """Removes a version atomically; the version's number is not assigned again.

        Raises:
            ModelNotFound: There is no such model or version.
            StoreError: An alias still names the version, or the version is a shadow.
        """
        with self._changing(name) as (changes, entry, last):
            entry.resolve(Reference(name, version=version))
            changes.check_unused(version)
            folder = self._folder(name)
            last.write(max(last.read(), *_numbers(folder)))  # a store that was copied without lock files has no record
            doomed = folder / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
            (folder / str(version)).rename(doomed)
            sync_folder(folder)
            remove(doomed)

    def scan(self) -> Iterator[StoreEntry]:
        """Yields the same models as `entries`, one by one.

        Raises:
            StoreError: The store cannot be read.
        """
        try:
            with os.scandir(self.root) as places:
                names = sorted(place.name for place in places if MODEL_NAME.fullmatch(place.name) and is_folder(place))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be read: {error.strerror}.") from error
        for name in names:
            entry = read_entry(self.root / name)
            if entry.versions or entry.problem is not None:
                yield entry

    def entry(self, name: str) -> StoreEntry:
        """Returns the model of this name.

        Raises:
            InvalidName: `name` is not a model name.
            ModelNotFound: There is no model of this name.
            StoreError: The model's folder is a link that leads out of the store.
        """
        entry = read_entry(self._folder(name))
        if not entry.versions and entry.problem is None:
            raise ModelNotFound(f"there is no model {name!r} in {self.root}.")
        return entry

    def version(self, name: str, version: int) -> FolderVersion:
        """Returns the place of a version in the store, even of one that does not exist."""
        check_model_name(name)
        return self._version(name, version)

    def read_policy(self, name: str) -> tuple[VersionPolicy | None, str | None]:
        """Reads the version policy of one model.

        Returns:
            The policy, None if the model has none of its own; and the reason why the file is not a policy, or None.

        Raises:
            StoreError: The file cannot be read.
        """
        return read_policy(self.root / name)

    def fetch(self, versions: Collection[tuple[str, int]]) -> None:
        """Does nothing: the files are on this machine."""

    def expire(self) -> None:
        """Does nothing: each reading reads the folder."""

    def _write_policy(self, name: str, policy: VersionPolicy | None) -> None:
        folder = self._folder(name)
        with _writing(folder), locked(folder):
            write_policy(folder, policy)

    def _change(self, name: str, change: Callable[[AliasChanges, StoreEntry], _T]) -> _T:
        with self._changing(name) as (changes, entry, _):
            return change(changes, entry)

    def _version(self, name: str, version: int) -> FolderVersion:
        return FolderVersion(name, version, self.root / name / str(version) / CHECKPOINT_FILE, self.trust)

    def _folder(self, name: str) -> Path:
        check_model_name(name)
        folder = self.root / name
        if problem := foreign(folder):
            raise StoreError(problem)
        return folder

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[tuple[AliasChanges, StoreEntry, LastVersion]]:
        """Locks an existing model against other writers, then reads and yields the model's state."""
        self.entry(name)  # raises for a model that does not exist, so that no folder is created
        folder = self._folder(name)
        with _writing(folder), locked(folder) as last:
            entry = self.entry(name)
            if entry.problem is not None:
                raise StoreError(entry.problem)
            yield AliasChanges(name, FolderTables(folder), entry.versions, entry.aliases, entry.shadows), entry, last


def _numbers(folder: Path) -> list[int]:
    """Returns the version numbers that already have an entry of any kind in the folder."""
    return [int(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name)]


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
