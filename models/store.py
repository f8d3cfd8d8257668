"""The store: a folder of models, each with numbered versions and named aliases.

    checkpoints/
      iris/
        1/model.safetensors
        2/model.safetensors
        aliases.json            {"default": 1, "production": 2}
        .lock                   held while publishing; holds the highest number ever given

A reference is `name`, `name@version` or `name@alias`. `name` alone is the alias `default` where it is set, else the
newest version; `name@latest` is always the newest. A version is published by renaming a finished folder into place,
so a reader sees all of it or nothing; numbers are never given twice, even after a version was deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.checkpoint import Checkpoint, LoadedCheckpoint, load_checkpoint, save_checkpoint, sync_folder
from models.errors import InvalidName, ModelNotFound, StoreError

CHECKPOINT_FILE = "model.safetensors"
DEFAULT_ALIAS = "default"
LATEST = "latest"

_ALIASES_FILE = "aliases.json"
_LOCK_FILE = ".lock"
_STAGING_PREFIX = ".publish-"
AliasChange = Callable[[dict[str, int]], dict[str, int]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed `name`, `name@version` or `name@alias`; at most one of `version` and `alias` is set."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads a reference.

        Raises:
            InvalidName: not a well-formed reference.
        """
        name, at, tail = text.partition("@")
        check_name(name)
        if not at:
            return cls(name)
        if _VERSION.fullmatch(tail):
            return cls(name, version=int(tail))
        if _ALIAS.fullmatch(tail):
            return cls(name, alias=tail)
        raise InvalidName(f"{tail[:80]!r} is neither a version (1, 2, 3, …) nor an alias.")


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version in the store."""

    name: str
    version: int
    path: Path

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What the store holds under one name. `problem` says why aliases could not be read, where that is so."""

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    def resolve(self, reference: Reference) -> int:
        """The version that a reference to this name means.

        Raises:
            ModelNotFound: no such version or alias.
        """
        if reference.version is not None:
            wanted, called = reference.version, f"version {reference.version}"
        elif reference.alias is not None and reference.alias != LATEST:
            if reference.alias not in self.aliases:
                raise ModelNotFound(f"model {self.name!r} has no alias {reference.alias!r}.")
            wanted, called = self.aliases[reference.alias], f"version that its alias {reference.alias!r} names"
        elif reference.alias is None and DEFAULT_ALIAS in self.aliases:
            wanted, called = self.aliases[DEFAULT_ALIAS], "version that its alias 'default' names"
        elif self.versions:
            return self.versions[-1]
        else:
            raise ModelNotFound(f"model {self.name!r} has no version.")
        if wanted not in self.versions:
            raise ModelNotFound(f"model {self.name!r} has no {called}.")
        return wanted


