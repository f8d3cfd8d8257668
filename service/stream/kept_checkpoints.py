"""Copies of the checkpoints that are served, by key, in the runtime folder: a worker's successor loads from them.

What the store holds may be altered, replaced or gone by the time a worker restarts. Workers write a copy of the bytes
that they verified; all workers share it, and it outlives each of them. API processes remove what nobody serves.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

from models.checkpoint import open_file
from service.logs import get_logger

_LEAST_FREE_BYTES = 64 << 20  # left to others on the file system …
_LEAST_FREE_SHARE = 1 / 8  # … or so much of a small one

log = get_logger(__name__)


class KeptCheckpoints:
    """A folder of verified checkpoints, one file a key.

    Args:
        runtime_dir: folder that the server's processes share.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self._folder = runtime_dir / "kept"
        self._doomed: set[str] = set()
        self._keys: Collection[str] = ()
        self._needed: frozenset[str] = frozenset()  # names of their files
        self._folder.mkdir(exist_ok=True)

    def path(self, key: str) -> Path:
        """Where the copy of a version is, whether or not it is there."""
        return self._folder / _file_name(key)

    def read(self, key: str) -> bytes | None:
        """The bytes of a version's checkpoint; None where no copy can be read."""
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
        """Writes a copy, unless there is one. Where there is no room, the log says so and no copy is kept.

        Args:
            key: key of the version.
            payload: verified bytes of its checkpoint.
        """
        path = self.path(key)
        if path.exists():
            return
        temporary = path.with_name(f".{secrets.token_hex(8)}")
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
        """Names of the files that are there."""
        try:
            return set(os.listdir(self._folder))  # noqa: PTH208 -- ten times as fast, and asked for at each look
        except OSError:
            return set()

    def keep_only(self, keys: Collection[str], names: set[str]) -> None:
        """Removes what is for none of the keys, if the last call found it so too: batches may still be under way.

        Args:
            keys: keys that are served; the same object while they have not changed.
            names: names of the files that were there before the keys were asked for.
        """
        if keys is not self._keys:
            self._keys, self._needed = keys, frozenset(map(_file_name, keys))
        unneeded = names - self._needed
        for name in unneeded & self._doomed:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
        self._doomed = unneeded

    def _check_room(self, size: int) -> None:
        disk = os.statvfs(self._folder)
        least = min(_LEAST_FREE_BYTES, int(disk.f_blocks * disk.f_frsize * _LEAST_FREE_SHARE))
        if disk.f_bavail * disk.f_frsize < size + least:
            raise OSError(f"{size:,} bytes would leave too little room in {self._folder}")


def _file_name(key: str) -> str:
    # A key ends in what a file's header claims as its digest, which may be any text.
    return sha256(key.encode()).hexdigest()
