"""Time slices: long work on an event loop pauses often, so that other work can run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

_SLICE_SECONDS = 1e-3

_T = TypeVar("_T")


class TimeSlices:
    """A timer for slices, after each of which other work gets a turn.

    Args:
        slice_seconds: length of a slice, in seconds.
        pause_seconds: length of the pause after it, in seconds; 0 is one turn of the event loop.
    """

    def __init__(self, slice_seconds: float = _SLICE_SECONDS, pause_seconds: float = 0) -> None:
        self._slice_seconds = slice_seconds
        self._pause_seconds = pause_seconds
        self._until = time.perf_counter() + slice_seconds

    async def pause(self) -> None:
        """Returns at once within a slice; pauses at the end of a slice."""
        if time.perf_counter() >= self._until:
            await asyncio.sleep(self._pause_seconds)
            self._until = time.perf_counter() + self._slice_seconds


async def in_slices(items: Iterable[_T]) -> AsyncIterator[_T]:
    """Yields the items one by one, with a pause after each slice of time."""
    slices = TimeSlices()
    for item in items:
        await slices.pause()
        yield item
