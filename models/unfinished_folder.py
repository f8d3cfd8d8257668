"""A folder for unfinished files, which the next writer removes if the process of the folder was killed.

The process holds a lock on a file in the folder, and the kernel releases the lock when the process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LOCK = "lock"  # file in each folder, locked by the process that made the folder
_DIGITS = re.compile(r"[0-9a-f]{16}", re.ASCII)


@contextlib.contextmanager
def unfinished_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Makes a folder for unfinished files, removed at the end; removes the folders of killed processes first.

    Args:
        parent: folder to make the folder in.
        prefix: first part of the name, which 16 random digits follow.

    Raises:
        OSError: The disk refuses the folder.
    """
    remove_abandoned(parent, prefix)
    folder, lock = _made(parent, prefix)
    with lock:
        try:
            yield folder
        finally:
            _remove(folder)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Removes the unfinished folders of killed processes, as far as the disk allows.

    Args:
        parent: folder that the folders are in.
        prefix: first part of their names.
    """
    with contextlib.suppress(OSError):
        for folder in list(parent.iterdir()):
            if folder.name.startswith(prefix) and _DIGITS.fullmatch(folder.name, len(prefix)):
                _remove_if_abandoned(folder)


def _made(parent: Path, prefix: str) -> tuple[Path, BinaryIO]:
    """Makes a folder; returns the folder and the locked file."""
    while True:
        folder = parent / f"{prefix}{secrets.token_hex(8)}"
        folder.mkdir()
        try:
            file = (folder / _LOCK).open("xb")
            with contextlib.suppress(OSError):  # where there are no locks, nothing counts as abandoned
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
                return folder, file
        except FileNotFoundError:
            pass  # another process took the folder for abandoned in the moment before the lock
        except OSError:
            _remove(folder)
            raise


def _remove_if_abandoned(folder: Path) -> None:
    with contextlib.suppress(OSError):
        status = folder.lstat()
        # A name in a folder that everybody may write to can be another user's link.
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            folder.rmdir()  # its process was killed before it made the lock; fails if there are files
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while the process lives
            _remove(folder)
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Removes a folder and its files, the lock last: if this process is killed meanwhile, the next one goes on."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
