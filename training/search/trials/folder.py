"""The folder of a study: the search record, the best trial's checkpoint, and a lock that only one search can hold."""

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
    """A store for the checkpoint of the best trial so far."""

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Saves a trial's checkpoint; earlier checkpoints stay."""

    def delete_all_but(self, number: int) -> None:
        """Deletes the checkpoints of all other trials."""

    def load(self, number: int) -> Checkpoint | None:
        """Returns a trial's checkpoint; None if missing or damaged."""


class MemoryCheckpoints:
    """A checkpoint store in memory, which is lost when the process ends."""

    def __init__(self) -> None:
        self._checkpoints: dict[int, Checkpoint] = {}

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Saves a trial's checkpoint."""
        self._checkpoints[number] = checkpoint

    def delete_all_but(self, number: int) -> None:
        """Deletes the checkpoints of all other trials."""
        self._checkpoints = {number: self._checkpoints[number]} if number in self._checkpoints else {}

    def load(self, number: int) -> Checkpoint | None:
        """Returns a trial's checkpoint; None if missing."""
        return self._checkpoints.get(number)


class StudyFolder:
    """A folder of a study on disk, locked for this process until the folder is closed; also a checkpoint store.

    Attributes:
        path: path of the folder.
        record_file: path of the SQLite file with the search record.
        latest: number and checkpoint of the trial that was saved last; kept in memory because the disk may fail.

    Raises:
        ConfigError: the name is not valid.
        SearchError: another search holds the lock, or the folder cannot be created.
    """

    def __init__(self, parent: Path | str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no name for a study: letters, digits, dot, hyphen and underscore make one.")
        self.path = Path(parent) / name
        self.record_file = self.path / "study.db"
        self.latest: tuple[int, Checkpoint] | None = None
        self._prefix = "trial"
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
        os.close(self._lock)  # this releases the lock; so does a kill of the process

    def use_files_of(self, study: str) -> None:
        """Gives the checkpoints names of their own, for a study whose record is not in this folder.

        Args:
            study: id of the study.
        """
        self._prefix = f"shared-{study}"

    @property
    def origin(self) -> str:
        """The beginning of the checkpoints' names, which tells the studies of this folder apart."""
        return self._prefix

    def save(self, number: int, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint to the folder; if the disk refuses, the checkpoint stays in memory."""
        self.latest = number, checkpoint
        with contextlib.suppress(CheckpointError):
            save_checkpoint(checkpoint, self.file_of(number))

    def delete_all_but(self, number: int) -> None:
        """Deletes the files of all other trials."""
        for file in self.path.glob(f"{self._prefix}-*.safetensors"):
            if file != self.file_of(number):
                file.unlink(missing_ok=True)

    def load(self, number: int) -> Checkpoint | None:
        """Returns a trial's checkpoint; None if the file is missing or damaged."""
        if self.latest is not None and self.latest[0] == number:
            return self.latest[1]
        with contextlib.suppress(CheckpointError):
            return load_checkpoint(self.file_of(number)).checkpoint
        return None

    def file_of(self, number: int) -> Path:
        """Returns the path of a trial's checkpoint."""
        return self.path / f"{self._prefix}-{number}.safetensors"
