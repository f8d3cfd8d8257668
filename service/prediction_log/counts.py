"""The metrics of the log of predictions, one series for each API process."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

Outcome = Literal["written", "dropped", "failed"]


class LogCounts:
    """The rows of the log by outcome, and whether the log has stopped. Has to be made after the process's metrics.

    Args:
        process: name of the process, such as `api-0`.
    """

    def __init__(self, process: str) -> None:
        registry = CollectorRegistry()
        rows = Counter(
            "axon_prediction_log_rows",
            "Sampled rows of the log of predictions: written, dropped for lack of room in memory, or failed.",
            ("process", "outcome"),
            registry=registry,
        )
        # All of them from the start, so that the first row of an outcome is an increase and no new series.
        self._rows = {outcome: rows.labels(process, outcome) for outcome in get_args(Outcome)}
        self._stopped = Gauge(
            "axon_prediction_log_stopped",
            "1 while an API process cannot write the log of predictions.",
            ("process",),
            multiprocess_mode="mostrecent",
            registry=registry,
        ).labels(process)
        self._stopped.set(0)

    def add(self, outcome: Outcome, rows: int) -> None:
        """Counts rows."""
        self._rows[outcome].inc(rows)

    def set_stopped(self, *, is_stopped: bool) -> None:
        """Sets whether the log cannot be written."""
        self._stopped.set(int(is_stopped))
