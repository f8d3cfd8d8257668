"""A queue for long work in short steps between the turns of the event loop, such as reading large requests.

Work is a generator that yields the number of bytes done after each step. Short work and long work take turns, so a
small request does not wait for all of a large one. Only a few pieces of long work are in progress at a time, the oldest
first: if all were in progress, all would be done late.

The queue estimates the time for all its work in wall-clock seconds, which include other work of the process. So a
request that could not be read before its deadline is refused at once, before it costs any work.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator

from service.batching.deadlines import DeadlineWheel
from service.collector import collector_paused
from service.logs import get_logger

# In each turn of the event loop, the queue works as long as the rest of the turn took, within these bounds. So neither
# many small requests stop the work, nor does the work stop small requests. The last step may take a millisecond or two
# more.
_SHORTEST_TURN_SECONDS = 0.002
_LONGEST_TURN_SECONDS = 0.004
_SHORT_BYTES = 1 << 17  # work of up to this size takes one or two steps
_MOST_UNDER_WAY = 4  # pieces of long work in progress
_MEASURE_BYTES = 1 << 18  # bytes per measurement of the speed; fewer would be too noisy
_WEIGHT = 0.3  # weight of the newest measurement

log = get_logger(__name__)

Steps = Iterator[int | None]


class Work:
    """One piece of work in a `StepQueue`.

    Attributes:
        deadline: time on the event loop's clock after which the work is dropped, in seconds.
        left: number of bytes that are not done yet.
        steps: generator of the work; None after the end.
    """

    __slots__ = ("_expired", "_queue", "deadline", "left", "steps")

    def __init__(
        self, queue: StepQueue, steps: Steps, size: int, deadline: float, expired: Callable[[], None] | None
    ) -> None:
        self._queue = queue
        self._expired = expired
        self.steps: Steps | None = steps
        self.left = size
        self.deadline = deadline

    def expire(self) -> None:
        """Ends work whose deadline has passed."""
        self._queue.end(self)
        if self._expired is not None:
            self._expired()


class StepQueue:
    """A queue that runs long work in short steps."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines = DeadlineWheel(loop)
        self._short: deque[Work] = deque()
        self._long: deque[Work] = deque()  # the first few are in progress
        self._place = 0  # index of the long work whose turn it is
        self._short_is_next = False
        self._bytes = 0  # bytes of all work that are not done yet
        self._seconds_a_byte = 0.0
        self._measured_bytes = 0
        self._measured_seconds = 0.0
        self._turned = 0.0  # when the last turn ended
        self._is_scheduled = False

    @property
    def is_busy(self) -> bool:
        """True if there is work."""
        return bool(self._short or self._long)

    def wait_seconds(self) -> float:
        """Estimates the time until all present work is done, in seconds; 0 before the first measurement."""
        return self.seconds_for(self._bytes)

    def seconds_for(self, size: int) -> float:
        """Estimates the time to do work of `size` bytes, in seconds; 0 before the first measurement."""
        return size * self._seconds_a_byte

    def add(
        self,
        steps: Steps,
        size: int,
        *,
        deadline: float = math.inf,
        expired: Callable[[], None] | None = None,
        urgent: bool = False,
    ) -> None:
        """Adds work.

        Args:
            steps: generator that runs one step at a time, and yields the number of bytes done, or None.
            size: number of bytes of the whole work.
            deadline: time on the event loop's clock after which the work is dropped, in seconds.
            expired: function that is called when the deadline has passed.
            urgent: True to treat long work as short work, as for answers, which must not wait for reading.
        """
        work = Work(self, steps, size, deadline, expired)
        self._bytes += size
        if deadline < math.inf:
            self._deadlines.add(work)
            if work.steps is None:
                return
        (self._short if size <= _SHORT_BYTES or urgent else self._long).append(work)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._turned = time.perf_counter()
            self._loop.call_soon(self._turn)

    def end(self, work: Work) -> None:
        """Removes work, done or not."""
        if work.steps is None:
            return
        steps, work.steps = work.steps, None
        self._bytes -= work.left
        work.left = 0
        if work.deadline < math.inf:
            self._deadlines.remove(work)
        close = getattr(steps, "close", None)
        if close is not None:
            close()

    def _turn(self) -> None:
        began = time.perf_counter()
        turn_seconds = min(max(began - self._turned, _SHORTEST_TURN_SECONDS), _LONGEST_TURN_SECONDS)
        done = 0
        self._place += 1  # one piece of long work in each turn, because its next step finds its data in the caches
        # Steps make and drop thousands of rows. No row is in a cycle, and a search for cycles would take long.
        with collector_paused():
            while self.is_busy and time.perf_counter() - began < turn_seconds:
                done += self._step_next()
        now = time.perf_counter()
        self._observe(done, now - self._turned)
        self._turned = now
        self._is_scheduled = self.is_busy
        if self._is_scheduled:
            self._loop.call_soon(self._turn)

    def _step_next(self) -> int:
        """Runs one step of the work whose turn has come; returns the number of bytes done."""
        self._short_is_next = not self._short_is_next
        if self._short and (self._short_is_next or not self._long):
            work = self._short.popleft()
            done = self._step(work)
            if work.steps is not None:
                self._short.append(work)
            return done
        work = self._long[self._place % min(_MOST_UNDER_WAY, len(self._long))]
        done = self._step(work)
        if work.steps is None:
            self._long.remove(work)
        return done

    def _step(self, work: Work) -> int:
        if work.steps is None:
            return 0
        try:
            done = min(next(work.steps) or 0, work.left)
        except StopIteration:
            done = work.left
            self.end(work)
            return done
        except Exception:  # a failure must not stop the other work in the queue
            log.exception("work failed")
            self.end(work)
            return 0
        work.left -= done
        self._bytes -= done
        return done

    def _observe(self, done: int, seconds: float) -> None:
        self._measured_bytes += done
        self._measured_seconds += seconds
        if self._measured_bytes >= _MEASURE_BYTES:
            newest, known = self._measured_seconds / self._measured_bytes, self._seconds_a_byte
            self._seconds_a_byte = newest if not known else known + _WEIGHT * (newest - known)
            self._measured_bytes, self._measured_seconds = 0, 0.0
