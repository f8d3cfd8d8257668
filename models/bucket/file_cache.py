"""The checkpoints of a bucket on this machine, by the SHA-256 of their bytes, within a limit of bytes.

Several processes share the folder. A file is written under a temporary name, verified and renamed, and each process
verifies a file again before it uses the file for the first time. When the limit is reached, the least recently used
files leave; a process that has such a file open keeps it until it closes the file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from models.checkpoint import open_file
from models.errors import DataError

_PART_PREFIX = ".part-"
_STRIPES = 64  # locks of downloads, so that two processes do not bring the same file
_READ_BYTES = 1 << 20
_TOUCH_SECONDS = 60.0  # how exactly the time of the last use is known
_FILE_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)

_MOST_VERIFIED = 10_000  # files whose verification a process remembers
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # errors of file systems that cannot reserve

_Identity = tuple[int, int, int, int]


class FileCache:
    """The files of a folder, by SHA-256.

    Args:
        folder: folder of the files, which is made if there is none.
        limit_bytes: largest number of bytes of all files.

    Attributes:
        limit_bytes: largest number of bytes of all files.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._locks = folder / ".locks"
        self.limit_bytes = limit_bytes
        self._verified: dict[str, _Identity] = {}
        self._locks.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Returns the path of a file, which need not exist."""
        return self._folder / sha256

    def find(self, sha256: str) -> Path | None:
        """Returns the path of a verified file; None if there is no sound one. A damaged file is removed."""
        path = self.path(sha256)
        try:
            now = path.stat()
            if self._verified.get(sha256) != _identity(now):
                sha = hashlib.sha256()
                with open_file(path) as file:
                    now = os.fstat(file.fileno())
                    while piece := file.read(_READ_BYTES):
                        sha.update(piece)
                if sha.hexdigest() != sha256:
                    self._discard(sha256)
                    return None
            if time.time() - now.st_mtime > _TOUCH_SECONDS:
                os.utime(path)
                now = path.stat()
        except OSError:
            return None
        self._remember(sha256, now)
        return path

    def read(self, sha256: str) -> bytes | None:
        """Returns the verified bytes of a file; None if there is no sound one. A damaged file is removed."""
        try:
            with open_file(self.path(sha256)) as file:
                content = file.read()
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest() != sha256:
            self._discard(sha256)
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path(sha256))
        return content

    def add(self, sha256: str, size: int, chunks: Callable[[], Iterable[bytes]]) -> Path:
        """Writes a file, unless there is one, and returns its path.

        Args:
            sha256: SHA-256 of the bytes.
            size: length in bytes.
            chunks: function that brings the bytes, piece by piece.

        Raises:
            DataError: The bytes are others than the digest says, or the file does not fit into the cache.
            OSError: The disk refuses the write.
        """
        with self._lock(f"{int(sha256[:8], 16) % _STRIPES}"):
            if (path := self.find(sha256)) is not None:
                return path
            if size > self.limit_bytes:
                raise DataError(f"has {size:,} bytes, more than the whole cache (AXON_STORE_CACHE_BYTES)")
            temporary = self._folder / f"{_PART_PREFIX}{secrets.token_hex(8)}"
            try:
                with temporary.open("xb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # marks the file as one that is being written
                    _reserve(file.fileno(), size)
                    self._make_room()
                    _write_verified(file.write, chunks(), sha256, size)
                    file.flush()
                    temporary.replace(self.path(sha256))
                    self._remember(sha256, os.fstat(file.fileno()))
            finally:
                temporary.unlink(missing_ok=True)
        return self.path(sha256)

    def _make_room(self) -> None:
        """Removes the least recently used files until all files fit, and what killed processes have left.

        Raises:
            DataError: Files that are being written need all of the room.
        """
        with self._lock("room"):
            total, kept = 0, []
            for place in os.scandir(self._folder):
                if place.name.startswith(_PART_PREFIX) and self._is_left_over(Path(place)):
                    continue
                with contextlib.suppress(OSError):
                    stat = place.stat()
                    if _FILE_NAME.fullmatch(place.name):
                        kept.append((stat.st_mtime, stat.st_size, place.name))
                    if place.name.startswith(_PART_PREFIX) or _FILE_NAME.fullmatch(place.name):
                        total += stat.st_size
            for _, size, name in sorted(kept):
                if total <= self.limit_bytes:
                    break
                self._discard(name)
                total -= size
            if total > self.limit_bytes:
                raise DataError("has no room in the cache beside the files that are being written")

    @staticmethod
    def _is_left_over(part: Path) -> bool:
        """Removes a file whose writer has died; returns False if the writer lives."""
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)
            return True
        return False

    def _discard(self, sha256: str) -> None:
        self._verified.pop(sha256, None)
        with contextlib.suppress(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def _remember(self, sha256: str, stat: os.stat_result) -> None:
        self._verified[sha256] = _identity(stat)
        while len(self._verified) > _MOST_VERIFIED:
            self._verified.pop(next(iter(self._verified)), None)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self._locks / name).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write_verified(write: Callable[[bytes], object], chunks: Iterable[bytes], sha256: str, size: int) -> None:
    """Writes the chunks, and refuses other bytes than those of the digest."""
    sha, count = hashlib.sha256(), 0
    for chunk in chunks:
        count += len(chunk)
        if count > size:
            break
        sha.update(chunk)
        write(chunk)
    if count != size:
        raise DataError(f"was brought with {count:,} of {size:,} bytes")
    if sha.hexdigest() != sha256:
        raise DataError("was brought with other bytes than its manifest names (SHA-256)")


def _reserve(descriptor: int, size: int) -> None:
    """Reserves the bytes of a file, so that a full disk and the limit are known before the download."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.ftruncate(descriptor, size)


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
