"""The schedule of an API process's shadows: when copies are sent to a worker, and how many.

A worker computes one batch at a time, so a request may have to wait for a shadow's batch. Two rules keep this rare and
short. After a batch that took t seconds, no other shadow batch is sent for `_REST` times t, so shadows take at most
1/200 of a worker's time. And a batch has so few rows that it takes about a millisecond. What does not fit into this is
dropped by `Shadow`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.shadow_file import ShadowSetting
from service.batching.batcher import Batcher
from service.batching.served_version import ServedVersion
from service.batching.shadow import Copy, Shadow
from service.batching.ticket import Answer, Span, Ticket
from service.errors import ModelFault, QueueFull
from service.logs import LimitedLog, get_logger
from service.shadow_metrics import Outcome, ShadowMetrics

_GATHER_SECONDS = 0.02  # shortest time between two batches, in which copies gather
_COUNT_SECONDS = 0.25  # time between two writings of counts while no batch may be sent
_REST = 200.0
_REST_AFTER_FAILURE_SECONDS = 60.0  # also the longest rest
_BATCH_SECONDS = 1e-3
_MOST_BATCH_ROWS = 256
_MOST_ENCODED_ROWS = 32  # encoding rows takes the event loop's time, up to ten microseconds each
_FASTER = 4  # a batch has at most so many times the rows of the one before
_TIMEOUT_SECONDS = 10.0
_MOST_MAIN_ROWS = 512  # rows of requests that wait in this process; with more, there is no idle room

failures = LimitedLog(get_logger(__name__))


class ShadowTicket(Ticket):
    """Copies of one main version, on their way through the batcher. They count as no request.

    Args:
        schedule: schedule that sent the copies.
        shadow: shadow that answers.
        copies: copies, in the order of the rows.
        began: time at which the work for the copies began, on the monotonic clock, in seconds.
    """

    __slots__ = ("_began", "_copies", "_faulty", "_schedule", "_shadow")

    requests = 0

    def __init__(self, schedule: ShadowSchedule, shadow: Shadow, copies: Sequence[Copy], began: float) -> None:
        super().__init__()
        self._schedule = schedule
        self._shadow = shadow
        self._copies = copies
        self._faulty: set[int] = set()
        self._began = began

    def answered(self, answer: Answer, start: int) -> None:
        """Compares and counts the answers."""
        seconds = time.monotonic() - self._began
        try:
            matrix = np.concatenate(answer.cut(start, self.rows))
            self._schedule.compare(self._shadow, self._copies, matrix, self._faulty)
        except Exception as error:  # the caller has to answer requests
            failures.error("shadow not compared", exc_info=error)
        self._schedule.ended(self._shadow, self.rows, seconds)

    def failed(self, error: Exception) -> None:
        """Counts the rows as failed."""
        self._shadow.fail(self._copies[0].main, self.rows, str(error))
        self._schedule.ended(self._shadow, 1, _REST_AFTER_FAILURE_SECONDS / _REST)

    def segments(self, start: int, stop: int) -> tuple[int, ...]:
        """Returns the number of rows of each segment: a fault ends one row."""
        return (1,) * (stop - start)

    def request_at(self, row: int) -> tuple[Ticket | None, int]:
        """Marks a row as faulty."""
        self._faulty.add(row)
        return None, row

    def retried(self, start: int, stop: int) -> list[Span]:
        """Ends the ticket: what may have killed a worker is not sent again."""
        self.fail(ModelFault("the worker died while it had these rows."))
        return []


class ShadowSchedule:
    """The schedule of one API process.

    Args:
        batcher: batcher of the process.
        metrics: metrics of the process's shadows.
    """

    def __init__(self, batcher: Batcher, metrics: ShadowMetrics) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._awake: deque[Shadow] = deque()  # shadows with waiting copies or counts
        self._timer: asyncio.TimerHandle | None = None
        self._is_busy = False  # True while a batch is out
        self._is_closed = False
        self._free_at = 0.0  # on the loop's clock

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

    def ended(self, shadow: Shadow, rows: int, seconds: float) -> None:
        """Records the end of a batch of `rows` rows after `seconds` seconds."""
        self._is_busy = False
        fitting = int(rows * _BATCH_SECONDS / max(seconds, 1e-6))
        shadow.batch_rows = min(max(1, fitting), _FASTER * shadow.batch_rows, _MOST_BATCH_ROWS)
        self._free_at = self._loop.time() + min(_REST * seconds, _REST_AFTER_FAILURE_SECONDS)
        self._set_timer()

    def compare(self, shadow: Shadow, copies: Sequence[Copy], answers: NDArray[np.float32], faulty: set[int]) -> None:
        """Compares a shadow's answers with those of the main version, and counts both.

        Args:
            shadow: shadow that answered.
            copies: copies of one main version.
            answers: `(rows, width)` answers of the shadow.
            faulty: rows whose answers are not finite.
        """
        main = copies[0].main
        comparison = shadow.comparison(main)
        if comparison is None:
            shadow.fail(main, len(answers), f"its task is not that of {main}.")
            return
        sound = np.array([row not in faulty for row in range(len(answers))])
        given = np.concatenate([copy.answers for copy in copies])
        agree, differences = comparison.compare(given[sound], answers[sound])
        if faulty:
            shadow.fail(main, len(faulty), "some answers are not finite.")
        else:
            shadow.trouble = None
        agreeing = int(agree.sum())
        shadow.count(main, Outcome.AGREE, agreeing)
        shadow.count(main, Outcome.DIFFER, len(agree) - agreeing)
        self._metrics.observe((main.name, str(main.version), str(shadow.setting.version)), differences)

    def _set_timer(self) -> None:
        if self._timer is None and self._awake and not self._is_closed:
            now = self._loop.time()
            rest = _COUNT_SECONDS if self._is_busy else min(self._free_at - now, _COUNT_SECONDS)
            self._timer = self._loop.call_at(now + max(rest, _GATHER_SECONDS), self._turn)

    def _turn(self) -> None:
        """Sends the next batch if one may be sent now, and writes the counts of all shadows."""
        self._timer = None
        try:
            if not self._is_busy and self._loop.time() >= self._free_at:
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
        """Sends the next batch of a shadow, if there is room for it."""
        if self._batcher.waiting_rows() > _MOST_MAIN_ROWS:
            shadow.drop_waiting()
            return
        began = time.monotonic()
        most = min(shadow.batch_rows, _MOST_ENCODED_ROWS) if shadow.needs_cells else shadow.batch_rows
        copies = shadow.take(most)
        data, fitting = shadow.encoded(copies)
        rows = sum(copy.rows for copy in fitting)
        if not rows:
            self.ended(shadow, most, time.monotonic() - began)
            return
        ticket = ShadowTicket(self, shadow, fitting, began)
        try:
            self._is_busy = True
            self._batcher.submit(ticket, shadow.quiet, data, rows, _TIMEOUT_SECONDS)
        except QueueFull:
            self._is_busy = False
            shadow.count(fitting[0].main, Outcome.DROPPED, rows)
