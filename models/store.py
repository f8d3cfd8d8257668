"""The store: a folder of models, each with numbered versions and named aliases.

    checkpoints/
      iris/
        1/model.safetensors
        2/model.safetensors
        aliases.json            {"default": 1, "production": 2}
        .lock                   held while publishing; holds the highest number ever given

A reference is `name`, `name@version` or `name@alias`. `name` alone is the alias `default` where it is set, else the
newest version; `name@latest` is always the newest. A version is published by renaming a finished folder into place,
so a reader sees all of it or nothing; numbers are never given twice, even after a version was deleted. Readers take
no lock and write nothing: a read-only store serves. A symbolic link to a folder of the store is read as that folder;
`delete` removes the link and leaves what it points to. One that leads out of the store is refused: whoever can write to
the store shall not have the service read what it alone can, such as another's files. (The link is looked at before the
file is opened; hard links and mounts are the administrator's to make.)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.checkpoint import (
    Checkpoint,
    LoadedCheckpoint,
    load_checkpoint,
    open_file,
    read_header,
    save_checkpoint,
    sync_folder,
)
from models.errors import CheckpointError, InvalidName, ModelNotFound, StoreError
from models.file_identity import FileIdentity

CHECKPOINT_FILE = "model.safetensors"
DEFAULT_ALIAS = "default"
LATEST = "latest"

_ALIASES_FILE = "aliases.json"
_LOCK_FILE = ".lock"
_STAGING_PREFIX = ".publish-"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LAST_VERSION = 999_999_999  # the last that _VERSION reads
_MAX_ALIASES_BYTES = 1 << 20


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
    """One version in the store; `path` is its checkpoint."""

    name: str
    version: int
    path: Path

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def read_header(self) -> dict[str, Any]:
        """The checkpoint's header alone, not verified.

        Raises:
            CheckpointError: it leads out of the store, or as `read_header` of `models.checkpoint` says.
        """
        self._check_inside()
        return read_header(self.path)

    def identity(self) -> FileIdentity:
        """What tells whether the checkpoint's file has changed.

        Raises:
            CheckpointError: the file cannot be looked at.
        """
        try:
            return FileIdentity.of(self.path)
        except OSError as error:
            raise CheckpointError(self.path, f"cannot be read: {error.strerror}.") from error

    def load(self) -> LoadedCheckpoint:
        """The checkpoint, verified.

        Raises:
            CheckpointError: it leads out of the store, or as `load_checkpoint` says.
        """
        self._check_inside()
        return load_checkpoint(self.path)

    def _check_inside(self) -> None:
        if _leads_out(self.path, self.path.parents[2]):
            raise CheckpointError(self.path, "is, or lies behind, a link that leads out of the store.")


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """What the store holds under one name. `problem` says why versions or aliases could not be read, if so; it names
    files by their place in the store.
    """

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None

    def resolve(self, reference: Reference) -> int:
        """The version that a reference to this name means.

        Raises:
            ModelNotFound: no such version or alias.
            StoreError: it cannot be told, since the store could not be read; a guess might serve another model.
        """
        needs_aliases = reference.version is None and reference.alias != LATEST
        if self.problem is not None and (needs_aliases or not self.versions):
            raise StoreError(self.problem)
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
        with _writing(folder), _locked(folder, make=True) as last:
            version = max([*_numbers(folder), last.read()], default=0) + 1
            if version > _LAST_VERSION:
                raise StoreError(f"model {name!r} has no version number left after {_LAST_VERSION}.")
            staging = folder / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
            try:
                staging.mkdir()
                save_checkpoint(checkpoint, staging / CHECKPOINT_FILE)
                last.write(version)  # before the version is there: a crash between the two skips a number
                staging.rename(folder / str(version))
            except BaseException:
                _remove(staging)
                raise
            sync_folder(folder)
        return self._version(name, version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points `alias` at a version, atomically.

        Raises:
            InvalidName: not a model name or alias (`latest` is taken).
            ModelNotFound: no such model or version.
        """
        check_name(name)
        if not _ALIAS.fullmatch(alias) or alias == LATEST:
            raise InvalidName(
                f"{alias[:80]!r} cannot be an alias: letters, digits, . _ - after a letter, not 'latest'."
            )
        with self._changing(name) as (folder, entry, _):
            entry.resolve(Reference(name, version=version))
            _write_aliases(folder, {**entry.aliases, alias: int(version)})

    def remove_alias(self, name: str, alias: str) -> None:
        """Forgets an alias.

        Raises:
            ModelNotFound: no such model or alias.
        """
        with self._changing(name) as (folder, entry, _):
            if alias not in entry.aliases:
                raise ModelNotFound(f"model {name!r} has no alias {alias[:80]!r}.")
            _write_aliases(folder, {key: value for key, value in entry.aliases.items() if key != alias})

    def delete(self, name: str, version: int) -> None:
        """Removes a version; it vanishes at once and its number is not given again.

        Raises:
            ModelNotFound: no such model or version.
            StoreError: an alias still names it.
        """
        with self._changing(name) as (folder, entry, last):
            entry.resolve(Reference(name, version=version))
            if named := [alias for alias, target in entry.aliases.items() if target == version]:
                raise StoreError(f"{name}@{version} is what alias {named[0]!r} names: move the alias first.")
            last.write(max(last.read(), *_numbers(folder)))  # a store copied without its lock files has none recorded
            doomed = folder / f"{_STAGING_PREFIX}{secrets.token_hex(8)}"
            (folder / str(version)).rename(doomed)
            sync_folder(folder)
            _remove(doomed)

    def names(self) -> list[str]:
        """Names of the models that have at least one version, sorted."""
        return [entry.name for entry in self.entries() if entry.versions]

    def entries(self) -> list[StoreEntry]:
        """What the store holds, by name. Folders that are no model of ours are passed over; one that cannot be read has
        its `problem`, and perhaps no versions.

        Raises:
            StoreError: the store cannot be read.
        """
        return list(self.scan())

    def scan(self) -> Iterator[StoreEntry]:
        """Reads the entries one by one.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            with os.scandir(self.root) as places:
                names = sorted(place.name for place in places if _NAME.fullmatch(place.name) and _is_folder(place))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be read: {error.strerror}.") from error
        for name in names:
            entry = _read_entry(self.root / name)
            if entry.versions or entry.problem is not None:
                yield entry

    def entry(self, name: str) -> StoreEntry:
        """What the store holds under `name`.

        Raises:
            InvalidName: not a model name.
            ModelNotFound: nothing of that name.
            StoreError: it is a link that leads out of the store.
        """
        entry = _read_entry(self._folder(name))
        if not entry.versions and entry.problem is None:
            raise ModelNotFound(f"there is no model {name!r} in {self.root}.")
        return entry

    def resolve(self, reference: str) -> ModelVersion:
        """The version that `name`, `name@version` or `name@alias` means.

        Raises:
            InvalidName: not a well-formed reference.
            ModelNotFound: a reference to nothing.
            StoreError: the store cannot be read.
        """
        parsed = Reference.parse(reference)
        return self._version(parsed.name, self.entry(parsed.name).resolve(parsed))

    def load(self, reference: str) -> LoadedCheckpoint:
        """Reads and verifies the checkpoint that a reference means.

        Raises:
            InvalidName, ModelNotFound, StoreError, CheckpointError: as `resolve` and `ModelVersion.load` do.
        """
        return self.resolve(reference).load()

    def version(self, name: str, version: int) -> ModelVersion:
        """The place of a version, whether or not it is there."""
        check_name(name)
        return self._version(name, version)

    def _version(self, name: str, version: int) -> ModelVersion:
        return ModelVersion(name, version, self.root / name / str(version) / CHECKPOINT_FILE)

    def _folder(self, name: str) -> Path:
        check_name(name)
        folder = self.root / name
        if problem := _foreign(folder):
            raise StoreError(problem)
        return folder

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[tuple[Path, StoreEntry, _LastVersion]]:
        """A model that is there, held against other writers, and read after they were held off."""
        self.entry(name)  # so that a name that is not there leaves no folder behind
        folder = self._folder(name)
        with _writing(folder), _locked(folder) as last:
            entry = self.entry(name)
            if entry.problem is not None:
                raise StoreError(entry.problem)
            yield folder, entry, last


def check_name(name: str) -> None:
    """Refuses what cannot be a model's name, and so whatever could leave the store's folder.

    Raises:
        InvalidName: says what a name is.
    """
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:80]!r} is not a model name: up to 64 letters, digits, . _ -, beginning with a letter or a digit."
        )


def _leads_out(path: Path, root: Path) -> bool:
    """Whether a path, its links followed, is no longer under `root`."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _foreign(path: Path) -> str | None:
    """What is wrong with a model's folder that is a link out of the store."""
    return f"{path.name} is a link that leads out of the store." if _is_link_out(path, path.parent) else None


