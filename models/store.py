"""The store: a folder of models, each with numbered versions and named aliases.

    checkpoints/
      iris/
        1/model.safetensors
        2/model.safetensors
        2/model.sig             signature of the version's files, if it was signed: `models.signatures`
        aliases.json            {"default": 1, "production": {"weights": {"1": 90, "2": 10}}}
        .alias-history.json     what each alias meant before, for `roll_back`
        shadows.json            {"production": {"version": 2, "share": 100}}
        .lock                   locked while publishing; contains the highest version number so far

A reference is `name`, `name@version` or `name@alias`. `name` alone means the alias `default` if that is set, else the
newest version; `name@latest` always means the newest version. An alias may divide requests among versions
(`models.alias_target`) and may have a shadow (`models.shadow_file`). A version is published by renaming a finished
folder, so a reader sees the whole version or nothing. Numbers are never assigned twice, even after a version was
deleted. Readers take no lock and write nothing, so a read-only store can be served.

A symbolic link to a folder of the store is read as that folder; `delete` removes the link and not its target. A link
that leads out of the store is refused: a user who can write to the store must not be able to make the service read
files that only the service may read. (The link is checked before the file is opened. Hard links and mounts are not
checked: to restrict these is the administrator's task.)
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from models.alias_changes import AliasChanges
from models.alias_file import DEFAULT_ALIAS
from models.alias_target import Split, Target
from models.checkpoint import (
    Checkpoint,
    LoadedCheckpoint,
    parse_checkpoint,
    read_header,
    read_open_header,
    read_payload,
    save_checkpoint,
    sync_folder,
)
from models.errors import CheckpointError, ModelNotFound, StoreError
from models.file_identity import FileIdentity
from models.links import leads_out
from models.shadow_file import ShadowSetting
from models.signatures.statement import SIGNATURE_FILE
from models.signatures.trust import Signed, Trust, read_signature
from models.store_entry import (
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

CHECKPOINT_FILE = "model.safetensors"

_LAST_VERSION = 999_999_999  # the largest number that VERSION matches


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version in the store.

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
    def signature_path(self) -> Path:
        """Path of the signature, which need not exist."""
        return self.path.with_name(SIGNATURE_FILE)

    def read_header(self) -> dict[str, Any]:
        """Reads the checkpoint's header, without verifying the digest. With a trust, the whole file is verified by it.

        Raises:
            SignatureError: The version is not signed as the trust demands.
            CheckpointError: The path leads out of the store, or the cases of `models.checkpoint.read_header`.
        """
        return self.read_signed_header()[0]

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

    def _check_inside(self) -> None:
        if leads_out(self.path, self.path.parents[2]):
            raise CheckpointError(self.path, "is, or lies behind, a link that leads out of the store.")


class Store:
    """A folder of models. Publishing creates the folder if it does not exist.

    Args:
        root: path of the folder.
        trust: trust that decides which versions are read; None to read all.
    """

    def __init__(self, root: Path | str, *, trust: Trust | None = None) -> None:
        self.root = Path(root)
        self.trust = trust

    def publish(self, name: str, checkpoint: Checkpoint) -> ModelVersion:
        """Writes the checkpoint as the next version of `name`.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError, CheckpointError: The disk refuses the write; the store is unchanged.
        """
        folder = self._folder(name)
        with _writing(folder), locked(folder, make=True) as last:
            version = max([*_numbers(folder), last.read()], default=0) + 1
            if version > _LAST_VERSION:
                raise StoreError(f"model {name!r} has no version number left after {_LAST_VERSION}.")
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

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points `alias` at a version, atomically.

        Raises:
            InvalidName: `name` is not a model name, or `alias` cannot be an alias (`latest` is reserved).
            ModelNotFound: There is no such model or version.
        """
        with self._changing(name) as (changes, *_):
            changes.point(alias, int(version))

    def split(self, name: str, alias: str, weights: Mapping[int, float]) -> Split:
        """Divides the requests of `alias` among versions, atomically, and returns the split.

        Args:
            name: name of the model.
            alias: alias; `default` is what the name alone means.
            weights: weight by version; the weights add up to 100 or to 1.

        Raises:
            ConfigError: The weights are not valid.
            InvalidName: `name` is not a model name, or `alias` cannot be an alias (`latest` is reserved).
            ModelNotFound: There is no such model or version.
        """
        split = Split.of(weights)
        with self._changing(name) as (changes, *_):
            changes.point(alias, split)
        return split

    def remove_alias(self, name: str, alias: str) -> None:
        """Removes an alias, and its shadow.

        Raises:
            ModelNotFound: There is no such model or alias.
        """
        with self._changing(name) as (changes, *_):
            changes.remove(alias)

    def roll_back(self, name: str, alias: str = DEFAULT_ALIAS) -> tuple[Target, Target]:
        """Restores the target before of an alias, a version or a split; `default` is the meaning of the bare name.

        Without the alias `default`, the bare name meant each new version in turn, so it goes back to the version before
        the newest.

        Returns:
            Target of the alias until now, and its target from now on.

        Raises:
            ModelNotFound: There is no such model or alias.
            StoreError: No earlier target of the alias is known, or versions of all of them were deleted.
        """
        with self._changing(name) as (changes, *_):
            return changes.roll_back(alias)

    def set_shadow(self, name: str, alias: str, version: int, share: float = 100) -> None:
        """Sends copies of the requests of `alias` to a version, whose answers are compared and never returned.

        Args:
            name: name of the model.
            alias: alias; `default` is what the name alone means.
            version: version that gets the copies.
            share: percentage of the requests that are copied.

        Raises:
            ConfigError: The share is not above 0 and up to 100.
            ModelNotFound: There is no such model, alias or version.
        """
        shadow = ShadowSetting.of(version, share)
        with self._changing(name) as (changes, entry, _):
            if entry.shadow_problem is not None:
                raise StoreError(entry.shadow_problem)
            changes.set_shadow(alias, shadow)

    def remove_shadow(self, name: str, alias: str = DEFAULT_ALIAS) -> None:
        """Removes the shadow of an alias.

        Raises:
            ModelNotFound: There is no such model, or the alias has no shadow.
        """
        with self._changing(name) as (changes, entry, _):
            if entry.shadow_problem is not None:
                raise StoreError(entry.shadow_problem)
            changes.remove_shadow(alias)

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

    def names(self) -> list[str]:
        """Returns the sorted names of the models with at least one version."""
        return [entry.name for entry in self.entries() if entry.versions]

    def entries(self) -> list[StoreEntry]:
        """Returns the models of the store, sorted by name.

        Folders that are not models are skipped. A model that cannot be read has a `problem`, and perhaps no versions.

        Raises:
            StoreError: The store cannot be read.
        """
        return list(self.scan())

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

    def resolve(self, reference: str) -> ModelVersion:
        """Returns the version that `name`, `name@version` or `name@alias` means.

        Raises:
            InvalidName: The reference is not well formed.
            ModelNotFound: There is no such model, version or alias.
            StoreError: The store cannot be read.
        """
        parsed = Reference.parse(reference)
        return self._version(parsed.name, self.entry(parsed.name).resolve(parsed))

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means.

        Raises:
            InvalidName, ModelNotFound, StoreError, CheckpointError: The cases of `resolve` and `ModelVersion.load`.
        """
        return self.resolve(reference).load()

    def version(self, name: str, version: int) -> ModelVersion:
        """Returns the place of a version in the store, even of one that does not exist."""
        check_model_name(name)
        return self._version(name, version)

    def _version(self, name: str, version: int) -> ModelVersion:
        return ModelVersion(name, version, self.root / name / str(version) / CHECKPOINT_FILE, self.trust)

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
            yield AliasChanges(folder, entry.versions, entry.aliases, entry.shadows), entry, last


def _numbers(folder: Path) -> list[int]:
    """Returns the version numbers that already have an entry of any kind in the folder."""
    return [int(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name)]


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
