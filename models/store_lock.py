"""The lock of one model's folder, for one writer at a time; the lock file holds the highest version number so far."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from models.alias_file import ALIASES_FILE
from models.store_trial import TRIAL_PREFIX
from models.version_policy import POLICY_FILE
from models.whole_file import sync_folder

STAGING_PREFIX = ".publish-"  # begins the names of folders that a writer has not finished

_LOCK_FILE = ".lock"
# All that is written to the folder itself, under the lock: whoever has the lock knows that its writer is dead.
_UNFINISHED = (f"{STAGING_PREFIX}*", f"{TRIAL_PREFIX}*", f".{ALIASES_FILE}.*", f".{POLICY_FILE}.*")
_VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class LastVersion:
    """The highest version number that was ever assigned, kept in the lock file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> int:
        """Reads the number; 0 if none was assigned yet."""
        text = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
        return int(text) if _VERSION.fullmatch(text) else 0

    def write(self, version: int) -> None:
        """Writes and flushes the number."""
        os.ftruncate(self._descriptor, os.pwrite(self._descriptor, f"{version}\n".encode(), 0))
        os.fsync(self._descriptor)


@contextlib.contextmanager
def locked(folder: Path, *, make: bool = False) -> Iterator[LastVersion]:
    """Locks the folder against other writers, and removes the unfinished files of a killed writer.

    The kernel releases the lock when its holder dies, so nobody waits for a dead process.
    """
    if make:
        _make_folder(folder)
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for names in _UNFINISHED:
            for leftover in folder.glob(names):
                remove(leftover)
        yield LastVersion(descriptor)
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # without this, a child that was forked meanwhile would keep the lock
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Creates and flushes the folder and its parents, so that a power cut cannot remove any."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Removes a folder, a file or a link (but not the link's target), as far as the disk allows."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
