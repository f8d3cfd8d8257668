"""The metrics of shadows: rows by outcome, and how much the answers differ."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.series_file import Family, Labels, SeriesFile

_LABELS = ("model", "version", "shadow")
_KEY_BYTES = 104  # a name of 64 characters, two versions and an outcome
# Of probabilities, and of values in standard deviations of the target.
_BOUNDS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

SHADOW_ROWS = Family(
    "axon_shadow_rows_total", "Rows copied to a shadow, by outcome.", (*_LABELS, "outcome"), key_bytes=_KEY_BYTES
)
SHADOW_DIFFERENCE = Family(
    "axon_shadow_difference",
    "Absolute difference of a shadow's answer: of a probability, or of a value in standard deviations.",
    _LABELS,
    bounds=_BOUNDS,
    key_bytes=_KEY_BYTES,
)
SHADOW_FAMILIES = (SHADOW_ROWS, SHADOW_DIFFERENCE)


class Outcome(StrEnum):
    """The outcomes of a row that was copied to a shadow."""

    AGREE = "agree"
    DIFFER = "differ"
    FAILED = "failed"
    DROPPED = "dropped"


class ShadowMetrics:
    """The metrics of the shadows of one API process. Its files are there from the first shadow on.

    Args:
        folder: folder of the metric files.
        role: name of the process.
        is_known: function that returns False for a model and a version that have ended.
    """

    def __init__(self, folder: Path, role: str, is_known: Callable[[Labels], bool]) -> None:
        self._is_known = is_known
        self._folder = folder
        self._role = role
        self._files: tuple[SeriesFile, SeriesFile] | None = None

    def count(self, labels: Labels, outcomes: dict[Outcome, int]) -> None:
        """Counts rows.

        Args:
            labels: model, version and shadow.
            outcomes: number of rows by outcome.
        """
        if self._has_ended(labels):
            return
        rows, _ = self._opened()
        for outcome in Outcome:  # all of them, so that the first row of an outcome is an increase and no new series
            rows.add((*labels, outcome.value), (outcomes.get(outcome, 0),))

    def observe(self, labels: Labels, differences: NDArray[np.float64]) -> None:
        """Adds differences, `(rows,)`, to the histogram of a model, a version and a shadow."""
        if self._has_ended(labels):
            return
        counts = np.bincount(np.searchsorted(_BOUNDS, differences), minlength=len(_BOUNDS) + 1)
        self._opened()[1].add(labels, (*counts.tolist(), float(differences.sum())))

    def end_series(self) -> None:
        """Ends the series of versions and shadows that have ended."""
        for file in self._files or ():
            file.end(self._has_ended)

    def _has_ended(self, labels: Labels) -> bool:
        model, version, shadow, *_ = labels
        return not (self._is_known((model, version)) and self._is_known((model, shadow)))

    def _opened(self) -> tuple[SeriesFile, SeriesFile]:
        if self._files is None:
            rows, differences = (SeriesFile(self._folder, self._role, family) for family in SHADOW_FAMILIES)
            self._files = rows, differences
        return self._files
