"""Ctrl-C, SIGTERM and SIGHUP during a run: the run ends after the present epoch and keeps the best model.

Before the first epoch has ended, there is nothing to keep, and the run ends at once. After training, a signal ends the
remaining work (baselines, a question). A second Ctrl-C ends the run at once. A second SIGTERM has no effect: `timeout`
sends two, and SIGKILL can end a process in any case. SIGHUP comes when the terminal is closed; after it, nobody reads
the output.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal has ended a run at once.

    Attributes:
        exit_code: exit code of the process, 128 plus the number of the signal, as in a shell.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """A request to end a run, made by a signal. A call returns True after a signal."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        """Starts in the state without a signal.

        Args:
            on_first: callback for the first signal that ends the run after the present epoch.
        """
        self._on_first = on_first
        self._signal: int | None = None
        self._can_wait = False  # True if a signal ends the run after its epoch, False if at once
        self._raised = False
        self._is_held = False
        self._held_back: int | None = None

    def __call__(self) -> bool:
        """Returns True if a signal has asked the run to end."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code of an interrupted run without a published model; 0 without a signal."""
        return 0 if self._signal is None else 128 + self._signal

    def has_result(self) -> None:
        """Marks the end of an epoch: from now on, a signal ends the run after the present epoch."""
        self._can_wait = True

    def end_training(self) -> None:
        """Marks the end of training: from now on, a signal ends the remaining work at once."""
        self._can_wait = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds signals back while a model is written or not on the disk; `raise_held` raises one afterwards."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def raise_held(self) -> None:
        """Ends the run if a signal was held back.

        Raises:
            Interrupted: a signal was held back.
        """
        if self._held_back is not None:
            number, self._held_back = self._held_back, None
            raise Interrupted(number)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal; Python calls this method.

        Raises:
            Interrupted: the run ends at once.
        """
        if number == signal.SIGHUP:
            _leave_terminal()
        is_first = self._signal is None
        self._signal = self._signal or number
        if self._is_held:
            self._held_back = number
        elif self._can_wait and is_first:
            self._on_first()
        elif number == signal.SIGINT or not (self._can_wait or self._raised):
            self._raised = True
            raise Interrupted(number)


@contextmanager
def stopping_on_interrupt(on_first: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Handles Ctrl-C, SIGTERM and SIGHUP inside the `with` block; not SIGHUP if `nohup` ignores the signal.

    Args:
        on_first: callback for the first signal that ends the run after the present epoch, to inform the user.
    """
    request = StopRequest(on_first)
    # Python delivers signals to the main thread only, and only that thread can set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, request.take) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _leave_terminal() -> None:
    """Redirects standard streams from a terminal to the null device: writing to a closed terminal is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        try:
            is_terminal = stat.S_ISCHR(os.fstat(descriptor).st_mode)  # `isatty` returns False for a closed terminal
        except OSError:
            continue
        if is_terminal:
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
