"""Ctrl-C, SIGTERM and SIGHUP during a run: the run ends after its epoch and its best model is kept.

Before the first epoch there is nothing to keep, and the run ends at once. After training, the work that is left
(baselines, a question) is broken off. A second Ctrl-C ends the run at once. A second SIGTERM does nothing: `timeout`
sends two, and whoever wants a process gone has SIGKILL. SIGHUP comes when the terminal is closed; nobody reads what is
printed from then on.
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
    """A signal that ended a run at once.

    Attributes:
        exit_code: exit code of the process, 128 and the signal's number, as a shell reports it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class StopRequest:
    """A request to end a run, made by a signal. Calling it tells whether there is one."""

    def __init__(self, on_first: Callable[[], None]) -> None:
        """Listens to nothing yet.

        Args:
            on_first: called when a signal asks the run to end after its epoch.
        """
        self._on_first = on_first
        self._signal: int | None = None
        self._can_wait = False  # whether the run ends after its epoch, rather than at once
        self._raised = False
        self._is_held = False
        self._held_back: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has asked the run to end."""
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        """Exit code of an interrupted run whose model was not published; 0 where no signal came."""
        return 0 if self._signal is None else 128 + self._signal

    def has_result(self) -> None:
        """Says that an epoch is over: a signal now ends the run after its epoch, and there is something to keep."""
        self._can_wait = True

    def end_training(self) -> None:
        """Says that training is over: a signal now ends at once whatever is still being done."""
        self._can_wait = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds signals back while a model is written; `raise_held` raises them afterwards."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def raise_held(self) -> None:
        """Ends the run if a signal was held back.

        Raises:
            Interrupted: there was one.
        """
        if self._held_back is not None:
            number, self._held_back = self._held_back, None
            raise Interrupted(number)

    def take(self, number: int, frame: FrameType | None) -> None:
        """Takes a signal, as the handler that Python calls.

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
    """Listens to Ctrl-C, SIGTERM and SIGHUP within the context; to SIGHUP unless `nohup` has it ignored.

    Args:
        on_first: called when a signal asks the run to end after its epoch, to tell the user what happens now.
    """
    request = StopRequest(on_first)
    # Python hands signals to the main thread only, and lets only that one say what is done with them.
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
    """Points standard streams that are a terminal to nowhere: a write to one that was closed is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        try:
            is_terminal = stat.S_ISCHR(os.fstat(descriptor).st_mode)  # `isatty` says no once it is closed
        except OSError:
            continue
        if is_terminal:
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
