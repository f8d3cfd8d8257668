"""The host of an inference worker: forks the process that predicts, watches it, and forks the next one at once.

The host has imported torch and loaded nothing, and has touched no device. So a successor needs no second for imports:
it is there as soon as it has loaded its models. A process that answers no PING for too long is taken for hung and
killed: whatever stopped it, a forward that does not return or a device that does not answer, its successor starts anew.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path

from service.logs import get_logger
from service.parent_watch import die_with_parent
from service.stream import frames
from service.stream.frames import Kind
from service.stream.heartbeat_policy import HeartbeatPolicy

_START_SECONDS = 300.0  # loading and warming all models may take long, and answers nothing meanwhile
_LONGEST_BACKOFF_SECONDS = 5.0

log = get_logger(__name__)


class Probe:
    """Asks the process whether it still takes frames, as an API process would: over its socket.

    Attributes:
        misses: how often in a row it was looked at without having answered. One that does not listen yet is loading
            its models, and misses nothing.
    """

    def __init__(self, path: Path) -> None:
        self.misses = 0
        self._path = path
        self._stream: socket.socket | None = None

    def look(self) -> None:
        """Reads what has come since the last look, and asks again if the last question was answered."""
        if self._stream is None and not self._connect():
            return
        assert self._stream is not None  # noqa: S101
        heard = False
        with contextlib.suppress(BlockingIOError):
            try:
                heard = bool(self._stream.recv(1 << 16))
            except ConnectionError:
                heard = False
            if not heard:  # it has hung up: the next look connects anew
                self.close()
                self._stream = None
        if self._stream is not None and heard:
            self.misses = 0
            with contextlib.suppress(OSError):
                self._stream.send(frames.encode(Kind.PING, 0))
        else:
            self.misses += 1

    def close(self) -> None:
        """Hangs up."""
        if self._stream is not None:
            self._stream.close()

    def _connect(self) -> bool:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.setblocking(False)
        try:
            stream.connect(str(self._path))
        except OSError:
            stream.close()
            return False
        self._stream = stream
        return True


class WorkerHost:
    """Keeps one process predicting.

    Args:
        serve: what that process does, for ever.
        path: the socket on which it listens.
        hang_seconds: without an answer for so long, it is killed.
    """

    def __init__(self, serve: Callable[[], None], path: Path, *, hang_seconds: float) -> None:
        self._serve = serve
        self._path = path
        self._patience = HeartbeatPolicy.of(hang_seconds)
        self._failures = 0

    def run_forever(self) -> None:
        """Runs until the main process is gone."""
        gc.collect()
        gc.freeze()  # shared with every fork, and none of them need walk it
        while True:
            self._path.unlink(missing_ok=True)
            self._attend(self._fork())
            if self._failures:
                time.sleep(_backoff_seconds(self._failures))

    def _fork(self) -> int:
        host = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(host, signal.SIGKILL)
                self._serve()
            except BaseException:
                log.exception("worker failed")
            finally:
                os._exit(1)
        return pid

    def _attend(self, pid: int) -> None:
        """Watches a process until it has ended."""
        parent = parent_process()
        sentinels = [] if parent is None else [parent.sentinel]
        handle = os.pidfd_open(pid)
        probe = Probe(self._path)
        started = time.monotonic()
        try:
            while handle not in (ended := wait([handle, *sentinels], self._patience.probe_seconds)):
                if ended:
                    log.error("the main process is gone; this worker ends")
                    raise SystemExit(1)
                probe.look()
                late = not self._path.exists() and time.monotonic() - started > _START_SECONDS
                if late or probe.misses >= self._patience.max_missed:
                    log.error("worker hung; killed", pid=pid)
                    os.kill(pid, signal.SIGKILL)
                    wait([handle])
        finally:
            probe.close()
            os.close(handle)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        log.error("worker ended", pid=pid, exit_code=os.waitstatus_to_exitcode(status))
        # One that listened had loaded its models: what ended it then is no reason to be slow with the next.
        self._failures = 0 if self._path.exists() else self._failures + 1


def _backoff_seconds(failures: int) -> float:
    """How long to wait after so many starts in a row that failed."""
    return min(math.ldexp(0.1, min(failures, 10)), _LONGEST_BACKOFF_SECONDS)
