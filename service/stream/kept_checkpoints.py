"""Copies of the served checkpoints, by key, in the runtime folder, for workers that restart.

When a worker restarts, a file of the store may be altered, replaced or gone. So workers write a copy of the bytes that
they verified. All workers share these copies, which outlive every worker. API processes remove copies that are no
longer served.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from models.checkpoint import open_file
from service.logs import get_logger

_LEAST_FREE_BYTES = 64 << 20  # bytes of the file system that stay free for others
_UNFINISHED = "."  # first character of the name of a copy that is being written
_ABANDONED_SECONDS = 600.0  # time without a written byte after which the writer of a copy counts as dead
_LEAST_FREE_SHARE = 1 / 8  # on a small file system, the share that stays free

log = get_logger(__name__)


class KeptCheckpoints:
    """A folder of verified checkpoints, with one file for each key.

    Args:
        runtime_dir: folder that the server's processes share.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self._folder = runtime_dir / "kept"
        self._unneeded: set[str] = set()  # names of the files that the last `keep_only` found to be unneeded
        self._keys: Collection[str] = ()
        self._needed: frozenset[str] = frozenset()  # names of the files of `_keys`
        self._folder.mkdir(exist_ok=True)

    def path(self, key: str) -> Path:
        """Returns the path of a version's copy, which need not exist."""
        return self._folder / _file_name(key)

    def read(self, key: str) -> bytes | None:
        """Returns the bytes of a version's checkpoint, or None if no copy can be read."""
        try:
            with open_file(self.path(key)) as file:
                return file.read()
        except OSError:
            return None

    def discard(self, key: str) -> None:
        """Removes the copy of a version."""
        with contextlib.suppress(OSError):
            self.path(key).unlink(missing_ok=True)

    def keep(self, key: str, payload: bytes) -> None:
        """Writes a copy, unless there is one. Without enough free space, writes a warning to the log instead.

        Args:
            key: key of the version.
            payload: verified bytes of its checkpoint.
        """
        path = self.path(key)
        if path.exists():
            return
        temporary = path.with_name(f"{_UNFINISHED}{secrets.token_hex(8)}")
        try:
            self._check_room(len(payload))
            temporary.write_bytes(payload)
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            log.warning(
                "no copy of a checkpoint kept; after a restart it is read from the store", key=key, reason=str(error)
            )

    def names(self) -> set[str]:
        """Returns the names of the files in the folder."""
        try:
            return set(os.listdir(self._folder))  # noqa: PTH208 -- ten times as fast, and called again and again
        except OSError:
            return set()

    def keep_only(self, keys: Collection[str], names: set[str]) -> None:
        """Removes files that belong to none of the keys, in this call and in the last one.

        A file stays for one more call, because workers may still have batches of a version that has just ended. A copy
        that is being written stays until nothing was written for a while.

        Args:
            keys: keys that are served; the same object while they have not changed.
            names: names of the files that were in the folder before the keys were read.
        """
        if keys is not self._keys:
            self._keys, self._needed = keys, frozenset(map(_file_name, keys))
        unneeded = names - self._needed
        for name in unneeded & self._unneeded:
            file = self._folder / name
            with contextlib.suppress(OSError):
                if not name.startswith(_UNFINISHED) or time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                    file.unlink()
        self._unneeded = unneeded

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._folder)
        least = min(_LEAST_FREE_BYTES, int(disk.f_blocks * disk.f_frsize * _LEAST_FREE_SHARE))
        if disk.f_bavail * disk.f_frsize < size + least:
            raise OSError(f"{size:,} bytes would leave too little room in {self._folder}")


def _file_name(key: str) -> str:
    # A key ends with the digest that a file's header claims, which may be any text.
    return sha256(key.encode()).hexdigest()
