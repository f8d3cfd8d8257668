"""The writer of the log of predictions: a thread, so that a slow or full disk holds up no request."""

from __future__ import annotations

import os
import subprocess  # nosec B404
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import service
from models.columns.row_names import RowNames
from models.prediction_log.folder import SPOOLS, has_writer, new_spool, remove_oldest, spools
from models.prediction_log.logged_version import LoggedVersion
from service.batching.served_version import ServedVersion
from service.logs import LimitedLog, get_logger
from service.prediction_log.counts import LogCounts
from service.prediction_log.spool_file import SpoolFile
from service.prediction_log.taken_rows import TakenRows
from service.settings import Settings

_PAUSE_SECONDS = 0.5  # between two writings: a killed process loses at most what it answered in this time
_POLL_SECONDS = 1.0  # between two looks whether a conversion has ended
_RETRY_SECONDS = 5.0  # after a failure
_MOST_SPOOL_BYTES = 1 << 24
_RESERVED = 0.75  # share of the bytes that files may have when a spool begins; the rest is for what grows meanwhile

log = get_logger(__name__)
failures = LimitedLog(log)


class LogWriter:
    """The writer of one API process.

    Args:
        settings: settings of the server.
        folder: folder of the log.
        process: name of the process.
        counts: metrics of the log.
        spool_bytes: number of bytes from which a spool is ended.

    Attributes:
        done_bytes: bytes of the rows that no longer wait; only the thread changes it.
    """

    def __init__(self, settings: Settings, folder: Path, process: str, counts: LogCounts, spool_bytes: int) -> None:
        self._folder = folder
        self._process = process
        self._counts = counts
        self._left_out = settings.prediction_log_columns_left_out
        self._seconds = settings.prediction_log_seconds
        self._spool_bytes = min(spool_bytes, _MOST_SPOOL_BYTES)
        self._most_bytes = int(_RESERVED * settings.prediction_log_bytes)
        self._waiting: deque[tuple[TakenRows, int]] = deque()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._spool: SpoolFile | None = None
        self._retry_at = 0.0
        self._checked: set[str] = set()
        self._conversion: subprocess.Popen[bytes] | None = None
        self._is_conversion_due = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self.done_bytes = 0

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def put(self, taken: TakenRows, size: int) -> None:
        """Hands rows of `size` bytes to the thread."""
        self._waiting.append((taken, size))
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Waits until the rest is written and converted, for at most `seconds` seconds."""
        self._ending.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        self._attempt(self._look_for_leftovers)
        self._look_after_conversion()
        while not self._ending.is_set():
            self._wake.wait(self._longest_wait())
            self._ending.wait(_PAUSE_SECONDS)
            self._wake.clear()
            self._attempt(self._write)
            self._attempt(self._roll_if_due)
            self._look_after_conversion()
        self._attempt(self._write)
        self._attempt(self._roll)
        for _ in range(2):  # one may be under way, and then the last one
            if self._conversion is not None:
                self._conversion.wait()
            self._look_after_conversion()
        if self._conversion is not None:
            self._conversion.wait()

    def _attempt(self, step: Callable[[], None]) -> None:
        """Runs a step; a failure stops the log for a while."""
        try:
            step()
        except Exception as error:
            reason = (error.strerror or repr(error)) if isinstance(error, OSError) else repr(error)
            failures.error(
                "the log of predictions is not written",
                folder=str(self._folder),
                reason=reason,
                tried_again_after_seconds=_RETRY_SECONDS,
            )
            self._counts.set_stopped(is_stopped=True)
            self._retry_at = time.monotonic() + _RETRY_SECONDS
            self._drop_spool()

    def _longest_wait(self) -> float | None:
        """Returns the time after which there is work although no rows come; None if there will be none."""
        if self._is_conversion_due or self._conversion is not None:
            return _POLL_SECONDS
        if self._spool is None or self._spool.began is None:
            return None
        return max(0.0, self._spool.began + self._seconds - time.monotonic())

    def _write(self) -> None:
        """Writes all rows that wait, or counts the rows as failed."""
        taken: list[TakenRows] = []
        size = 0
        while self._waiting:
            some, its_size = self._waiting.popleft()
            taken.append(some)
            size += its_size
        if not taken:
            return
        rows = sum(map(len, taken))
        try:
            is_written = time.monotonic() >= self._retry_at
            if is_written:
                self._opened().write(taken)
        except BaseException:
            self._counts.add("failed", rows)
            raise
        finally:
            self.done_bytes += size
        self._counts.add("written" if is_written else "failed", rows)
        if is_written:
            self._counts.set_stopped(is_stopped=False)

    def _opened(self) -> SpoolFile:
        if self._spool is None:
            (self._folder / SPOOLS).mkdir(exist_ok=True)
            path = new_spool(self._folder, self._process)
            self._spool = SpoolFile(path, self._left_out, self._check_columns)
        return self._spool

    def _check_columns(self, served: ServedVersion, logged: LoggedVersion) -> None:
        """Logs names of `AXON_PREDICTION_LOG_OMIT` that a model lacks: a column with a misspelled name is logged."""
        if served.key not in self._checked:
            self._checked.add(served.key)
            names = RowNames(served.schema.names)
            if lacking := [name for name in self._left_out if names.find(name) is None]:
                log.warning(
                    "AXON_PREDICTION_LOG_OMIT names columns that a model lacks", model=str(logged), columns=lacking
                )

    def _roll_if_due(self) -> None:
        if self._spool is not None and self._spool.began is not None:
            age = time.monotonic() - self._spool.began
            if age >= self._seconds or self._spool.size >= self._spool_bytes:
                self._roll()

    def _roll(self) -> None:
        """Ends the spool, so that a conversion is due."""
        self._drop_spool()
        remove_oldest(self._folder, self._most_bytes)  # also if no conversion succeeds

    def _drop_spool(self) -> None:
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.close()
            self._is_conversion_due |= spool.began is not None

    def _look_for_leftovers(self) -> None:
        """Marks a conversion as due if killed processes have left spools."""
        self._is_conversion_due = any(not has_writer(spool) for spool in spools(self._folder))

    def _look_after_conversion(self) -> None:
        """Starts a conversion if one is due and none is running; a running one may miss the newest spool.

        A conversion that cannot be started is due again, and stops no log: its spools can be read as they are.
        """
        if self._conversion is not None and (code := self._conversion.poll()) is not None:
            self._conversion = None
            if code:
                failures.error("spools of the log of predictions were not converted", exit_code=code)
        if not self._is_conversion_due or self._conversion is not None:
            return
        root = Path(service.__file__).parents[1]
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        try:
            self._conversion = subprocess.Popen(  # noqa: S603  # nosec B603 -- no part of it is a client's
                [sys.executable, "-m", "service.prediction_log", str(self._folder), str(self._most_bytes)],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
            )
        except OSError as error:
            failures.error("no process converts the spools of the log of predictions", reason=str(error))
        else:
            self._is_conversion_due = False
