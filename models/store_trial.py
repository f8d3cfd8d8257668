"""A trial write into a folder, which detects a full or read-only disk before long work."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from models.unfinished_folder import remove_abandoned, unfinished_folder

TRIAL_PREFIX = ".try-"  # begins the names of the folders of trials

_LEAST_BYTES = 4096  # a file of a few bytes fits into the inode of some full disks


def try_writing(folder: Path, *, size: int = 0) -> None:
    """Writes and flushes a file of `size` bytes in a new folder under `folder`, then removes both.

    What a killed trial left, with its reserved space, is removed first. If `folder` does not exist, the nearest
    existing parent is used, so that nothing is left behind.

    Args:
        folder: folder that will be written to.
        size: number of bytes of the file that will be written.

    Raises:
        OSError: The disk refuses the write, with the error that the later write would have.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        folder.lstat()  # fails for a path that no folder can have, such as one that is too long
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a folder", str(place))
    for other in {folder, folder.parent} - {place}:  # of an earlier trial, which may have had another place
        remove_abandoned(other, TRIAL_PREFIX)
    with (
        unfinished_folder(place, TRIAL_PREFIX) as trial,
        # The first bytes are written and flushed: some disks reserve space that they then refuse to fill.
        (trial / "file").open("xb", buffering=0) as file,
    ):
        file.write(bytes(_LEAST_BYTES))
        if size > _LEAST_BYTES:
            _reserve(file.fileno(), size)
        os.fsync(file.fileno())


def _reserve(descriptor: int, size: int) -> None:
    """Reserves disk space for a file; does nothing on a file system that cannot reserve."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
