"""The folder of a log of predictions: its files, their names and locks, and the bound of bytes.

    predictions/
      spool/20261126T215313Z-api-0-3f9c01ab.spool       a process writes it, and holds a lock on it
      churn@3/20261126T214813Z-api-0-77aa02cd.0.parquet   the rows of one version in a spool that has ended
      .converting                                       locked while spools become Parquet files

Names begin with the time at which the spool was begun, so the oldest files are the first in the order of names.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

SPOOLS = "spool"
SPOOL, PARQUET, UNREADABLE = ".spool", ".parquet", ".unreadable"
_LOCK = ".converting"
_TEMPORARY = ".new"


def new_spool(folder: Path, process: str) -> Path:
    """Returns the path of a spool that does not exist yet.

    Args:
        folder: folder of the log.
        process: name of the process, such as `api-0`.
    """
    return folder / SPOOLS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{process}-{secrets.token_hex(4)}{SPOOL}"


def stem_of(path: Path) -> str:
    """Returns the name of the spool from which a file comes, without its suffix."""
    return path.name.partition(".")[0]


def spools(folder: Path) -> list[Path]:
    """Returns all spools, the oldest first."""
    return sorted((folder / SPOOLS).glob(f"*{SPOOL}"))


def parquet_files(folder: Path) -> list[Path]:
    """Returns all Parquet files, the oldest first."""
    return sorted(folder.glob(f"*@*/*{PARQUET}"), key=lambda path: (path.name, path.parent.name))


def parquet_path(folder: Path, spool: Path, version: str, number: int) -> Path:
    """Returns the path of the rows of one version in a spool.

    Args:
        folder: folder of the log.
        spool: spool of the rows.
        version: model version, `name@version`.
        number: position of the version in the spool.
    """
    return folder / version / f"{spool.stem}.{number}{PARQUET}"


def make_spool(path: Path) -> int:
    """Creates a spool that this process writes, and returns the descriptor. Closing the descriptor ends the writer.

    The file has its lock before it has its name: a conversion would take a spool without a lock for one that has ended.

    Raises:
        OSError: the file cannot be made.
    """
    unlocked = path.with_suffix(_TEMPORARY)
    descriptor = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(path)
    except BaseException:
        os.close(descriptor)
        unlocked.unlink(missing_ok=True)
        raise
    return descriptor


def has_writer(spool: Path) -> bool:
    """Returns True if the writer of a spool lives; False as well if the spool is gone."""
    try:
        descriptor = os.open(spool, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, since several processes may look at once
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def converting(folder: Path) -> Iterator[None]:
    """Holds the lock under which spools become Parquet files, and removes what a killed holder left half written."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for half_written in folder.glob(f"*@*/*{_TEMPORARY}"):
            half_written.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def remove_oldest(folder: Path, most_bytes: int) -> int:
    """Removes the oldest files until the others have at most `most_bytes` bytes; returns the number of removed files.

    Spools with a living writer stay.
    """
    files = [*folder.glob(f"{SPOOLS}/*"), *parquet_files(folder)]
    sizes: dict[Path, int] = {}
    for path in files:
        with contextlib.suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    total = sum(sizes.values())
    removed = 0
    for path in sorted(sizes, key=lambda path: path.name):
        if total <= most_bytes:
            break
        if path.suffix == SPOOL and has_writer(path):
            continue
        path.unlink(missing_ok=True)
        removed += 1
        total -= sizes[path]
    return removed
