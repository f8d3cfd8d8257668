"""The gauges of drift for Prometheus, from the last complete window of each version.

A version has gauges of at most `MOST_FEATURES` features and as many predictions, those that moved most: a model may
have 10,000 columns and 1,000 targets.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from models.distributions.evaluation import Evaluation, Movement
from service.drift.monitor import DriftMonitor
from service.drift.version_drift import VersionDrift
from service.exposition import gauge_text
from service.series_file import Labels

MOST_FEATURES = 50

Sample = tuple[Labels, float]
_T = TypeVar("_T")

_FAMILIES = {
    "axon_drift_flagged": ("Columns and predictions that moved beyond chance in the last window.", ()),
    "axon_drift_window_rows": ("Rows of the last window that were looked at for drift.", ()),
    "axon_drift_psi": ("Population stability index of a column in the last window.", ("feature",)),
    "axon_drift_psi_noise": ("Index to expect without drift, from the number of rows.", ("feature",)),
    "axon_drift_prediction_psi": ("Population stability index of the predictions.", ("prediction",)),
    "axon_drift_share": ("Share of gaps, of unknown categories or of numbers out of range.", ("feature", "share")),
}


class DriftGauges:
    """The text of the gauges of an API process.

    Args:
        monitor: monitor of the process.
    """

    def __init__(self, monitor: DriftMonitor) -> None:
        self._monitor = monitor
        self._kept: dict[str, tuple[tuple[int, int], dict[str, list[Sample]]]] = {}

    def pieces(self) -> Iterator[bytes]:
        """Yields the text in pieces; an empty piece marks a moment to pause."""
        if not self._monitor.is_on:
            return
        found: dict[str, list[Sample]] = {name: [] for name in _FAMILIES}
        before, self._kept = self._kept, {}
        for drift in list(self._monitor.versions):
            yield b""
            known = yield from self._samples(drift, before.get(drift.served.key))
            if known is not None:
                self._kept[drift.served.key] = known
                for name, samples in known[1].items():
                    found[name] += samples
        for name, (help_, labels) in _FAMILIES.items():
            yield from gauge_text(name, help_, ("model", "version", *labels), found[name])

    def _samples(
        self, drift: VersionDrift, known: tuple[tuple[int, int], dict[str, list[Sample]]] | None
    ) -> Generator[bytes, None, tuple[tuple[int, int], dict[str, list[Sample]]] | None]:
        """Returns the samples of a version's last complete window, None without one."""
        windows = yield from _paused(self._monitor.windows(drift))
        complete = next((window for window in windows if self._monitor.is_complete(drift, window)), None)
        if complete is None:
            return None
        state = complete.number, complete.rows
        if known is not None and known[0] == state:
            return known
        evaluation = yield from _paused(self._monitor.evaluation(drift, complete))
        return state, _samples_of(evaluation, (drift.served.name, str(drift.served.version)))


def _paused(steps: Generator[None, None, _T]) -> Generator[bytes, None, _T]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result
        yield b""


def _samples_of(evaluation: Evaluation, version: Labels) -> dict[str, list[Sample]]:
    """Returns the samples of each gauge."""
    features = [movement for movement in evaluation.movements if movement.variable.column is not None]
    samples: dict[str, list[Sample]] = {
        "axon_drift_flagged": [(version, len(evaluation.flagged))],
        "axon_drift_window_rows": [(version, evaluation.window.rows)],
        "axon_drift_psi": [],
        "axon_drift_psi_noise": [],
        "axon_drift_prediction_psi": [],
        "axon_drift_share": [],
    }
    for movement in features[:MOST_FEATURES]:
        labels = (*version, movement.variable.name)
        if movement.is_judged:  # the time of dates moves on by itself, and would hide the others
            samples["axon_drift_psi"].append((labels, _rounded(movement.psi)))
            samples["axon_drift_psi_noise"].append((labels, _rounded(movement.noise)))
        samples["axon_drift_share"] += _shares(movement, labels)
    predictions = [movement for movement in evaluation.movements if movement.variable.column is None]
    for movement in predictions[:MOST_FEATURES]:
        labels = (*version, movement.variable.name)
        samples["axon_drift_prediction_psi"].append((labels, _rounded(movement.psi)))
    return samples


def _shares(movement: Movement, labels: Labels) -> Iterator[Sample]:
    for name, share in movement.shares.items():
        yield (*labels, name), _rounded(share.window)


def _rounded(number: float) -> float:
    return round(number, 6)
