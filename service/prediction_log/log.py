"""The log of predictions on the event loop: chooses rows of answered batches for the writer's thread."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.batching.ticket import Ticket
from service.logs import LimitedLog, get_logger
from service.prediction_log.counts import LogCounts
from service.prediction_log.taken_rows import TakenRows, rows_of, unknown_among
from service.prediction_log.writer import LogWriter
from service.settings import Settings

_MOST_WAITING_BYTES = 1 << 23  # rows that wait for the writer
_NAME_BYTES = 100  # of a row, for its request id and its objects
_PARTS = 32  # a process may hold this part of all bytes in memory, and the same in its spool

failures = LimitedLog(get_logger(__name__))


class PredictionLog:
    """The log of predictions of one API process.

    Each row is taken with the probability `share`, independently of the others. Rows beyond what the writer can take
    are dropped and counted.

    Args:
        settings: settings of the server, with a folder of the log.
        folder: folder of the log.
        process: name of the process, such as `api-0`.
    """

    def __init__(self, settings: Settings, folder: Path, process: str) -> None:
        part = settings.prediction_log_bytes // (_PARTS * settings.api_processes)
        self._most_bytes = min(_MOST_WAITING_BYTES, part)
        self.counts = LogCounts(process)
        self._writer = LogWriter(settings, folder, process, self.counts, spool_bytes=2 * self._most_bytes)
        self._sampler = Sampler(settings.prediction_log_sample)
        self._taken_bytes = 0

    def start(self) -> None:
        """Starts the writer's thread."""
        self._writer.start()

    def stop(self, seconds: float) -> None:
        """Writes what was taken, and ends the file; blocks for at most `seconds` seconds."""
        self._writer.stop(seconds)

    def take(self, ticket: Ticket, start: int, stop: int, answers: NDArray[np.float32]) -> None:
        """Takes some rows of a ticket that is about to get its answers. Does not raise.

        Args:
            ticket: request or group of requests that is logged.
            start: first answered row.
            stop: row after the last.
            answers: `(stop - start, outputs)` answers.
        """
        try:
            self._take(ticket, start, stop, answers)
        except Exception as error:  # the answers matter more
            failures.error("rows were not logged", reason=repr(error))
            self.counts.add("failed", stop - start)

    def _take(self, ticket: Ticket, start: int, stop: int, answers: NDArray[np.float32]) -> None:
        rows = stop - start
        chosen = self._sampler.choose(rows)
        taken = self._taken(ticket, start, stop, answers, chosen) if chosen else None
        if ticket.requests == 1 and rows < ticket.rows:
            # A cut request is logged once all its rows are answered: before, it may still get an error.
            parts = ticket.logged_parts = ticket.logged_parts or []
            if taken is not None:
                parts.append(taken)
            if ticket.answered_rows + rows == ticket.rows:
                for part in parts:
                    self._push(part)
                ticket.logged_parts = None
        elif taken is not None:
            self._push(taken)

    def _taken(
        self, ticket: Ticket, start: int, stop: int, answers: NDArray[np.float32], chosen: Sequence[int]
    ) -> TakenRows | None:
        """Copies some rows with their answers; None if there is no room, or if all have left the group."""
        served = ticket.served
        assert served is not None  # noqa: S101 -- the ticket was submitted for it
        there: Sequence[int] = chosen
        places: Sequence[int] | None = None
        if ticket.requests == 1:
            names = [name for name in (ticket.named_row(start),) if name is not None]
            first = names[0].row if names else start
            places = (
                range(first, first + len(chosen)) if len(chosen) == stop - start else [first + row for row in chosen]
            )
        else:
            named = [(name, row) for row in chosen if (name := ticket.named_row(start + row)) is not None]
            names, there = [name for name, _ in named], [row for _, row in named]
        if not names:
            return None
        if self._waiting_bytes + len(there) * (ticket.row_bytes + _NAME_BYTES) > self._most_bytes:
            self.counts.add("dropped", len(there))
            return None
        return TakenRows(
            served,
            time.time(),
            names,
            places,
            rows_of(ticket, start, stop, there),
            answers.copy() if len(there) == stop - start else answers[there],
            unknown_among(ticket.unknown_texts, start, there) if ticket.unknown_texts else (),
        )

    @property
    def _waiting_bytes(self) -> int:
        return self._taken_bytes - self._writer.done_bytes

    def _push(self, taken: TakenRows) -> None:
        """Hands rows to the writer, if there is room for these.

        Rows of a cut request take no room before: the request may still fail, and nothing would give the room back.
        """
        size = taken.size + _NAME_BYTES * len(taken)
        if self._waiting_bytes + size > self._most_bytes:
            self.counts.add("dropped", len(taken))
            return
        self._taken_bytes += size
        self._writer.put(taken, size)


class Sampler:
    """A sampler of rows, each with the same probability, independently of the others.

    Args:
        share: probability, from 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._log_of_rest = math.log1p(-share) if share < 1 else -math.inf
        self._next = 0 if share >= 1 else self._gap()

    def choose(self, rows: int) -> Sequence[int]:
        """Chooses among the next `rows` rows, and returns the chosen positions, ascending."""
        if self._share >= 1:
            return range(rows)
        chosen: list[int] = []
        at = self._next
        while at < rows:
            chosen.append(at)
            at += 1 + self._gap()
        self._next = at - rows
        return chosen

    def _gap(self) -> int:
        """Returns the number of rows before the next chosen one, which has the geometric distribution."""
        if not self._log_of_rest:
            return 1 << 62
        return int(math.log(1 - random.random()) / self._log_of_rest)  # noqa: S311  # nosec B311
