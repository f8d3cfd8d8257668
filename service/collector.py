"""The cyclic garbage collector, kept from long walks: a full one over the columns of wide models takes 200 ms."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_lock = threading.Lock()
_pauses = 0


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pauses the collector; threads may do so side by side."""
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
    """Takes objects that live long out of the collector's walks, many at a time.

    What is in a cycle and garbage at that moment stays for good, a hundred kilobytes at most: young objects are
    collected again and again. Where a long-lived object is dropped, its memory is free at once, as always.

    Args:
        together: number of units from which on objects are taken out.
    """

    def __init__(self, together: int) -> None:
        self._together = together
        self._units = 0

    def add(self, units: int) -> None:
        """Counts what was made while the collector was paused."""
        self._units += units
        if self._units >= self._together:
            self._units = 0
            gc.freeze()