class Store:
    """A folder of models. It need not exist yet: publishing makes it."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def publish(self, name: str, checkpoint: Checkpoint) -> ModelVersion:
        """Writes the checkpoint as the next version of `name`.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError, CheckpointError: the disk refuses; the store is as it was.
        """
        folder = self._folder(name)
        with _writing(folder), _locked(folder) as last:
            version = max([*self._versions(folder), last.read()], default=0) + 1
            staging = folder / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
            try:
                staging.mkdir()
                save_checkpoint(checkpoint, staging / CHECKPOINT_FILE)
                last.write(version)
                staging.rename(folder / str(version))
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            sync_folder(folder)
        return self._version(name, version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points `alias` at a version, atomically.

        Raises:
            InvalidName: not a model name or alias (`latest` is taken).
            ModelNotFound: no such model or version.
        """
        entry = self.entry(name)
        if not _ALIAS.fullmatch(alias) or alias == LATEST:
            raise InvalidName(
                f"{alias[:80]!r} cannot be an alias: letters, digits, . _ - after a letter, not 'latest'."
            )
        entry.resolve(Reference(name, version=version))
        self._change_aliases(name, lambda aliases: aliases | {alias: version})

    def remove_alias(self, name: str, alias: str) -> None:
        """Forgets an alias.

        Raises:
            ModelNotFound: no such model or alias.
        """
        if alias not in self.entry(name).aliases:
            raise ModelNotFound(f"model {name!r} has no alias {alias!r}.")
        self._change_aliases(name, lambda aliases: {key: value for key, value in aliases.items() if key != alias})

    def delete(self, name: str, version: int) -> None:
        """Removes a version; it vanishes at once and its number is not given again.

        Raises:
            ModelNotFound: no such model or version.
            StoreError: an alias still names it.
        """
        entry = self.entry(name)
        entry.resolve(Reference(name, version=version))
        if named := [alias for alias, target in entry.aliases.items() if target == version]:
            raise StoreError(f"{name}@{version} is what alias {named[0]!r} names: move the alias first.")
        folder = self._folder(name)
        with _writing(folder), _locked(folder):
            doomed = folder / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
            (folder / str(version)).rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def names(self) -> list[str]:
        """Names of the models that have at least one version, sorted."""
        return [entry.name for entry in self.entries()]

    def entries(self) -> list[StoreEntry]:
        """What the store holds, by name. Folders that are no model of ours are passed over.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            folders = sorted(path for path in self.root.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be read: {error.strerror}.") from error
        entries = (self._entry(folder) for folder in folders)
        return [entry for entry in entries if entry.versions]

    def entry(self, name: str) -> StoreEntry:
        """What the store holds under `name`.

        Raises:
            InvalidName: not a model name.
            ModelNotFound: nothing of that name.
        """
        entry = self._entry(self._folder(name))
        if not entry.versions:
            raise ModelNotFound(f"there is no model {name!r} in {self.root}.")
        return entry

    def resolve(self, reference: str) -> ModelVersion:
        """The version that `name`, `name@version` or `name@alias` means.

        Raises:
            InvalidName: not a well-formed reference.
            ModelNotFound: a reference to nothing.
        """
        parsed = Reference.parse(reference)
        return self._version(parsed.name, self.entry(parsed.name).resolve(parsed))

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means.

        Raises:
            InvalidName, ModelNotFound, CheckpointError: as `resolve` and `load_checkpoint` do.
        """
        return load_checkpoint(self.resolve(reference).path)

    def version(self, name: str, version: int) -> ModelVersion:
        """The place of a version, whether or not it is there."""
        check_name(name)
        return self._version(name, version)

    def _version(self, name: str, version: int) -> ModelVersion:
        return ModelVersion(name, version, self.root / name / str(version) / CHECKPOINT_FILE)

    def _folder(self, name: str) -> Path:
        check_name(name)
        return self.root / name

    def _entry(self, folder: Path) -> StoreEntry:
        try:
            return StoreEntry(folder.name, tuple(self._versions(folder)), _read_aliases(folder))
        except StoreError as error:
            return StoreEntry(folder.name, tuple(self._versions(folder)), problem=str(error))

    @staticmethod
    def _versions(folder: Path) -> list[int]:
        try:
            return sorted(int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"{folder} cannot be read: {error.strerror}.") from error

    def _change_aliases(self, name: str, change: AliasChange) -> None:
        folder = self._folder(name)
        with _writing(folder), _locked(folder):
            temporary = folder / f".{_ALIASES_FILE}.{secrets.token_hex(8)}"
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(change(dict(_read_aliases(folder))), file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / _ALIASES_FILE)
            sync_folder(folder)


def check_name(name: str) -> None:
    """Refuses what cannot be a model's name, and so whatever could leave the store's folder.

    Raises:
        InvalidName: says what a name is.
    """
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:80]!r} is not a model name: up to 64 letters, digits, . _ -, beginning with a letter or a digit."
        )


def _read_aliases(folder: Path) -> Mapping[str, int]:
    path = folder / _ALIASES_FILE
    try:
        aliases = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}.") from error
    if not isinstance(aliases, dict) or not all(type(version) is int for version in aliases.values()):
        raise StoreError(f"{path} is not a table of alias to version.")
    return aliases


class _LastVersion:
    """The highest number ever given, kept in the lock file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int:
        text = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if _VERSION.fullmatch(text) else 0

    def write(self, version: int) -> None:
        os.pwrite(self._descriptor, f"{version}\n".encode(), 0)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[_LastVersion]:
    """Holds the folder against other publishers, and clears away what a killed one left.

    The kernel lets go of the lock when its holder dies, so nobody waits for the dead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{_STAGING_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in folder.glob(f".{_ALIASES_FILE}.*"):
            leftover.unlink(missing_ok=True)
        yield _LastVersion(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
