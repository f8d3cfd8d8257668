"""A study's folder: its record, the checkpoint of its best trial, and a lock that only one search holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Protocol

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.errors import CheckpointError, ConfigError
from training.errors import SearchError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CheckpointStore(Protocol):
    """Where the best trial's checkpoint is kept until a better one comes."""

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Takes a checkpoint; those that are there stay."""

    def delete_all_but(self, number: int) -> None:
        """Forgets all others."""

    def load(self, number: int) -> Checkpoint | None:
        """A trial's checkpoint; None where there is none, or none that is sound."""


class MemoryCheckpoints:
    """A keeper that ends with the process."""

    def __init__(self) -> None:
        self._checkpoints: dict[int, Checkpoint] = {}

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Takes a checkpoint."""
        self._checkpoints[number] = checkpoint

    def delete_all_but(self, number: int) -> None:
        """Forgets all others."""
        self._checkpoints = {number: self._checkpoints[number]} if number in self._checkpoints else {}

    def load(self, number: int) -> Checkpoint | None:
        """A trial's checkpoint, or None."""
        return self._checkpoints.get(number)


class StudyFolder:
    """A folder on the disk that this process alone works in, until it is closed.

    Attributes:
        path: of the folder.
        record_file: of the SQLite file in it.
        latest: number and checkpoint of the trial that was kept last, in memory too: the disk may fail.

    Raises:
        ConfigError: a name that is none.
        SearchError: another search works in it, or the disk refuses.
    """

    def __init__(self, parent: Path | str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a study: letters, digits, dot, hyphen and underscore make one.")
        self.path = Path(parent) / name
        self.record_file = self.path / "study.db"
        self.latest: tuple[int, Checkpoint] | None = None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SearchError(f"{self.path} cannot hold a study: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise SearchError(f"another search works on {self.path}: wait for it, or name another study.") from error

    def __enter__(self) -> StudyFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)  # and with it goes the lock, as it does when the process is killed

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint; one that the disk refuses stays in memory."""
        self.latest = number, checkpoint
        with contextlib.suppress(CheckpointError):
            save_checkpoint(checkpoint, self.file_of(number))

    def delete_all_but(self, number: int) -> None:
        """Deletes all others."""
        for file in self.path.glob("trial-*.safetensors"):
            if file != self.file_of(number):
                file.unlink(missing_ok=True)

    def load(self, number: int) -> Checkpoint | None:
        """A trial's checkpoint, or None where the file is missing or damaged."""
        if self.latest is not None and self.latest[0] == number:
            return self.latest[1]
        with contextlib.suppress(CheckpointError):
            return load_checkpoint(self.file_of(number)).checkpoint
        return None

    def file_of(self, number: int) -> Path:
        """The place of a trial's checkpoint."""
        return self.path / f"trial-{number}.safetensors"
