"""The list of versions that an API process serves: one file for each process, which workers read.

From the lists, a worker learns which versions to load when it starts, and which versions have ended.

    key iris@1#sha256:…     served, or about to be loaded
    ahead iris@1#sha256:…   the same, and an id refers to it: a worker loads it before it reports that it is ready
    version iris@1          in the store, loaded or not

A file is replaced as a whole. Between two replacements, lines are appended: a key is written down before a worker is
asked to load it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from service.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True)
class Served:
    """The versions that all API processes together serve.

    Attributes:
        ahead: keys of the versions to which ids refer, in order.
        keys: keys of all versions that clients can request.
        versions: `name@version` of each version that the store holds or an API process serves.
    """

    ahead: tuple[str, ...]
    keys: frozenset[str]
    versions: frozenset[str]


class ServedList:
    """The list of one API process, as the process writes the file.

    Args:
        runtime_dir: folder that the server's processes share.
        role: name of the process, `api-0`.
    """

    def __init__(self, runtime_dir: Path, role: str) -> None:
        self._folder = runtime_dir / "served"
        self._folder.mkdir(exist_ok=True)
        self._path = self._folder / role
        self._failed = False
        self._written: str | None = None
        self._keys: set[str] = set()
        self._intended: set[str] = set()  # keys of `intend` since the last `write`

    def intend(self, key: str) -> None:
        """Appends a key, before workers are asked to load the version."""
        if key not in self._keys and key not in self._intended:
            self._intended.add(key)
            self._append([key])

    @property
    def is_behind(self) -> bool:
        """True if the file has more keys than the last `write` gave, or could not be written."""
        return bool(self._intended) or self._written is None

    def write(self, ahead: Iterable[str], keys: Collection[str], versions: Iterable[str]) -> None:
        """Replaces the list; removes a list that cannot be written, so that readers know that the versions are unknown.

        May run in a thread beside `intend`: the new list includes keys that `intend` adds meanwhile.

        Args:
            ahead: keys of the versions to which ids refer.
            keys: keys of all versions that clients can request.
            versions: `name@version` of all versions that the store holds or this process serves.
        """
        intended = set(self._intended)
        lines = [f"ahead {key}\n" for key in ahead]
        lines += sorted(f"key {key}\n" for key in keys)
        lines += sorted(f"version {version}\n" for version in versions)
        text = "".join(lines)
        if text == self._written and not intended:
            return
        temporary = self._folder / f".{self._path.name}"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            if not self._failed:
                log.warning("the list of what is served could not be written", reason=str(error))
            self._failed = True
            for path in (self._path, temporary):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            self._written = None
            return
        self._failed = False
        self._written, self._keys = text, set(keys)
        self._append(set(self._intended) - intended)
        self._intended -= intended

    def _append(self, keys: Iterable[str]) -> None:
        text = "".join(f"key {key}\nversion {key.partition('#')[0]}\n" for key in keys)
        # A missing file is not created here: it would be incomplete. `write` soon creates it, or logs the reason.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)


class ServedLists:
    """The lists of all API processes, for readers.

    Args:
        runtime_dir: folder that the server's processes share.
        processes: number of API processes.
    """

    def __init__(self, runtime_dir: Path, processes: int) -> None:
        self._paths = [runtime_dir / "served" / f"api-{number}" for number in range(processes)]
        self._identity: tuple[tuple[int, int, int], ...] | None = None  # identity of the files when they were read
        self._served: Served | None = None

    def versions(self) -> frozenset[str] | None:
        """Returns `name@version` of all served versions, or None; the same object while no file has changed."""
        served = self.served()
        return None if served is None else served.versions

    def served(self) -> Served | None:
        """Returns the result of `read`; the same object while no file has changed."""
        if self._current_identity() != self._identity:
            self._served = self.read()
        return self._served

    def read(self) -> Served | None:
        """Reads the lists of all API processes; returns None while a list is missing."""
        self._identity = self._current_identity()
        ahead: dict[str, None] = {}
        keys: set[str] = set()
        versions: set[str] = set()
        for path in self._paths:
            try:
                *lines, _ = path.read_text(encoding="utf-8").split("\n")  # the last line is incomplete or empty
            except OSError:
                return None
            for line in lines:
                kind, _, value = line.partition(" ")
                if kind == "version":
                    versions.add(value)
                else:
                    keys.add(value)
                    if kind == "ahead":
                        ahead[value] = None
        return Served(tuple(ahead), frozenset(keys), frozenset(versions))

    def _current_identity(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
