"""Pauses of the cyclic garbage collector: a full collection with the columns of wide models takes 200 ms."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_pauses = 0


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the collector; several threads may do so at the same time."""
    global _pauses
    with _lock:
        _pauses += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _pauses -= 1
            if not _pauses:
                gc.enable()


class LongLived:
    """Excludes long-lived objects from garbage collection, many at a time.

    Cyclic garbage that exists at that moment is never freed: a hundred kilobytes at most, since young objects are
    collected often. A long-lived object without cycles is still freed as soon as nothing refers to it.

    Args:
        together: number of units after which all present objects are excluded.
    """

    def __init__(self, together: int) -> None:
        self._together = together
        self._units = 0

    def add(self, units: int) -> None:
        """Counts units of objects that were made while the collector was paused."""
        self._units += units
        if self._units >= self._together:
            self._units = 0
            gc.freeze()
