"""A journal: a file with a JSON line for each change of a study, which Optuna replays.

Optuna's own file backend refuses the whole file once a line in the middle is incomplete. A writer that is killed, or
whose disk is full, can leave such a line behind. This backend ends the incomplete line before it appends, and all
readers skip what is not an entry, so all of them count the same entries.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileOpenLock

from training.errors import SearchError


class JournalFile(BaseJournalBackend):
    """A journal in a file that several machines append to.

    The lock is a file that is created exclusively, which works on NFS 3 and later. The lock of a dead writer is broken
    after 30 seconds.

    Raises:
        SearchError: the file has other content than a journal.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        """Opens the journal, or creates an empty one.

        Args:
            path: absolute path of the file.
        """
        self._path = path
        self._lock = JournalFileOpenLock(str(path))
        self._count = 0  # entries before `_offset`
        self._offset = 0
        path.touch()
        with path.open("rb") as file:
            first = file.readline(1 << 16)
        if first.endswith(b"\n") and _entry(first) is None:
            raise SearchError(f"{path} is not the journal of a search: name another file.")

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yields the entries from a number on. An incomplete last line is left for the next call."""
        if log_number_from != self._count:
            self._count = self._offset = 0
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                if (entry := _entry(line)) is None:
                    continue
                self._count += 1
                if self._count > log_number_from:
                    yield entry

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends entries and waits for the disk."""
        text = "".join(f"{json.dumps(entry, separators=(',', ':'))}\n" for entry in logs).encode()
        self._lock.acquire()
        try:
            with self._path.open("ab", buffering=0) as file:
                if not _ends_with_a_line(self._path):
                    text = b"\n" + text
                written = file.write(text)
                if written != len(text):
                    raise OSError(f"only {written} of {len(text)} bytes were written to {self._path}")
                os.fsync(file.fileno())
        finally:
            # The lock may be broken by others if this process was frozen for longer than the lock's grace period.
            # Nothing is wrong then: an append is one write, and the entries count in the order of the file.
            with contextlib.suppress(RuntimeError):
                self._lock.release()


def _entry(line: bytes) -> dict[str, Any] | None:
    """Returns the entry of a line; None if the line is no entry, such as one that was cut."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"op_code", "worker_id"} <= entry.keys() else None


def _ends_with_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
