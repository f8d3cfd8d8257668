"""Long work in short steps between the event loop's turns: reading large requests and writing large answers.

Whoever has work hands in a generator, which yields after each step how many bytes of its work are done. Short work and
long work take turns, so that a small request does not wait for the whole of a large one. Of long work only a few pieces
are under way at a time, the oldest first: were all of it, all of it would be done late.

The queue knows how long it would take for what is in it, by the clock on the wall: what else the process does meanwhile
counts. So a request that could not be read within its deadline is refused before it costs anything.
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

# The work's part of a turn of the event loop: as long as the rest of the turn took, so that neither a crowd of small
# requests stops the work nor the work the crowd; within bounds. A step begun before takes a millisecond or two more.
_SHORTEST_TURN_SECONDS = 0.002
_LONGEST_TURN_SECONDS = 0.004
_SHORT_BYTES = 1 << 17  # work of so many bytes takes a step or two
_MOST_UNDER_WAY = 4  # pieces of long work
_TELLING_BYTES = 1 << 18  # from so many on, the seconds that they took say something
_WEIGHT = 0.3  # of the newest of these

log = get_logger(__name__)

Steps = Iterator[int | None]


class Work:
    """One piece of work in a `StepQueue`.

    Attributes:
        deadline: end of its time on the event loop's clock, in seconds.
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
        """Ends it, since its time is over."""
        self._queue.end(self)
        if self._expired is not None:
            self._expired()


class StepQueue:
    """Runs long work in short steps."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._deadlines = DeadlineWheel(loop)
        self._short: deque[Work] = deque()
        self._long: deque[Work] = deque()  # the first few are under way
        self._place = 0  # of the one whose turn it is, among these
        self._short_is_next = False
        self._bytes = 0  # that are left of all work
        self._seconds_a_byte = 0.0
        self._measured_bytes = 0
        self._measured_seconds = 0.0
        self._turned = 0.0  # when the last turn ended
        self._is_scheduled = False

    @property
    def is_busy(self) -> bool:
        """Whether there is work."""
        return bool(self._short or self._long)

    def wait_seconds(self) -> float:
        """Estimates the time until all work of now is done; 0 where nothing is known."""
        return self._bytes * self._seconds_a_byte

    def add(
        self,
        steps: Steps,
        size: int,
        *,
        deadline: float = math.inf,
        expired: Callable[[], None] | None = None,
        urgent: bool = False,
    ) -> None:
        """Takes work.

        Args:
            steps: generator that does a step and yields how many bytes it did, if any.
            size: number of bytes of the whole work.
            deadline: time on the event loop's clock, in seconds, after which the work is dropped.
            expired: function that is called when it is.
            urgent: whether long work takes turns with short work, as answers do that others' reading must not hold up.
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
        """Forgets work, done or not."""
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
        self._place += 1  # one piece of long work a turn: what it has in the caches serves its next step
        # Rows are made and dropped by the thousand: none of them is in a cycle, and looking for some would take long.
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
        """Does one step of the work whose turn it is, and gives the number of bytes that it did."""
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
        except Exception:  # whoever hands in work has others waiting behind it
            log.exception("work failed")
            self.end(work)
            return 0
        work.left -= done
        self._bytes -= done
        return done

    def _observe(self, done: int, seconds: float) -> None:
        self._measured_bytes += done
        self._measured_seconds += seconds
        if self._measured_bytes >= _TELLING_BYTES:
            newest, known = self._measured_seconds / self._measured_bytes, self._seconds_a_byte
            self._seconds_a_byte = newest if not known else known + _WEIGHT * (newest - known)
            self._measured_bytes, self._measured_seconds = 0, 0.0
