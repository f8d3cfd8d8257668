"""The orderly end of the API processes, as the main process leads it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from service.listeners import Listeners
from service.logs import get_logger
from service.settings import Settings
from service.stop_signals import PipeEvent

HURRY_SIGNAL = signal.SIGUSR1  # asks an API process to end its drain
_HIDDEN_SECONDS = 0.5  # after a listener is hidden, API processes accept what has connected
_STOP_SECONDS = 0.2  # for what takes no time by itself, on a busy machine
_HURRIED_STOP_SECONDS = 1.0
_LOOK_SECONDS = 0.05

log = get_logger(__name__)


class Drain:
    """Ends API processes side by side, so that nobody who has connected goes without an answer.

    Args:
        processes: API processes.
        listeners: sockets that they accept from.
        settings: seconds of the drain, and of the answers that are still due after it.
        hurry: event that cuts both short.
    """

    def __init__(
        self, processes: Sequence[BaseProcess], listeners: Listeners, settings: Settings, hurry: PipeEvent
    ) -> None:
        self._processes = processes
        self._listeners = listeners
        self._settings = settings
        self._hurry = hurry

    def run(self) -> None:
        """Drains and ends all processes; one that does not end in time is killed."""
        for process in self._processes:
            process.terminate()
        self._wait(self._settings.drain_seconds)
        self._listeners.hide()  # API processes do so themselves, but for one that hangs
        deadline = time.monotonic() + self._settings.shutdown_seconds + _HIDDEN_SECONDS + _STOP_SECONDS
        self._wait(_HIDDEN_SECONDS)
        while not self._listeners.all_accepted() and self._wait(min(_LOOK_SECONDS, deadline - time.monotonic())):
            pass
        self._listeners.close()  # a successor may listen, while this server still answers
        self._wait(deadline - time.monotonic())
        if self._hurry.is_set() and self._alive():
            self._hurry_up()
        for process in self._alive():
            log.error("an API process did not stop in time; killed", process=process.name)
            process.kill()

    def _wait(self, seconds: float) -> bool:
        """Waits until all processes have ended or a signal hurries; returns True if the time was over before that."""
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
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, HURRY_SIGNAL)
        deadline = time.monotonic() + _HURRIED_STOP_SECONDS
        while (alive := self._alive()) and (left := deadline - time.monotonic()) > 0:
            wait([process.sentinel for process in alive], left)

    def _alive(self) -> list[BaseProcess]:
        return [process for process in self._processes if process.is_alive()]
