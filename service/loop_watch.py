"""The longest hold of an event loop: the time for which a callback or a turn delays all sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_BUSY_SECONDS = 0.005  # between two checks; the measured hold may be shorter by up to this time
_IDLE_SECONDS = 0.1
_WINDOW_SECONDS = 60.0


class LoopWatch:
    """A watch that measures the longest hold in the last one to two minutes.

    Args:
        loop: event loop, which runs.
        is_busy: function that returns True while there is work; without work, the watch checks less often.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_busy: Callable[[], bool]) -> None:
        self._loop = loop
        self._is_busy = is_busy
        self._longest = self._longest_before = 0.0
        self._window_ends = time.monotonic() + _WINDOW_SECONDS
        self._timer = loop.call_later(_IDLE_SECONDS, self._check, time.monotonic() + _IDLE_SECONDS)

    @property
    def longest_seconds(self) -> float:
        """The longest hold, in seconds."""
        return max(self._longest, self._longest_before)

    def close(self) -> None:
        """Ends the watch."""
        self._timer.cancel()

    def _check(self, due: float) -> None:
        now = time.monotonic()  # the loop's own clock stops during a turn
        if now > self._window_ends:
            self._longest, self._longest_before = 0.0, self._longest
            self._window_ends = now + _WINDOW_SECONDS
        self._longest = max(self._longest, now - due)
        period = _BUSY_SECONDS if self._is_busy() else _IDLE_SECONDS
        self._timer = self._loop.call_later(period, self._check, now + period)
