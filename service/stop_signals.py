"""The signals that stop the server, and the pipes by which they reach whoever waits for them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class PipeEvent:
    """An event that a signal handler may set, since no lock is taken, and that `multiprocessing.connection.wait` takes.

    Its methods are those of `threading.Event` that LitServe calls.
    """

    def __init__(self) -> None:
        self._set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        """Sets the event."""
        self._set = True
        with contextlib.suppress(OSError):  # full: there is enough in it to wake everybody
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        """Returns True once the event was set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the event is set, or the seconds are over; returns whether it is set."""
        select.select([self._reader], [], [], timeout)
        return self._set

    def fileno(self) -> int:
        """Returns the descriptor that is readable once the event is set."""
        return self._reader


class StopSignals:
    """SIGTERM, SIGINT and SIGHUP in the main process: the first asks for an orderly stop, the second for a quick one.

    The handler raises nothing and takes no lock, so any number of signals may come at any moment.

    Attributes:
        stop: set by the first signal, or by whoever ends the server.
        hurry: set by the second signal.
    """

    def __init__(self) -> None:
        self.stop = PipeEvent()
        self.hurry = PipeEvent()
        self._asked = False

    def take(self) -> None:
        """Installs the handlers. SIGHUP stays ignored where it is (`nohup`)."""
        for signum in STOP_SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        event = self.hurry if self._asked else self.stop
        self._asked = True
        event.set()


def exit_at_once() -> None:
    """Has stop signals end this process with exit code 0, while it has made nothing that would have to be undone.

    As PID 1, a signal without a handler is ignored.
    """
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _exit)


def ignore_stop_signals() -> None:
    """Has this process pass over stop signals, also while Python ends."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Has processes that are spawned within the block pass over stop signals, from their first instruction on.

    A terminal and a service manager signal all processes of a server at once, and the main process alone decides when
    a worker ends. Blocked signals stay blocked in a new program, where handlers and exceptions to them do not.
    """
    from multiprocessing import resource_tracker  # the health check does without it

    resource_tracker.ensure_running()  # `multiprocessing` starts it before the first child, and unblocks them then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(signum: int, frame: FrameType | None) -> None:
    os._exit(0)
