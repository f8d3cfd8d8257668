"""The host of an inference worker: forks and watches the worker, and forks a successor as soon as the worker ends.

The host has imported torch, but has loaded no model and used no device. So a successor spends no time on imports: it
is ready as soon as it has loaded its models. A worker that answers no PING for too long counts as hung, and the host
kills it. The cause does not matter, a forward pass that does not return or a device that does not answer: the successor
starts afresh.
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

_START_SECONDS = 300.0  # loading and warming all models may take long; meanwhile the worker answers no probe
_LONGEST_BACKOFF_SECONDS = 5.0

log = get_logger(__name__)


class Heartbeat:
    """The heartbeat of a worker, probed over the worker's socket, as an API process does.

    Args:
        path: path of the worker's socket.

    Attributes:
        missed: number of missed heartbeats in a row. A worker that does not listen yet is loading its models, and
            misses none.
    """

    def __init__(self, path: Path) -> None:
        self.missed = 0
        self._path = path
        self._stream: socket.socket | None = None

    def probe(self) -> None:
        """Reads what has come since the last probe, and sends a new PING if the last one was answered."""
        if self._stream is None and not self._connect():
            return
        assert self._stream is not None  # noqa: S101
        heard = False
        with contextlib.suppress(BlockingIOError):
            try:
                heard = bool(self._stream.recv(1 << 16))
            except ConnectionError:
                heard = False
            if not heard:  # the worker closed the connection: the next probe connects again
                self.close()
                self._stream = None
        if self._stream is not None and heard:
            self.missed = 0
            with contextlib.suppress(OSError):
                self._stream.send(frames.encode(Kind.PING, 0))
        else:
            self.missed += 1

    def close(self) -> None:
        """Closes the connection."""
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
    """Keeps one worker running.

    Args:
        serve: function that the worker runs; it does not return.
        path: path of the socket on which the worker listens.
        hang_seconds: time without an answer after which a worker is killed, in seconds.
    """

    def __init__(self, serve: Callable[[], None], path: Path, *, hang_seconds: float) -> None:
        self._serve = serve
        self._path = path
        self._policy = HeartbeatPolicy.of(hang_seconds)
        self._failures = 0  # workers in a row that ended before they listened

    def run_forever(self) -> None:
        """Runs until the main process has ended."""
        gc.freeze()  # every fork shares these objects, and no fork's collector needs to walk them
        gc.enable()
        while True:
            self._path.unlink(missing_ok=True)
            self._watch(self._fork())
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

    def _watch(self, pid: int) -> None:
        """Watches a worker until its end."""
        parent = parent_process()
        sentinels = [] if parent is None else [parent.sentinel]
        handle = os.pidfd_open(pid)
        heartbeat = Heartbeat(self._path)
        started = time.monotonic()
        try:
            while handle not in (ended := wait([handle, *sentinels], self._policy.probe_seconds)):
                if ended:
                    log.error("the main process is gone; this worker ends")
                    raise SystemExit(1)
                heartbeat.probe()
                late = not self._path.exists() and time.monotonic() - started > _START_SECONDS
                if late or heartbeat.missed >= self._policy.max_missed:
                    log.error("worker hung; killed", pid=pid)
                    os.kill(pid, signal.SIGKILL)
                    wait([handle])
        finally:
            heartbeat.close()
            os.close(handle)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        log.error("worker ended", pid=pid, exit_code=os.waitstatus_to_exitcode(status))
        # A worker that listened had loaded its models. Its end is no reason to wait before the next start.
        self._failures = 0 if self._path.exists() else self._failures + 1


def _backoff_seconds(failures: int) -> float:
    """Returns the time to wait after this many failed starts in a row, in seconds."""
    return min(math.ldexp(0.1, min(failures, 10)), _LONGEST_BACKOFF_SECONDS)
