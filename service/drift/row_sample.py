"""The sample of a model version's rows and answers for drift, taken from answered batches.

The sample is bounded by rows and by numbers a second, so that its cost does not grow with the load. Up to that rate it
holds every row. Beyond, it takes every k-th row of a batch, and passes over batches that come too soon.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.batching.encoded_rows import EncodedRows
from service.batching.ticket import Span, Ticket
from service.logs import LimitedLog, get_logger

_CELLS_A_SECOND = 200_000.0  # of all versions of a process; a number takes about 20 ns
_MOST_CELLS = 1 << 15  # taken from one batch: copying them takes less than 0.1 ms
_SAVED_SECONDS = 10.0  # so long a pause is made up for: a file that a job sends at night is looked at
_MOST_PENDING_CELLS = 1 << 18
_LEAST_ROWS = 16  # taken at once under load, as one array operation for many rows costs little more than for one

log = LimitedLog(get_logger(__name__))


@dataclass(frozen=True)
class TakenRows:
    """Rows of one batch.

    Attributes:
        rows: `(rows, width)` encoded rows.
        answers: `(rows, outputs)` answers.
        unknown: expected number of cells with unknown categories among the rows, by column: those of each request
            times the share of its rows that were taken. Which rows have them is not known.
    """

    rows: NDArray[np.float32]
    answers: NDArray[np.float32]
    unknown: dict[str, float]

    @classmethod
    def joined(cls, parts: Sequence[TakenRows]) -> TakenRows:
        """Returns the rows of several batches in one."""
        if len(parts) == 1:
            return parts[0]
        unknown: dict[str, float] = {}
        for part in parts:
            add_cells(unknown, part.unknown)
        rows = np.concatenate([part.rows for part in parts])
        return cls(rows, np.concatenate([part.answers for part in parts]), unknown)


class SampleBudget:
    """The bound on all samples of a process together.

    Args:
        rows_a_second: greatest number of rows of a second.

    Attributes:
        rows_a_second: greatest number of rows of a second.
        versions: number of versions that took rows lately, which share the rows.
    """

    def __init__(self, rows_a_second: float) -> None:
        self.rows_a_second = rows_a_second
        self.versions = 1
        self._cells = _CELLS_A_SECOND
        self._refilled = 0.0

    def cells(self, now: float) -> float:
        """Returns the number of cells that may be taken now."""
        self._cells = min(_CELLS_A_SECOND, self._cells + (now - self._refilled) * _CELLS_A_SECOND)
        self._refilled = now
        return self._cells

    def take(self, cells: int) -> None:
        """Records that cells were taken."""
        self._cells -= cells


class RowSample:
    """The sample of one model version.

    Args:
        width: number of features of an encoded row.
        budget: bound on all samples of the process.
        on_rows: function that is called after rows were taken.

    Attributes:
        due: time on the monotonic clock before which no row is taken, in seconds.
        pending: rows that were taken and not counted yet.
    """

    __slots__ = ("_budget", "_on_rows", "_refilled", "_rows", "_turn", "_width", "due", "pending", "pending_cells")

    def __init__(self, width: int, budget: SampleBudget, on_rows: Callable[[], None]) -> None:
        self.due = 0.0
        self.pending: deque[TakenRows] = deque()
        self.pending_cells = 0
        self._width = width
        self._budget = budget
        self._on_rows = on_rows
        self._rows = _SAVED_SECONDS * budget.rows_a_second
        self._refilled = 0.0
        self._turn = 0

    def take(self, spans: list[Span], answers: NDArray[np.float32], now: float) -> None:
        """Takes some rows of a batch that has just been answered. Does not raise.

        Args:
            spans: spans of the batch.
            answers: `(rows, outputs)` answers to the batch.
            now: time on the monotonic clock, in seconds.
        """
        try:
            if all(ticket.is_made_up for ticket, _, _ in spans):
                return
            most = self._most(len(answers), now)
            if most:
                self._take(spans, answers, -(-len(answers) // most))
        except Exception as error:  # the answers matter more
            log.error("rows were not looked at for drift", reason=repr(error))
            self.due = math.inf

    def _most(self, rows: int, now: float) -> int:
        """Returns the greatest number of rows that may be taken now, and sets the time of the next taking."""
        budget = self._budget
        rate = budget.rows_a_second / budget.versions
        self._rows = min(max(_SAVED_SECONDS * rate, _LEAST_ROWS), self._rows + (now - self._refilled) * rate)
        self._refilled = now
        cells = budget.cells(now)
        # One row may have more numbers than a second allows; it is paid for afterwards.
        affordable = max(cells // self._width, cells >= _CELLS_A_SECOND)
        at_once = max(1, _MOST_CELLS // self._width)
        most = int(min(self._rows, affordable, at_once))
        wanted = min(rows, _LEAST_ROWS, at_once)
        if most < wanted:
            numbers = min(wanted * self._width, _CELLS_A_SECOND)
            self.due = now + max((wanted - self._rows) / rate, (numbers - cells) / _CELLS_A_SECOND)
            return 0
        if self.pending_cells > _MOST_PENDING_CELLS:
            return 0
        taken = min(most, rows)
        self._rows -= taken
        budget.take(taken * self._width)
        return taken

    def _take(self, spans: list[Span], answers: NDArray[np.float32], step: int) -> None:
        """Takes every `step`-th row of a batch."""
        offset = self._turn % step
        self._turn += 1
        pieces: list[bytes] = []
        places: list[int] = []
        unknown: dict[str, float] = {}
        at = 0
        for ticket, start, stop in spans:
            rows = stop - start
            first = (offset - at) % step
            if first < rows and not ticket.done and not ticket.is_made_up:  # a ticket that has ended has no rows
                pieces.append(_rows_of(ticket, start + first, stop, step))
                places += range(at + first, at + rows, step)
                if cells := getattr(ticket, "unknown", None):
                    add_cells(unknown, cells, len(range(first, rows, step)) / ticket.rows)
            at += rows
        if not places:
            return
        taken = np.frombuffer(b"".join(pieces), dtype="<f4").reshape(len(places), self._width)
        self.pending.append(TakenRows(taken, answers[places], unknown))
        self.pending_cells += taken.size
        self._on_rows()


def add_cells(total: dict[str, float], cells: Mapping[str, float], share: float = 1.0) -> None:
    """Adds a share of numbers of cells to a total, by column."""
    for column, number in cells.items():
        total[column] = total.get(column, 0.0) + number * share


def _rows_of(ticket: Ticket, start: int, stop: int, step: int) -> bytes:
    """Returns every `step`-th of a ticket's rows as bytes."""
    data = ticket.data
    if isinstance(data, EncodedRows):
        return data.every(start, stop, step)
    if stop - start == ticket.rows and step == 1:
        return bytes(data)
    rows = np.frombuffer(data, dtype="<f4").reshape(ticket.rows, -1)
    return rows[start:stop:step].tobytes()
