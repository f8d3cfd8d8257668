"""The store: a folder of models, each with numbered versions and named aliases.

    checkpoints/
      iris/
        1/model.safetensors
        2/model.safetensors
        aliases.json            {"default": 1, "production": 2}
        .alias-history.json     what the aliases named before, for `roll_back`
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
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.alias_file import (
    DEFAULT_ALIAS,
    LATEST,
    is_alias,
    read_aliases,
    read_history,
    write_aliases,
    write_history,
)
from models.checkpoint import Checkpoint, LoadedCheckpoint, load_checkpoint, read_header, save_checkpoint, sync_folder
from models.errors import CheckpointError, InvalidName, ModelNotFound, StoreError
from models.file_identity import FileIdentity
from models.links import is_link_out, leads_out
from models.store_lock import STAGING_PREFIX, LastVersion, locked, remove
from models.store_trial import try_writing

CHECKPOINT_FILE = "model.safetensors"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LAST_VERSION = 999_999_999  # the last that _VERSION reads


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
        if is_alias(tail):
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
        if leads_out(self.path, self.path.parents[2]):
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
        with _writing(folder), locked(folder, make=True) as last:
            version = max([*_numbers(folder), last.read()], default=0) + 1
            if version > _LAST_VERSION:
                raise StoreError(f"model {name!r} has no version number left after {_LAST_VERSION}.")
            staging = folder / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
            try:
                staging.mkdir()
                save_checkpoint(checkpoint, staging / CHECKPOINT_FILE)
                last.write(version)  # before the version is there: a crash between the two skips a number
                staging.rename(folder / str(version))
            except BaseException:
                remove(staging)
                raise
            sync_folder(folder)
        return self._version(name, version)

    def try_publishing(self, name: str, *, size: int = 0) -> None:
        """Tries whether a version of `name` could be published now, and leaves the store as it was.

        Args:
            name: model's name.
            size: number of bytes of the checkpoint, as far as it is known.

        Raises:
            InvalidName: `name` is not a model name.
            StoreError: the disk refuses.
        """
        check_name(name)
        with _writing(self.root / name):
            folder = self._folder(name)
            # Under the lock, as publishing is: a lock file that belongs to somebody else refuses then as well.
            with locked(folder) if folder.is_dir() else contextlib.nullcontext():
                try_writing(folder, size=size)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Points `alias` at a version, atomically.

        Raises:
            InvalidName: not a model name or alias (`latest` is taken).
            ModelNotFound: no such model or version.
        """
        check_name(name)
        if not is_alias(alias) or alias == LATEST:
            raise InvalidName(
                f"{alias[:80]!r} cannot be an alias: letters, digits, . _ - after a letter, not 'latest'."
            )
        with self._changing(name) as (folder, entry, _):
            entry.resolve(Reference(name, version=version))
            past = _meanings(folder, entry, alias)
            if past and past[-1] == version:
                past.pop()
            write_history(folder, alias, past)
            write_aliases(folder, {**entry.aliases, alias: int(version)})

    def remove_alias(self, name: str, alias: str) -> None:
        """Forgets an alias.

        Raises:
            ModelNotFound: no such model or alias.
        """
        with self._changing(name) as (folder, entry, _):
            if alias not in entry.aliases:
                raise ModelNotFound(f"model {name!r} has no alias {alias[:80]!r}.")
            past = _meanings(folder, entry, alias)
            if alias == DEFAULT_ALIAS and entry.versions and entry.versions[-1] != past[-1]:
                past.append(entry.versions[-1])  # what the bare name means from now on
            write_history(folder, alias, past)
            write_aliases(folder, {key: value for key, value in entry.aliases.items() if key != alias})

    def roll_back(self, name: str, alias: str = DEFAULT_ALIAS) -> tuple[int, int]:
        """Points an alias at the version that it named before; `default` is what the bare name means.

        Without the alias `default`, the bare name meant each new version in turn, so the one before the newest is next.

        Returns:
            The version that it named until now, and the one that it names from now on.

        Raises:
            ModelNotFound: no such model or alias.
            StoreError: no version is known that the alias named before, or that version is gone.
        """
        with self._changing(name) as (folder, entry, _):
            if alias != DEFAULT_ALIAS and alias not in entry.aliases:
                raise ModelNotFound(f"model {name!r} has no alias {alias[:80]!r}.")
            *past, now = _meanings(folder, entry, alias)
            while past and (past[-1] == now or past[-1] not in entry.versions):
                past.pop()
            if not past:
                called = name if alias == DEFAULT_ALIAS else f"{name}@{alias}"
                raise StoreError(f"no version is known that {called} meant before {name}@{now}.")
            before = past.pop()
            write_history(folder, alias, past)
            write_aliases(folder, {**entry.aliases, alias: before})
        return now, before

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
            doomed = folder / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
            (folder / str(version)).rename(doomed)
            sync_folder(folder)
            remove(doomed)

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
    def _changing(self, name: str) -> Iterator[tuple[Path, StoreEntry, LastVersion]]:
        """A model that is there, held against other writers, and read after they were held off."""
        self.entry(name)  # so that a name that is not there leaves no folder behind
        folder = self._folder(name)
        with _writing(folder), locked(folder) as last:
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


def _foreign(path: Path) -> str | None:
    """What is wrong with a model's folder that is a link out of the store."""
    return f"{path.name} is a link that leads out of the store." if is_link_out(path, path.parent) else None


def _read_entry(folder: Path) -> StoreEntry:
    if problem := _foreign(folder):
        return StoreEntry(folder.name, (), problem=problem)
    while True:
        aliases, problem = read_aliases(folder)
        try:
            versions = _read_versions(folder)
        except OSError as error:
            return StoreEntry(folder.name, (), problem=f"{folder.name} cannot be read: {error.strerror}.")
        # A writer may have published, moved an alias and deleted since the aliases were read. Where they have not
        # changed meanwhile, an alias without its version is what is really there.
        if set(aliases.values()) <= set(versions) or (aliases, problem) == read_aliases(folder):
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


def _meanings(folder: Path, entry: StoreEntry, alias: str) -> list[int]:
    """The versions that an alias named in turn, the present one last; for `default`, those that the name meant."""
    past = read_history(folder, alias)
    if alias in entry.aliases:
        return [*past, entry.aliases[alias]]
    if alias != DEFAULT_ALIAS:
        return past
    meant = [*past, *(version for version in entry.versions if not past or version > past[-1])]
    newest = entry.versions[-1]
    return meant if meant[-1] == newest else [*meant, newest]  # what came after the newest may have been deleted


def _numbers(folder: Path) -> list[int]:
    """The numbers that a new version cannot have, whatever it is that stands under them."""
    return [int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name)]


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