def _is_link_out(path: Path, root: Path) -> bool:
    return path.is_symlink() and _leads_out(path, root)


def _read_entry(folder: Path) -> StoreEntry:
    if problem := _foreign(folder):
        return StoreEntry(folder.name, (), problem=problem)
    while True:
        aliases, problem = _read_aliases(folder)
        try:
            versions = _read_versions(folder)
        except OSError as error:
            return StoreEntry(folder.name, (), problem=f"{folder.name} cannot be read: {error.strerror}.")
        # A writer may have published, moved an alias and deleted since the aliases were read. Where they have not
        # changed meanwhile, an alias without its version is what is really there.
        if set(aliases.values()) <= set(versions) or (aliases, problem) == _read_aliases(folder):
            return StoreEntry(folder.name, versions, aliases, problem)


def _read_versions(folder: Path) -> tuple[int, ...]:
    try:
        with os.scandir(folder) as places:
            folders = [place.name for place in places if _VERSION.fullmatch(place.name) and _is_folder(place)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(sorted(map(int, folders)))


def _is_folder(place: os.DirEntry[str]) -> bool:
    # What is no link costs no look at the disk; a link in circles is False to Path and an OSError to DirEntry.
    return Path(place).is_dir() if place.is_symlink() else place.is_dir()


def _read_aliases(folder: Path) -> tuple[dict[str, int], str | None]:
    """The aliases, and why they could not be read."""
    path = folder / _ALIASES_FILE
    called = f"{folder.name}/{_ALIASES_FILE}"  # clients see it: no path of this machine
    if _is_link_out(path, folder.parent):
        return {}, f"{called} is a link that leads out of the store."
    try:
        with open_file(path) as file:
            text = file.read(_MAX_ALIASES_BYTES + 1)
        if len(text) > _MAX_ALIASES_BYTES:
            return {}, f"{called} has more than {_MAX_ALIASES_BYTES:,} bytes."
        aliases = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}, None
    except OSError as error:
        return {}, f"{called} cannot be read: {error.strerror}."
    except (ValueError, RecursionError) as error:
        return {}, f"{called} is not JSON: {error}."
    if not isinstance(aliases, dict) or not all(type(version) is int for version in aliases.values()):
        return {}, f"{called} is not a table of alias to version."
    # What no reference can mean is no alias: written by hand, "1" or "latest" would answer for another version.
    return {alias: to for alias, to in aliases.items() if _ALIAS.fullmatch(alias) and alias != LATEST}, None


