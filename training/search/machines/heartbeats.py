"""Heartbeats: each living worker counts up, and the others watch whether the count still rises.

No clock of one machine is compared with that of another. A heartbeat counts as missed only if an observer looked twice
and saw the same count; so an observer that was frozen, or a storage that was away, makes nobody miss any.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

import optuna

MISSES = 6  # heartbeats that a worker misses before its trials are given to others

_KEY = "axon_worker:"


class Heartbeats(Protocol):
    """A place for the heartbeats of all workers of a study."""

    def beat(self, worker: str, count: int) -> None:
        """Stores the count of a worker; raises the storage's own errors."""

    def read(self) -> dict[str, int]:
        """Returns the counts by worker."""

    def remove(self, worker: str) -> None:
        """Removes a worker that has ended."""


class FileHeartbeats:
    """Heartbeats as a small file for each worker, in a folder; in the journal, heartbeats would fill the disk."""

    def __init__(self, folder: Path) -> None:
        """Creates the folder.

        Args:
            folder: path of the folder.
        """
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def beat(self, worker: str, count: int) -> None:
        """Replaces the file of a worker."""
        new = self._folder / f"{worker}.new"
        new.write_text(str(count), encoding="ascii")
        new.replace(self._folder / worker)

    def read(self) -> dict[str, int]:
        """Returns the counts by worker; files that cannot be read are left out."""
        counts = {}
        for file in self._folder.iterdir():
            if file.suffix != ".new":
                with contextlib.suppress(OSError, ValueError):
                    counts[file.name] = int(file.read_text(encoding="ascii"))
        return counts

    def remove(self, worker: str) -> None:
        """Deletes the file of a worker."""
        (self._folder / worker).unlink(missing_ok=True)
        (self._folder / f"{worker}.new").unlink(missing_ok=True)


class StudyHeartbeats:
    """Heartbeats as attributes of the study: in PostgreSQL, one row for each worker."""

    def __init__(self, study: optuna.Study) -> None:
        """Stores the study.

        Args:
            study: study of the search.
        """
        self._study = study

    def beat(self, worker: str, count: int) -> None:
        """Updates the row of a worker."""
        self._study.set_user_attr(f"{_KEY}{worker}", count)

    def read(self) -> dict[str, int]:
        """Returns the counts by worker."""
        attributes = self._study.user_attrs
        return {
            key.removeprefix(_KEY): count
            for key, count in attributes.items()
            if key.startswith(_KEY) and count is not None
        }

    def remove(self, worker: str) -> None:
        """Empties the row of a worker; Optuna deletes no attribute."""
        self._study.set_user_attr(f"{_KEY}{worker}", None)


class Pulse:
    """A thread that gives the heartbeats of this process while the context is open."""

    def __init__(self, heartbeats: Heartbeats, worker: str, *, interval: float) -> None:
        """Stores the arguments; starts no thread.

        Args:
            heartbeats: place of the heartbeats.
            worker: name of this worker.
            interval: seconds between two heartbeats.
        """
        self._heartbeats, self._worker, self._interval = heartbeats, worker, interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=10.0)  # a storage that does not answer must not keep the process from ending
        with contextlib.suppress(Exception):  # the others notice after some missed heartbeats
            self._heartbeats.remove(self._worker)

    def _run(self) -> None:
        count = 0
        while True:
            count += 1
            with contextlib.suppress(Exception):  # the next heartbeat tries again, whatever the storage's error was
                self._heartbeats.beat(self._worker, count)
            if self._end.wait(self._interval):
                return


class MissedHeartbeats:
    """A count of missed heartbeats, by what is watched."""

    def __init__(self) -> None:
        self._seen: dict[int | str, tuple[object, int]] = {}

    def observe(self, signs: Mapping[int | str, object]) -> None:
        """Looks once at all that is watched; what is no longer there is forgotten.

        Args:
            signs: present sign of life by what is watched; a sign that is the same as at the last look is a miss.
        """
        self._seen = {key: (sign, self._misses(key, sign)) for key, sign in signs.items()}

    def lost(self) -> list[int | str]:
        """Returns all that missed too many heartbeats in a row."""
        return [key for key, (_, misses) in self._seen.items() if misses >= MISSES]

    def alive(self, keys: Iterable[int | str]) -> int:
        """Returns how many of some keys are watched and not lost."""
        return sum(key in self._seen and self._seen[key][1] < MISSES for key in keys)

    def _misses(self, key: int | str, sign: object) -> int:
        before, misses = self._seen.get(key, (None, -1))
        return misses + 1 if misses >= 0 and before == sign else 0
