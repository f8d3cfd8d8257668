"""The pipe from the server's processes to the log relay, on the side of the main process."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import subprocess  # nosec B404
import sys
import time
from pathlib import Path
from typing import Literal, Self

from service import log_relay
from service.logs import COLOURS_VARIABLE, LineHandler

_PIPE_BYTES = 1 << 20  # the largest size that an ordinary user may set
_END_SECONDS = 1.0  # time for the relay to write the waiting lines; longer than the relay's own limit
_RESTART_SECONDS = 1.0  # the shortest time between two starts of a relay that dies

_open_pipe: LogPipe | None = None


class LogPipe:
    """A pipe in place of this process's standard output and error, and the log relay that reads the pipe.

    Child processes inherit the pipe, so their log lines, prints and crash reports reach the relay too. Writing never
    blocks, because the write end of the pipe is non-blocking.

    Args:
        form: format of the log.

    Attributes:
        sentinel: descriptor that becomes readable when the relay ends.
    """

    sentinel: int

    def __init__(self, form: Literal["json", "console"]) -> None:
        global _open_pipe
        self._form = form
        if form == "console" and os.isatty(2):
            os.environ[COLOURS_VARIABLE] = "1"
        self._output, self._error = (_duplicate(descriptor) for descriptor in (1, 2))
        self._read, write = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(write, False)
        self._counter_file = os.memfd_create("dropped-log-lines")
        os.truncate(self._counter_file, log_relay.COUNTER_BYTES)
        self._counter = mmap.mmap(self._counter_file, log_relay.COUNTER_BYTES)
        self._start()
        for descriptor in (1, 2):
            os.dup2(write, descriptor)
        os.close(write)
        _open_pipe = self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """Number of lines that the relay dropped."""
        return int.from_bytes(self._counter[: log_relay.COUNTER_BYTES], sys.byteorder)

    def restart(self) -> None:
        """Starts another relay after the last one has ended. Lines in the pipe are not lost."""
        os.close(self.sentinel)
        self._relay.wait()
        time.sleep(max(0.0, self._started + _RESTART_SECONDS - time.monotonic()))
        self._start()

    def close(self) -> None:
        """Restores standard output and error, and waits until the relay has written the remaining lines."""
        global _open_pipe
        _open_pipe = None
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        with contextlib.suppress(OSError):
            os.write(2, log_relay.END_LINE + b"\n")
        os.dup2(self._output, 1)
        os.dup2(self._error, 2)
        try:
            self._relay.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._relay.kill()
            self._relay.wait()
        self._counter.close()
        for descriptor in (self._output, self._error, self._read, self._counter_file, self.sentinel):
            os.close(descriptor)

    def _start(self) -> None:
        self._started = time.monotonic()
        path = str(Path(log_relay.__file__))  # this interpreter runs it; no part of the command is a user's input
        self._relay = subprocess.Popen(  # noqa: S603  # nosec B603
            [sys.executable, "-I", "-S", path, self._form, str(self._counter_file)],
            stdin=self._read,
            stdout=self._error,
            stderr=self._error,
            pass_fds=[self._counter_file],
        )
        self.sentinel = os.pidfd_open(self._relay.pid)


def dropped_lines() -> int:
    """Returns the number of log lines that the relay and this process dropped."""
    return LineHandler.dropped + (_open_pipe.dropped if _open_pipe is not None else 0)


def _duplicate(descriptor: int) -> int:
    """Returns a copy of a descriptor that child programs do not inherit; of `/dev/null` for a closed descriptor."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
