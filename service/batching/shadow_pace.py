"""The pace of one shadow: how many rows its next batch has, and how long the workers rest after a batch."""

from __future__ import annotations

import math
from collections import deque

_REST = 200.0  # a shadow takes 1/200 of a worker's time at most
_LONGEST_REST_SECONDS = 60.0
_BATCH_SECONDS = 1e-3  # time that a batch may take beyond the way to the worker and back
_MOST_ROWS = 256
_RECENT = 8


class ShadowPace:
    """The pace of one shadow, measured and never assumed.

    Attributes:
        rows: number of rows of the next batch.
    """

    def __init__(self) -> None:
        self.rows = 1
        self._least = math.inf  # of all batches: about the way to the worker and back
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def answered(self, seconds: float) -> float:
        """Records a batch that was answered after `seconds` seconds, and returns the time to rest, in seconds."""
        self._least = min(self._least, seconds)
        if seconds <= self._least + _BATCH_SECONDS:
            self.rows = min(2 * self.rows, _MOST_ROWS)
        else:
            self.rows = max(1, self.rows // 2)
        self._recent.append(seconds)
        # The least of a few, because a batch may have waited for requests, which is not the work of the shadow.
        return rest_after(min(self._recent))

    def failed(self) -> float:
        """Records a batch that failed, and returns the time to rest, in seconds."""
        self.rows = 1
        return _LONGEST_REST_SECONDS


def rest_after(seconds: float) -> float:
    """Returns the time to rest after work of `seconds` seconds, in seconds."""
    return min(_REST * seconds, _LONGEST_REST_SECONDS)
