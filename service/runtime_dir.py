"""The runtime folder: a private folder for sockets and metric files, locked while in use."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from service.start_checks import StartError

_PREFIX = "axon-run-"
_MAX_SOCKET_PATH = 100  # Linux takes 107 bytes


def make_runtime_dir(parent: Path) -> tuple[Path, int]:
    """Makes a runtime folder, and removes the folders of killed servers, whose locks the kernel has released.

    Args:
        parent: folder in which the runtime folder is made.

    Returns:
        The folder, and the descriptor of its lock.

    Raises:
        StartError: the path is too long for a Unix socket, or the folder cannot be made.
    """
    for old in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # not a runtime folder, no permission, or in use
            lock = _locked(old / "lock", os.O_RDWR)
            try:
                shutil.rmtree(old, ignore_errors=True)
            finally:
                os.close(lock)
    try:
        runtime_dir = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        if len(str(runtime_dir)) > _MAX_SOCKET_PATH - len("/worker-9999.sock"):
            runtime_dir.rmdir()
            raise StartError(f"AXON_RUNTIME_DIR: {parent} is too long a path for Unix sockets; set a shorter one.")
        (runtime_dir / "metrics").mkdir()
        # The lock gets its name once it is held, so that another start does not take the folder for an old one.
        lock = _locked(runtime_dir / "lock.new", os.O_RDWR | os.O_CREAT)
        (runtime_dir / "lock.new").rename(runtime_dir / "lock")
        return runtime_dir, lock
    except OSError as error:
        raise StartError(f"AXON_RUNTIME_DIR: {parent} cannot be written to: {error.strerror}.") from None


def _locked(file: Path, flags: int) -> int:
    """Locks a file and returns the descriptor; raises OSError for a missing or a locked file."""
    descriptor = os.open(file, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
