"""The spool that one API process writes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.columns.unknown_texts import UnknownText
from models.prediction_log.folder import make_spool
from models.prediction_log.logged_rows import EncodedRows, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion, logged_columns
from models.prediction_log.spool import MAGIC
from service.batching.served_version import ServedVersion
from service.prediction_log.taken_rows import TakenRows

_Key = tuple[str, int, str]  # name, version, digest


class SpoolFile:
    """A spool that grows.

    Args:
        path: path of the new file.
        left_out: names of columns that are not written.
        on_version: function that is called with each version that the file begins to have rows of.

    Raises:
        OSError: the file cannot be made.

    Attributes:
        path: path of the file.
        size: number of bytes that were written.
        began: time of the first row, on the monotonic clock, in seconds; None without rows.
    """

    def __init__(
        self, path: Path, left_out: Collection[str], on_version: Callable[[ServedVersion, LoggedVersion], None]
    ) -> None:
        self.path = path
        self.size = 0
        self.began: float | None = None
        self._left_out = left_out
        self._on_version = on_version
        self._versions: dict[_Key, _Columns] = {}
        self._descriptor = make_spool(path)
        try:
            self._append(MAGIC)
        except OSError:
            self.close()
            raise

    def write(self, taken: Sequence[TakenRows]) -> None:
        """Appends rows, all or none.

        Raises:
            OSError: the rows cannot be written, or the file was removed.
        """
        self._check_there()
        by_version: dict[_Key, list[TakenRows]] = {}
        for some in taken:
            by_version.setdefault(_key(some.served), []).append(some)
        known = len(self._versions)
        parts: list[bytes] = []
        for key, group in by_version.items():
            columns = self._versions.get(key)
            if columns is None:
                columns = self._versions[key] = _Columns(len(self._versions), group[0].served, self._left_out)
                parts.append(version_record(columns.number, columns.version))
                self._on_version(group[0].served, columns.version)
            parts.append(rows_record(columns.number, columns.of(group)))
        try:
            self._append(b"".join(parts))
        except OSError:
            for key in list(self._versions)[known:]:
                del self._versions[key]
            raise
        self.began = time.monotonic() if self.began is None else self.began

    def _append(self, data: bytes) -> None:
        """Appends bytes; removes a written part again if the disk is full."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(data)

    def _check_there(self) -> None:
        """Raises `OSError` if the file is no longer at its path: what is written would be lost without an error."""
        if self.path.stat().st_ino != os.fstat(self._descriptor).st_ino:
            raise FileNotFoundError(2, "the file was replaced", str(self.path))

    def close(self) -> None:
        """Ends the file, which gives up the lock; a file without rows is removed."""
        os.close(self._descriptor)
        if self.began is None:
            with contextlib.suppress(OSError):
                self.path.unlink()


class _Columns:
    """The logged columns of a version, and its number in the spool."""

    def __init__(self, number: int, served: ServedVersion, left_out: Collection[str]) -> None:
        columns, self._places, self._positions = logged_columns(served.schema, left_out)
        self.number = number
        self._width = served.width
        self.version = LoggedVersion(
            name=served.name,
            version=served.version,
            digest=served.digest,
            columns=columns,
            left_out=len(served.schema.columns) - len(columns),
            target=served.schema.target,
            has_probabilities=served.config.has_probabilities,
        )

    def of(self, group: Sequence[TakenRows]) -> EncodedRows:
        """Joins rows, without the columns that are left out."""
        rows: NDArray[np.float32] = np.frombuffer(b"".join([taken.rows for taken in group]), dtype="<f4")
        rows = rows.reshape(-1, self._width)
        if self._places is not None:
            rows = rows[:, self._places]
        unknown: list[UnknownText] = []
        names = [name for taken in group for name in taken.named()]
        first = 0
        for taken in group:
            for text in taken.unknown:
                column = self._positions[text.column]
                if column is not None:
                    unknown.append(UnknownText(first + text.row, column, text.text))
            first += len(taken)
        return EncodedRows(
            times=np.repeat([taken.time for taken in group], [len(taken) for taken in group]),
            request_ids=[name.request_id for name in names],
            places=np.array([name.row for name in names], dtype=np.int32),
            asked=[name.asked for name in names],
            members=[name.members for name in names],
            rows=rows,
            answers=np.concatenate([taken.answers for taken in group]),
            unknown=unknown,
        )


def _key(served: ServedVersion) -> _Key:
    return served.name, served.version, served.digest
