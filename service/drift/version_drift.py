"""The drift of one model version in one process: the sample of rows, and their counts by window."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import orjson

from models.distributions.distributions import Distributions
from models.distributions.row_counter import RowCounter
from models.distributions.window import BLOCK_ROWS, Window
from service.batching.served_version import ServedVersion
from service.drift.row_sample import RowSample, TakenRows, add_cells

_STEP_CELLS = 8_192  # counted in one step, in about 0.2 ms


class VersionDrift:
    """The windows of one model version.

    The counter is made after the first row, so that a version without requests takes little memory.

    Args:
        served: model version with distributions.
        sample: sample of the version's rows.

    Attributes:
        served: model version.
        sample: sample of the version's rows.
        current: window that grows; None before the first row.
        last: complete window before it, or None.
    """

    def __init__(self, served: ServedVersion, sample: RowSample) -> None:
        self.served = served
        self.sample = sample
        self.current: Window | None = None
        self.last: Window | None = None
        self._prepared: tuple[Distributions, RowCounter] | None = None
        self._first_number = 0
        self._step = 1  # rows that are counted in one step
        # Unknown cells that were expected among the rows and not found yet. A few rows of many small requests have a
        # fraction of a cell each, and one batch has more than expected where another has fewer.
        self._unknown: dict[str, float] = {}

    def prepare(self) -> None:
        """Reads the distributions and makes the counter; takes 30 ms for a thousand columns."""
        assert self.served.distributions is not None  # noqa: S101 -- only such versions have drift
        raw, schema = orjson.loads(zlib.decompress(self.served.distributions)), self.served.schema
        distributions = Distributions.from_dict(raw, schema)
        self._step = max(1, min(BLOCK_ROWS[0], _STEP_CELLS // max(schema.width, len(schema.values))))
        self._prepared = distributions, RowCounter(schema, distributions)

    @property
    def is_prepared(self) -> bool:
        """True after `prepare`."""
        return self._prepared is not None

    @property
    def distributions(self) -> Distributions:
        """Distributions in training, after `prepare`."""
        assert self._prepared is not None  # noqa: S101
        return self._prepared[0]

    @property
    def counter(self) -> RowCounter:
        """Counter in the bins of the version, after `prepare`."""
        assert self._prepared is not None  # noqa: S101
        return self._prepared[1]

    @property
    def number(self) -> int:
        """Number of the window that grows, or would grow."""
        return self._first_number if self.current is None else self.current.number

    def count_pending(self) -> Iterator[None]:
        """Counts the rows that were taken, in short steps; touches no part of the version, which may be released."""
        sample, step = self.sample, self._step
        while sample.pending:
            # Several small batches at once: the array operations for one row take half as long as those for a hundred.
            some = [sample.pending.popleft()]
            rows = len(some[0].rows)
            while sample.pending and rows + len(sample.pending[0].rows) <= step:
                some.append(sample.pending.popleft())
                rows += len(some[-1].rows)
            taken = TakenRows.joined(some)
            sample.pending_cells -= taken.rows.size
            add_cells(self._unknown, taken.unknown)
            for at in range(0, rows, step):
                counts = self.counter.count(taken.rows[at : at + step], taken.answers[at : at + step])
                self.counter.move_unknown(counts, self._unknown)
                if self.current is None:
                    self.current = Window(self._first_number, self.counter.slots)
                self.current.add(counts, len(taken.rows[at : at + step]))
                yield

    def roll(self, number: int) -> None:
        """Ends the current window, and begins another with a higher number."""
        self.last = None if self.current is None else self.current.snapshot()
        self.current, self._first_number = None, number

    @property
    def is_idle(self) -> bool:
        """True if no row was taken yet."""
        return self.current is None and self.last is None and not self.sample.pending

    def windows(self) -> list[Window]:
        """Returns snapshots of the windows, the newest first; the newest may have no rows yet."""
        current = Window(self._first_number, self.counter.slots) if self.current is None else self.current.snapshot()
        return [current, *([] if self.last is None else [self.last])]


def is_due(window: Window, rows: int, *, least_rows: int, full_rows: int, seconds: float) -> bool:
    """Returns True if a window is complete.

    A window is complete after `seconds` if it has enough rows to be judged, and earlier if it is full. But it lasts a
    fifteenth of that time in any case: under load, windows would follow each other every few seconds, and each of them
    is one more chance for a false alarm.

    Args:
        window: window of this process.
        rows: number of rows in all processes.
        least_rows: number of rows from which a window can be judged.
        full_rows: number of rows of a full window.
        seconds: longest usual time of a window.
    """
    age = time.time() - window.began
    return (rows >= full_rows and age >= seconds / 15) or (rows >= least_rows and age >= seconds)
