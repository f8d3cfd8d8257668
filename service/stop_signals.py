"""The signals that stop the server, and events that wake waiting threads through pipes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HURRY_SIGNAL = signal.SIGUSR1  # asks an API process to end its drain


class PipeEvent:
    """An event that a signal handler may set, and that `multiprocessing.connection.wait` accepts.

    A signal handler may set the event because no lock is involved. The class has the methods of `threading.Event` that
    LitServe calls.
    """

    def __init__(self) -> None:
        self._set = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def set(self) -> None:
        """Sets the event."""
        self._set = True
        with contextlib.suppress(OSError):  # a full pipe holds enough to wake all waiting threads
            os.write(self._writer, b"\0")

    def is_set(self) -> bool:
        """Returns True if the event was set."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the event is set or the timeout is over; returns True if the event is set."""
        select.select([self._reader], [], [], timeout)
        return self._set

    def fileno(self) -> int:
        """Returns the descriptor that is readable once the event is set."""
        return self._reader


class StopSignals:
    """The stop signals of the main process: the first one asks for an orderly stop, the second one for a quick stop.

    The handler raises no exception and takes no lock, so any number of signals may come at any moment.

    Attributes:
        stop: event of the first signal; other code may set it to end the server.
        hurry: event of the second signal.
    """

    def __init__(self) -> None:
        self.stop = PipeEvent()
        self.hurry = PipeEvent()
        self._asked = False

    def take(self) -> None:
        """Installs the handlers. An ignored SIGHUP stays ignored (`nohup`)."""
        for signum in STOP_SIGNALS:
            if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        event = self.hurry if self._asked else self.stop
        self._asked = True
        event.set()


def exit_at_once() -> None:
    """Makes stop signals end this process with exit code 0, for the time before there is anything to clean up.

    PID 1 would ignore a signal without a handler.
    """
    for signum in STOP_SIGNALS:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, _exit)


def ignore_stop_signals() -> None:
    """Makes this process ignore stop signals, also while Python ends."""
    for signum in STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Blocks stop signals in child processes that the block starts, from their first instruction on.

    A terminal and a service manager signal all processes of a server at once, but only the main process decides when a
    worker ends. A new program inherits blocked signals, but no handlers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(signum: int, frame: FrameType | None) -> None:
    os._exit(0)
