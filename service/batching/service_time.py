"""The service-time estimate of a model version: seconds per row, measured by an API process and never assumed.

The time of a small batch is mostly that of the way to the worker and back, so it says little about a large batch. The
seconds per row are therefore measured on batches of `_TELLING_ROWS` rows or more; before the first of these, no request
is refused for being too slow. A smaller batch can only lower the estimate, so that under light load, too, the effect of
a stall on the estimate passes.
"""

from __future__ import annotations

# Before the first estimate: thousands of rows of a large model could take so long that the worker seems to hang.
FIRST_BATCH_ROWS = 256
_TELLING_ROWS = 16
_WEIGHT = 0.3  # weight of the newest batch in the moving average
_BATCH_SECONDS = 0.05  # longest time of a batch, so that other requests get their turn
_LEAST_BATCH_ROWS = 64


class ServiceTimeEstimate:
    """A moving average of the seconds per row.

    Attributes:
        batch_rows: number of rows that a worker answers in the time that a batch may take.
    """

    __slots__ = ("_seconds_a_row", "batch_rows")

    def __init__(self) -> None:
        self._seconds_a_row = 0.0
        self.batch_rows = FIRST_BATCH_ROWS

    def observe(self, rows: int, seconds: float) -> None:
        """Updates the estimate with one batch.

        Args:
            rows: number of rows of the batch.
            seconds: time from sending the batch to its answer, in seconds.
        """
        newest = seconds / rows
        known = self._seconds_a_row
        if rows < _TELLING_ROWS and newest >= known:
            return
        self._seconds_a_row = newest if not known else known + _WEIGHT * (newest - known)
        self.batch_rows = max(_LEAST_BATCH_ROWS, int(_BATCH_SECONDS / self._seconds_a_row))

    @property
    def known(self) -> bool:
        """True once a batch was measured."""
        return self._seconds_a_row > 0

    def seconds_for(self, rows: int) -> float:
        """Returns the time that one worker will take for `rows` rows, in seconds; 0 before the first measurement."""
        return rows * self._seconds_a_row
