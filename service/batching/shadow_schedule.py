"""The schedule of an API process's shadows: when copies are sent to a worker, and how many.

A worker computes one batch at a time, so a request may have to wait for a shadow's batch. `ShadowPace` keeps this rare
and short: shadows take 1/200 of a worker's time at most, and 1/2,000 while requests wait. A batch takes about a
millisecond. What does not fit into this is dropped by `Shadow`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.shadow_file import ShadowSetting
from service.batching.batcher import Batcher
from service.batching.served_version import ServedVersion
from service.batching.shadow import Copy, Shadow
from service.batching.shadow_pace import rest_after
from service.batching.ticket import Answer, Span, Ticket
from service.errors import ModelFault, QueueFull
from service.logs import LimitedLog, get_logger
from service.shadow_metrics import Outcome, ShadowMetrics

_GATHER_SECONDS = 0.02  # shortest time between two batches, in which copies gather
_COUNT_SECONDS = 0.25  # time between two writings of counts while no batch may be sent
_MOST_ENCODED_ROWS = 32  # encoding rows takes the event loop's time, up to ten microseconds each
_TIMEOUT_SECONDS = 10.0
_MOST_MAIN_ROWS = 512  # rows of requests that wait in this process; with more, there is no idle room

failures = LimitedLog(get_logger(__name__))


class ShadowTicket(Ticket):
    """Copies in the batcher; not counted as a request.

    Args:
        schedule: schedule that sent the copies.
        shadow: shadow that answers.
        copies: copies, in the order of the rows.
        began: time at which the work for the copies began, on the monotonic clock, in seconds.
        is_busy: True if a request was waiting then.
    """

    __slots__ = ("_began", "_copies", "_faulty", "_is_busy", "_schedule", "_shadow")

    requests = 0

    def __init__(
        self, schedule: ShadowSchedule, shadow: Shadow, copies: Sequence[Copy], began: float, *, is_busy: bool
    ) -> None:
        super().__init__()
        self._schedule = schedule
        self._shadow = shadow
        self._copies = copies
        self._faulty: set[int] = set()
        self._began = began
        self._is_busy = is_busy

    def answered(self, answer: Answer, start: int) -> None:
        """Compares and counts the answers."""
        seconds = time.monotonic() - self._began
        try:
            matrix = np.concatenate(answer.cut(start, self.rows))
            self._schedule.compare(self._shadow, self._copies, matrix, self._faulty)
        except Exception as error:  # the caller has to answer requests
            failures.error("shadow not compared", exc_info=error)
        pace = self._shadow.pace
        has_failed = len(self._faulty) == self.rows
        is_busy = self._is_busy or self._schedule.is_busy
        self._schedule.rest(pace.failed(seconds) if has_failed else pace.answered(seconds, is_busy=is_busy))

    def failed(self, error: Exception) -> None:
        """Counts the rows as failed."""
        for copy in self._copies:
            self._shadow.fail(copy.main, copy.rows, str(error))
        self._schedule.rest(self._shadow.pace.failed(time.monotonic() - self._began))

    def segments(self, start: int, stop: int) -> tuple[int, ...]:
        """Returns the number of rows of each segment: a fault ends one row."""
        return (1,) * (stop - start)

    def request_at(self, row: int) -> tuple[Ticket | None, int]:
        """Marks a row as faulty."""
        self._faulty.add(row)
        return None, row

    def retried(self, start: int, stop: int) -> list[Span]:
        """Ends the ticket: what may have killed a worker is not sent again."""
        self._schedule.stop(self._shadow)
        self.fail(ModelFault("a worker died while it had these rows; the shadow is stopped until the server restarts."))
        return []


class ShadowSchedule:
    """The schedule of one API process.

    Args:
        batcher: batcher of the process.
        metrics: metrics of the process's shadows.
        stopped: folder, shared by all API processes, with a file for each version that is a shadow no more.
    """

    def __init__(self, batcher: Batcher, metrics: ShadowMetrics, stopped: Path) -> None:
        self._stopped = stopped
        self._batcher = batcher
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._awake: deque[Shadow] = deque()  # shadows with waiting copies or counts
        self._timer: asyncio.TimerHandle | None = None
        self._is_sent = False  # True while a batch is out
        self._is_closed = False
        self._free_at = 0.0  # on the loop's clock

    @property
    def is_busy(self) -> bool:
        """True if a request waits for its answer, so that a shadow's batch may be in its way."""
        return self._batcher.waiting_requests > 0

    def make(self, name: str, alias: str, setting: ShadowSetting, served: ServedVersion | None) -> Shadow:
        """Makes the shadow of an alias."""
        return Shadow(name, alias, setting, served, self)

    def close(self) -> None:
        """Sends nothing any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def wake(self, shadow: Shadow) -> None:
        """Gives a shadow with waiting copies or counts a turn."""
        if shadow not in self._awake:
            self._awake.append(shadow)
            self._set_timer()

    def stop(self, shadow: Shadow) -> None:
        """Stops a shadow in all API processes: another batch could end another worker."""
        try:
            self._stopped.mkdir(exist_ok=True)
            (self._stopped / shadow.quiet.key).touch()
        except OSError as error:
            failures.error("shadow stopped in this process only", reason=str(error))
        shadow.is_stopped = True

    def rest(self, seconds: float) -> None:
        """Records the end of a batch, after which no other is sent for `seconds` seconds."""
        self._is_sent = False
        self._free_at = self._loop.time() + seconds
        self._set_timer()

    def compare(self, shadow: Shadow, copies: Sequence[Copy], answers: NDArray[np.float32], faulty: set[int]) -> None:
        """Compares a shadow's answers with those that were returned, and counts both.

        Args:
            shadow: shadow that answered.
            copies: copies, in the order of the answers.
            answers: `(rows, width)` answers of the shadow.
            faulty: rows whose answers are not finite.
        """
        if not faulty:
            shadow.trouble = None
        starts = accumulate((copy.rows for copy in copies), initial=0)
        by_main: dict[str, list[tuple[int, Copy]]] = {}
        for start, copy in zip(starts, copies, strict=False):
            by_main.setdefault(copy.main.key, []).append((start, copy))
        for parts in by_main.values():
            main = parts[0][1].main
            rows = np.concatenate([np.arange(start, start + copy.rows) for start, copy in parts])
            given = np.concatenate([copy.answers for _, copy in parts])
            sound = ~np.isin(rows, list(faulty))
            if lost := len(rows) - int(sound.sum()):
                shadow.fail(main, lost, "the model fails for some rows, or its answers are not finite.")
            comparison = shadow.comparison(main)
            if comparison is None:
                differs = "task is not that" if main.task != shadow.quiet.task else "targets are not those"
                shadow.fail(main, int(sound.sum()), f"its {differs} of {main}.")
                continue
            agree, differences = comparison.compare(given[sound], answers[rows[sound]])
            agreeing = int(agree.sum())
            shadow.count(main, Outcome.AGREE, agreeing)
            shadow.count(main, Outcome.DIFFER, len(agree) - agreeing)
            self._metrics.observe((main.name, str(main.version), str(shadow.setting.version)), differences)

    def _set_timer(self) -> None:
        if self._timer is None and self._awake and not self._is_closed:
            now = self._loop.time()
            rest = _COUNT_SECONDS if self._is_sent else min(self._free_at - now, _COUNT_SECONDS)
            self._timer = self._loop.call_at(now + max(rest, _GATHER_SECONDS), self._turn)

    def _turn(self) -> None:
        """Sends the next batch if one may be sent now, and writes the counts of all shadows."""
        self._timer = None
        try:
            if not self._is_sent and self._loop.time() >= self._free_at:
                shadow = next((shadow for shadow in self._awake if shadow.is_waiting), None)
                if shadow is not None:
                    self._awake.remove(shadow)
                    self._awake.append(shadow)
                    self._send(shadow)
            for shadow in self._awake:
                outcomes, shadow.outcomes = shadow.outcomes, {}
                for labels, counts in outcomes.items():
                    self._metrics.count(labels, counts)
        except Exception as error:  # nothing of a shadow may stop the process
            failures.error("shadow not sent", exc_info=error)
        self._awake = deque(shadow for shadow in self._awake if shadow.is_waiting)
        self._set_timer()

    def _send(self, shadow: Shadow) -> None:
        """Sends the next batch of a shadow, or drops all that waits if there is no room."""
        if self._batcher.waiting_rows() > _MOST_MAIN_ROWS:
            shadow.drop_waiting()
            return
        if shadow.is_stopped or (self._stopped / shadow.quiet.key).exists():
            shadow.is_stopped = True
            shadow.drop_waiting()
            return
        began = time.monotonic()
        most = min(shadow.pace.rows, _MOST_ENCODED_ROWS) if shadow.needs_cells else shadow.pace.rows
        copies = shadow.take(most)
        data, fitting = shadow.encoded(copies)
        rows = sum(copy.rows for copy in fitting)
        if not rows:
            self.rest(rest_after(time.monotonic() - began, is_busy=self.is_busy))
            return
        ticket = ShadowTicket(self, shadow, fitting, began, is_busy=self.is_busy)
        try:
            self._is_sent = True
            self._batcher.submit(ticket, shadow.quiet, data, rows, _TIMEOUT_SECONDS)
        except QueueFull:
            self._is_sent = False
            for copy in fitting:
                shadow.count(copy.main, Outcome.DROPPED, copy.rows)
