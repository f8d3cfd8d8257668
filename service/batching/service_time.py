"""How fast one model version's rows are answered, as an API process sees it: measured, and never assumed.

A batch of few rows says little of a large one: its time is that of the way there and back. So the seconds of a row are
taken from batches of `_TELLING_ROWS` or more; until there was one, nothing is refused for being too slow. A smaller one
can only show that a row takes less than was thought, so that a stall is forgotten under light load, too.
"""

from __future__ import annotations

# Before anything is known: thousands of rows of a large model could take so long that their worker looks hung.
FIRST_BATCH_ROWS = 256
_TELLING_ROWS = 16
_WEIGHT = 0.3  # of the newest batch
_BATCH_SECONDS = 0.05  # a batch should take no longer, so that others get their turn
_LEAST_BATCH_ROWS = 64


class ServiceTimeEstimate:
    """Measured seconds a row.

    Attributes:
        batch_rows: rows that a worker answers in the time that a batch should take.
    """

    __slots__ = ("_seconds_a_row", "batch_rows")

    def __init__(self) -> None:
        self._seconds_a_row = 0.0
        self.batch_rows = FIRST_BATCH_ROWS

    def observe(self, rows: int, seconds: float) -> None:
        """One batch, from leaving for the worker to its answer."""
        newest = seconds / rows
        known = self._seconds_a_row
        if rows < _TELLING_ROWS and newest >= known:
            return
        self._seconds_a_row = newest if not known else known + _WEIGHT * (newest - known)
        self.batch_rows = max(_LEAST_BATCH_ROWS, int(_BATCH_SECONDS / self._seconds_a_row))

    @property
    def known(self) -> bool:
        """Whether a batch has told anything."""
        return self._seconds_a_row > 0

    def seconds_for(self, rows: int) -> float:
        """How long this many rows will take one worker; 0 where nothing is known."""
        return rows * self._seconds_a_row