def _numbers(folder: Path) -> list[int]:
    """The numbers that a new version cannot have, whatever it is that stands under them."""
    return [int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name)]


def _write_aliases(folder: Path, aliases: Mapping[str, int]) -> None:
    temporary = folder / f".{_ALIASES_FILE}.{secrets.token_hex(8)}"
    with temporary.open("x", encoding="utf-8") as file:
        json.dump(aliases, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / _ALIASES_FILE)
    sync_folder(folder)


class _LastVersion:
    """The highest number ever given, kept in the lock file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int:
        text = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if _VERSION.fullmatch(text) else 0

    def write(self, version: int) -> None:
        os.ftruncate(self._descriptor, os.pwrite(self._descriptor, f"{version}\n".encode(), 0))
        os.fsync(self._descriptor)


@contextlib.contextmanager
def _locked(folder: Path, *, make: bool = False) -> Iterator[_LastVersion]:
    """Holds the folder against other writers, and clears away what a killed one left.

    The kernel lets go of the lock when its holder dies, so nobody waits for the dead.
    """
    if make:
        _make_folder(folder)
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for leftover in (*folder.glob(f"{_STAGING_PREFIX}*"), *folder.glob(f".{_ALIASES_FILE}.*")):
            _remove(leftover)
        yield _LastVersion(descriptor)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone leaves it held by a child that was forked meanwhile
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Makes the folder and its parents, and flushes their entries, so that a power cut cannot take them away."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def _remove(path: Path) -> None:
    """Removes a folder, a file or a link (not what it points to), as far as the disk allows."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
