"""The windows of other API processes: one file for each process and model version, replaced as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from models.distributions.window import Window
from service.logs import LimitedLog, get_logger

log = LimitedLog(get_logger(__name__))


class WindowFiles:
    """The window files of a server.

    Args:
        folder: folder that the API processes share.
        number: position of this process among them.
        processes: number of API processes.
    """

    def __init__(self, folder: Path, number: int, processes: int) -> None:
        self._ours = folder / f"api-{number}"
        self._others = [folder / f"api-{other}" for other in range(processes) if other != number]
        if self._others:
            shutil.rmtree(self._ours, ignore_errors=True)  # of a predecessor that was killed
            self._ours.mkdir(parents=True, exist_ok=True)

    @property
    def has_others(self) -> bool:
        """True if there are other processes."""
        return bool(self._others)

    def write(self, key: str, windows: Sequence[bytes]) -> None:
        """Writes the windows of this process. If the disk is full, other processes go on with the old ones."""
        path = self._ours / _name(key)
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(b"".join(windows))
            temporary.replace(path)
        except OSError as error:
            log.warning("windows of drift were not written", reason=str(error))
            with contextlib.suppress(OSError):
                temporary.unlink()

    def remove(self, key: str) -> None:
        """Removes the windows of an ended version."""
        with contextlib.suppress(OSError):
            (self._ours / _name(key)).unlink()

    def read(self, key: str, slots: int) -> list[Window]:
        """Returns the windows of all other processes.

        Args:
            key: key of the version.
            slots: number of slots of its windows.
        """
        windows = []
        size = Window.size(slots)
        for folder in self._others:
            with contextlib.suppress(OSError, ValueError):
                data = (folder / _name(key)).read_bytes()
                windows += [Window.from_bytes(data[at : at + size], slots) for at in range(0, len(data), size)]
        return windows

    def exist(self, key: str) -> bool:
        """Returns True if another process has windows of a version."""
        return any((folder / _name(key)).exists() for folder in self._others)


def _name(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.windows"
