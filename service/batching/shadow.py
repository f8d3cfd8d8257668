"""A shadow: a version that gets copies of an alias's requests, and whose answers are compared and never returned.

Copies wait in a small queue until `ShadowSchedule` has time for them. If there is no room, they are dropped and
counted. Nothing here can change the answer of a request: copies are made after the answers were handed over.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import Rows
from models.errors import RowError, reason_of
from models.shadow_file import ShadowSetting
from service.batching.comparison import Comparison, encode_alike
from service.batching.encoded_rows import EncodedRows
from service.batching.served_version import ServedVersion
from service.batching.shadow_pace import ShadowPace
from service.batching.ticket import Ticket
from service.logs import LimitedLog, get_logger
from service.series_file import Labels
from service.shadow_metrics import Outcome
from service.stream.frames import Buffer

_MOST_ROWS = 2048  # rows that wait for one shadow
_MOST_BYTES = 1 << 21  # encoded rows and answers that wait for one shadow
_FULL_SHARE = 100.0

log = get_logger(__name__)
failures = LimitedLog(log)


class Wakes(Protocol):
    """The schedule of all shadows of a process."""

    def wake(self, shadow: Shadow) -> None:
        """Gives a shadow with waiting copies or counts a turn."""


@dataclass(slots=True)
class Copy:
    """Rows of one or more requests to a version, with the version's answers.

    Attributes:
        main: version that answered.
        rows: number of rows.
        data: float32 rows as the main version encodes them.
        cells: the same rows before they were encoded; None if the shadow encodes them alike.
        answers: `(rows, width)` answers of the main version.
    """

    main: ServedVersion
    rows: int
    data: Buffer
    cells: Sequence[Rows] | None
    answers: NDArray[np.float32]


class Shadow:
    """The shadow of one alias in one API process.

    Args:
        name: name of the model.
        alias: alias that has the shadow.
        setting: version and share of the shadow.
        served: version that gets the copies; None if it cannot be loaded.
        schedule: schedule of all shadows.

    Attributes:
        name, alias, setting, served: the arguments.
        needs_cells: True if the shadow encodes the rows of some main version itself.
        outcomes: counts that are not in the metrics yet, by labels.
        trouble: reason of the last failure; None after a success.
        pace: pace of the shadow's batches.
        is_retired: True if the alias has this shadow no more.
        is_stopped: True if the shadow gets nothing any more, because a worker died of it.
    """

    def __init__(
        self, name: str, alias: str, setting: ShadowSetting, served: ServedVersion | None, schedule: Wakes
    ) -> None:
        self.name = name
        self.alias = alias
        self.setting = setting
        self.served = served
        self.needs_cells = False
        self.outcomes: dict[Labels, Counter[Outcome]] = {}
        self.trouble: str | None = None
        self.pace = ShadowPace()
        self.is_stopped = self.is_retired = False
        self._quiet: ServedVersion | None = None
        self._schedule = schedule
        self._beside: dict[str, ServedVersion] = {}  # twins of main versions, by key
        self._unlike: set[str] = set()  # keys of main versions that encode rows in another way
        self._comparisons: dict[str, Comparison | None] = {}
        self._waiting: deque[Copy] = deque()
        self._waiting_rows = self._waiting_bytes = 0
        self._due = 0.0  # share of a request that is due

    def __str__(self) -> str:
        return f"{self.name}@{self.setting.version} as the shadow of {self.name}@{self.alias}"

    def beside(self, main: ServedVersion) -> ServedVersion:
        """Returns a main version for requests to the alias: a twin that hands its requests to this shadow."""
        if self.served is None:
            return main
        twin = self._beside.get(main.key)
        if twin is None:
            if not encode_alike(main.schema, self.served.schema):
                self._unlike.add(main.key)
                self.needs_cells = True
            twin = self._beside[main.key] = main.beside(self)
        return twin

    def keep_only(self, keys: Collection[str]) -> None:
        """Forgets all main versions but those of the given keys; requests to others that are under way are dropped."""
        for key in self._beside.keys() - keys:
            del self._beside[key]
        for key in self._comparisons.keys() - keys:
            del self._comparisons[key]
        self._unlike.intersection_update(keys)
        self.needs_cells = bool(self._unlike)

    def offer(
        self,
        ticket: Ticket,
        data: Buffer | EncodedRows,
        cells: Sequence[Rows] | None,
        start: int,
        stop: int,
        matrix: NDArray[np.float32],
    ) -> None:
        """Takes or drops rows of an answered request.

        Args:
            ticket: request, or a group of requests with one row each.
            data: rows of the ticket as sent to the worker.
            cells: rows from `start` up to `stop` before they were encoded, or None.
            start: first row that was answered.
            stop: row after the last.
            matrix: `(stop - start, width)` answers.
        """
        main = ticket.served
        assert main is not None  # noqa: S101 -- the ticket was submitted for it
        rows = stop - start
        if self.setting.share < _FULL_SHARE:
            chosen = self._sample(len(ticket.segments(start, stop)))
            if not chosen:
                return
        else:
            chosen = None
        if self.is_stopped or self.is_retired:
            return
        is_large = isinstance(data, EncodedRows)  # a request of many rows; its copy would take too much
        is_former = main.key not in self._beside  # and it may not be known any more whether both encode alike
        if is_large or is_former or self._waiting_rows + rows > _MOST_ROWS or self._waiting_bytes > _MOST_BYTES:
            self.count(main, Outcome.DROPPED, rows if chosen is None or ticket.requests == 1 else len(chosen))
            return
        row_bytes = ticket.row_bytes
        view = memoryview(data)[start * row_bytes : stop * row_bytes]  # type: ignore[arg-type]
        if chosen is not None and len(chosen) < rows and ticket.requests > 1:
            view = memoryview(b"".join([view[at * row_bytes : (at + 1) * row_bytes] for at in chosen]))
            matrix = matrix[chosen]
            cells = None if cells is None else [cells[at] for at in chosen]
        if cells is None and main.key in self._unlike:
            self.count(main, Outcome.DROPPED, len(matrix))
            return
        copy = Copy(main, len(matrix), bytes(view), cells if main.key in self._unlike else None, matrix.copy())
        self._waiting.append(copy)
        self._waiting_rows += copy.rows
        self._waiting_bytes += len(copy.data) + copy.answers.nbytes
        self._schedule.wake(self)

    def take(self, most_rows: int) -> list[Copy]:
        """Takes the oldest copies, at least one and up to `most_rows` rows; an empty list if none wait."""
        taken: list[Copy] = []
        rows = 0
        while self._waiting:
            copy = self._waiting[0]
            if taken and rows + copy.rows > most_rows:
                break
            if copy.rows > most_rows:
                copy = self._cut(copy, most_rows)
            else:
                self._waiting.popleft()
            rows += copy.rows
            self._waiting_rows -= copy.rows
            self._waiting_bytes -= len(copy.data) + copy.answers.nbytes
            taken.append(copy)
        return taken

    def drop_waiting(self) -> None:
        """Drops all copies that wait."""
        for copy in self._waiting:
            self.count(copy.main, Outcome.DROPPED, copy.rows)
        self._waiting.clear()
        self._waiting_rows = self._waiting_bytes = 0

    def retire(self) -> None:
        """Drops what waits, since the alias has this shadow no more; requests that are under way are not copied."""
        self.is_retired = True
        self.drop_waiting()

    def encoded(self, copies: Sequence[Copy]) -> tuple[bytes, list[Copy]]:
        """Encodes copies for the shadow; those that do not fit are counted as failed.

        Returns:
            The encoded rows, and the copies that they are of.
        """
        fitting, parts = [], []
        for copy in copies:
            if copy.cells is None:
                data: Buffer = copy.data
            else:
                try:
                    encoder = self._version.encoder
                    data = b"".join([encoder.encode_any(cells) for cells in copy.cells])
                    encoder.unknown.take()
                    if len(data) != copy.rows * 4 * encoder.width:
                        raise RowError([])
                except Exception as error:  # a schema that does not fit, or a fault of ours: the request is answered
                    self.fail(copy.main, copy.rows, f"the rows do not fit: {reason_of(error)}")
                    continue
            fitting.append(copy)
            parts.append(data)
        return b"".join(parts), fitting

    def comparison(self, main: ServedVersion) -> Comparison | None:
        """Returns the comparison with a main version; None if the tasks differ."""
        if main.key not in self._comparisons:
            try:
                self._comparisons[main.key] = Comparison(main, self._version)
            except ValueError:
                self._comparisons[main.key] = None
        return self._comparisons[main.key]

    def count(self, main: ServedVersion, outcome: Outcome, rows: int) -> None:
        """Counts rows with an outcome."""
        labels = (self.name, str(main.version), str(self.setting.version))
        counts = self.outcomes.get(labels)
        if counts is None:
            counts = self.outcomes[labels] = Counter()
            self._schedule.wake(self)  # which writes the counts
        counts[outcome] += rows

    def fail(self, main: ServedVersion, rows: int, reason: str) -> None:
        """Counts failed rows; writes one line per minute into the log."""
        self.count(main, Outcome.FAILED, rows)
        self.trouble = reason
        failures.warning(
            "shadow failed", kind=f"{self.name}@{self.alias}", shadow=str(self.served), rows=rows, reason=reason
        )

    @property
    def state(self) -> tuple[str, str | None]:
        """State in a word, and the reason of any state but `ready`."""
        if self.served is None:
            return "not loaded", "The version cannot be loaded; see `problems`."
        if self.is_stopped:
            return "stopped", self.trouble or "A worker died while it had rows of this shadow."
        if self.trouble is not None:
            return "failing", self.trouble
        if self.pace.is_slow:
            return "slow", f"A batch takes {self.pace.seconds:.2f} s, so that few rows are compared."
        return "ready", None

    @property
    def is_waiting(self) -> bool:
        """True if copies wait."""
        return bool(self._waiting)

    @property
    def quiet(self) -> ServedVersion:
        """Version for the batcher, whose copies are in no metric of requests."""
        if self._quiet is None:
            self._quiet = self._version.quiet()
        return self._quiet

    @property
    def _version(self) -> ServedVersion:
        assert self.served is not None  # noqa: S101 -- without a version, no request has this shadow
        return self.served

    def _sample(self, requests: int) -> list[int]:
        """Returns the positions of the requests that are copied, of `requests` requests."""
        chosen = []
        for at in range(requests):
            self._due += self.setting.share / _FULL_SHARE
            if self._due >= 1:
                self._due -= 1
                chosen.append(at)
        return chosen

    def _cut(self, copy: Copy, rows: int) -> Copy:
        """Cuts the first rows off the oldest copy."""
        if copy.cells is not None and len(copy.cells) != copy.rows:
            self._waiting.popleft()
            return copy  # rows of one request stay together
        row_bytes = len(copy.data) // copy.rows
        first = Copy(
            copy.main,
            rows,
            copy.data[: rows * row_bytes],
            None if copy.cells is None else copy.cells[:rows],
            copy.answers[:rows],
        )
        copy.data = copy.data[rows * row_bytes :]
        copy.cells = None if copy.cells is None else copy.cells[rows:]
        copy.answers = copy.answers[rows:]
        copy.rows -= rows
        return first
