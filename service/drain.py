"""The orderly shutdown of the API processes by the main process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait

from service.api_forks import ApiHandle
from service.listeners import Listeners
from service.logs import get_logger
from service.settings import Settings
from service.stop_signals import HURRY_SIGNAL, PipeEvent

_HIDDEN_SECONDS = 0.5  # after a listener is hidden, API processes accept the clients that have connected
_STOP_SECONDS = 0.2  # time for the rest of a stop, which is long only on a busy machine
_HURRIED_STOP_SECONDS = 1.0
_POLL_SECONDS = 0.05

log = get_logger(__name__)


class Drain:
    """Stops all API processes at the same time, so that every client that has connected gets an answer.

    Args:
        processes: API processes.
        listeners: sockets from which the API processes accept.
        settings: settings with the seconds of the drain, and of the answers that are still due after the drain.
        hurry: event that cuts both short.
        start_last: function that starts another process, or returns None.
    """

    def __init__(
        self,
        processes: Sequence[ApiHandle],
        listeners: Listeners,
        settings: Settings,
        hurry: PipeEvent,
        start_last: Callable[[], ApiHandle | None],
    ) -> None:
        self._processes = list(processes)
        self._start_last = start_last
        self._listeners = listeners
        self._settings = settings
        self._hurry = hurry

    def run(self) -> None:
        """Drains and ends all processes; kills a process that does not end in time."""
        for process in self._processes:
            process.send(signal.SIGTERM)
        self._wait(self._settings.drain_seconds)
        self._replace_the_last()
        self._listeners.hide()  # API processes do so themselves, except one that hangs
        deadline = time.monotonic() + self._settings.shutdown_seconds + _HIDDEN_SECONDS + _STOP_SECONDS
        self._wait(_HIDDEN_SECONDS)
        while not self._listeners.all_accepted() and self._wait(min(_POLL_SECONDS, deadline - time.monotonic())):
            pass
        self._listeners.close()  # another server may listen now, while this server still answers
        self._wait(deadline - time.monotonic())
        if self._hurry.is_set() and self._alive():
            self._hurry_up()
        for process in self._alive():
            log.error("an API process did not stop in time; killed", api_process=process.name)
            process.send(signal.SIGKILL)

    def _replace_the_last(self) -> None:
        """Starts a process for the clients that have connected, if the last process has died."""
        if self._alive() or self._hurry.is_set() or self._listeners.all_accepted():
            return
        if (process := self._start_last()) is not None:
            self._processes.append(process)
            process.send(signal.SIGTERM)
            self._wait(self._settings.drain_seconds)

    def _wait(self, seconds: float) -> bool:
        """Waits for the end of all processes or the `hurry` event; returns True if the time was over before."""
        deadline = time.monotonic() + seconds
        while alive := self._alive():
            left = deadline - time.monotonic()
            if self._hurry.is_set() or left <= 0:
                return not self._hurry.is_set()
            wait([self._hurry.fileno(), *(process.sentinel for process in alive)], left)
        return False

    def _hurry_up(self) -> None:
        log.warning("stopped in a hurry")
        for process in self._alive():
            process.send(HURRY_SIGNAL)
        deadline = time.monotonic() + _HURRIED_STOP_SECONDS
        while (alive := self._alive()) and (left := deadline - time.monotonic()) > 0:
            wait([process.sentinel for process in alive], left)

    def _alive(self) -> list[ApiHandle]:
        return [process for process in self._processes if process.is_alive()]
