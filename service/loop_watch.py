"""How long the event loop of a process looks at no socket: what its longest callback makes everybody else wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_BUSY_SECONDS = 0.005  # from one look to the next; a hold is seen but for a part of this
_IDLE_SECONDS = 0.1
_WINDOW_SECONDS = 60.0


class LoopWatch:
    """Measures the longest hold of the last one to two minutes.

    Args:
        loop: the event loop, which runs.
        is_busy: tells whether there is work; where there is none, the watch looks seldom.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_busy: Callable[[], bool]) -> None:
        self._loop = loop
        self._is_busy = is_busy
        self._longest = self._longest_before = 0.0
        self._window_ends = time.monotonic() + _WINDOW_SECONDS
        self._timer = loop.call_later(_IDLE_SECONDS, self._look, time.monotonic() + _IDLE_SECONDS)

    @property
    def longest_seconds(self) -> float:
        """The longest hold, in seconds."""
        return max(self._longest, self._longest_before)

    def close(self) -> None:
        """Ends the watch."""
        self._timer.cancel()

    def _look(self, due: float) -> None:
        now = time.monotonic()  # the loop's own clock stands still during a turn
        if now > self._window_ends:
            self._longest, self._longest_before = 0.0, self._longest
            self._window_ends = now + _WINDOW_SECONDS
        self._longest = max(self._longest, now - due)
        period = _BUSY_SECONDS if self._is_busy() else _IDLE_SECONDS
        self._timer = self._loop.call_later(period, self._look, now + period)
