"""What each API process serves, in a file of its own: workers read what to load when they start, and what has ended.

    key iris@1#sha256:…     ready to be asked for, or about to be
    ahead iris@1#sha256:…   the same, and what some id means: loaded before a worker says that it is ready
    version iris@1          in the store, whether or not anybody has asked for it

A file is replaced as a whole. Between, lines are appended: a key is written down before a worker is asked to load it.
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
    """What some API processes serve.

    Attributes:
        ahead: keys of what ids mean, in order.
        keys: keys of all versions that can be asked for.
        versions: `name@version` of what the store holds or an API process serves.
    """

    ahead: tuple[str, ...]
    keys: frozenset[str]
    versions: frozenset[str]


class ServedList:
    """The file of one API process.

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
        self._intended: set[str] = set()  # since the last `write`

    def intend(self, key: str) -> None:
        """Writes down a key that workers are about to be asked to load."""
        if key not in self._keys and key not in self._intended:
            self._intended.add(key)
            self._append([key])

    @property
    def is_behind(self) -> bool:
        """Whether the file has more keys than the last `write` gave it, or could not be written."""
        return bool(self._intended) or self._written is None

    def write(self, ahead: Iterable[str], keys: Collection[str], versions: Iterable[str]) -> None:
        """Writes down all that is served. Where the disk refuses, there is no list, which readers take for unknown.

        May run in a thread beside `intend`: what is intended meanwhile is in the new list too.
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
        # Where there is no list yet, none is made: it would not be whole. `write` comes soon, and says what is wrong.
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)


class ServedLists:
    """All API processes' files, as their readers see them.

    Args:
        runtime_dir: folder that the server's processes share.
        processes: number of API processes.
    """

    def __init__(self, runtime_dir: Path, processes: int) -> None:
        self._paths = [runtime_dir / "served" / f"api-{number}" for number in range(processes)]
        self._seen: tuple[tuple[int, int, int], ...] | None = None
        self._served: Served | None = None

    def versions(self) -> frozenset[str] | None:
        """`name@version` of all that is served; the same object while no file has changed."""
        served = self.served()
        return None if served is None else served.versions

    def served(self) -> Served | None:
        """What `read` gives; the same object while no file has changed."""
        if self._look() != self._seen:
            self._served = self.read()
        return self._served

    def read(self) -> Served | None:
        """What the API processes serve; None while one of them has not said so."""
        self._seen = self._look()
        ahead: dict[str, None] = {}
        keys: set[str] = set()
        versions: set[str] = set()
        for path in self._paths:
            try:
                *lines, _ = path.read_text(encoding="utf-8").split("\n")  # the last has no end yet, or is empty
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

    def _look(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
