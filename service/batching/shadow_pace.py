"""The pace of one shadow: how many rows its next batch has, and how long the workers rest after a batch."""

from __future__ import annotations

import math
from collections import deque

_REST = 200.0  # a shadow takes 1/200 of a worker's time at most,
_BUSY_REST = 2000.0  # and 1/2,000 while requests wait, so that about one in 2,000 of them meets a shadow's batch
_LONGEST_REST_SECONDS = 3600.0
_REST_AFTER_FAILURE_SECONDS = 60.0
_SLOW_SECONDS = 0.05  # a batch that takes longer leaves time for one in ten seconds, and in a hundred of a busy server
_BATCH_SECONDS = 1e-3  # time that a batch may take beyond the way to the worker and back
_MOST_ROWS = 256
_RECENT = 8


class ShadowPace:
    """The pace of one shadow, measured and never assumed.

    Attributes:
        rows: number of rows of the next batch.
        seconds: time of the last batches, in seconds; 0 before the first.
    """

    def __init__(self) -> None:
        self.rows = 1
        self.seconds = 0.0
        self._least = math.inf  # of all batches: about the way to the worker and back
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def answered(self, seconds: float, *, is_busy: bool) -> float:
        """Records a batch that was answered, and returns the time to rest, in seconds.

        Args:
            seconds: time from the first work for the batch to its answer.
            is_busy: True if a request was waiting at either time.
        """
        self._least = min(self._least, seconds)
        if seconds <= self._least + _BATCH_SECONDS:
            self.rows = min(2 * self.rows, _MOST_ROWS)
        else:
            self.rows = max(1, self.rows // 2)
        self._recent.append(seconds)
        # The least of a few, because a batch may have waited for requests, which is not the work of the shadow.
        self.seconds = min(self._recent)
        return rest_after(self.seconds, is_busy=is_busy)

    def failed(self, seconds: float) -> float:
        """Records a batch that failed after `seconds` seconds, and returns the time to rest, in seconds."""
        self.rows = 1
        return max(rest_after(seconds, is_busy=True), _REST_AFTER_FAILURE_SECONDS)

    @property
    def is_slow(self) -> bool:
        """True if batches take so long that few rows are compared."""
        return self.seconds > _SLOW_SECONDS


def rest_after(seconds: float, *, is_busy: bool) -> float:
    """Returns the time to rest after work of `seconds` seconds, in seconds, which is longer if requests had to wait."""
    return min((_BUSY_REST if is_busy else _REST) * seconds, _LONGEST_REST_SECONDS)
