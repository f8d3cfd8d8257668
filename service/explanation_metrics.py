"""The metrics of explanations: requests by answer, and explained rows; written at the end of each request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from service.series_file import Family, Labels, SeriesFile

_MODEL = ("model", "version")
EXPLANATION_FAMILIES = (
    Family("axon_explanation_requests_total", "Requests for explanations by answer.", (*_MODEL, "status")),
    Family("axon_explained_rows_total", "Rows explained.", _MODEL),
)


class ExplanationMetrics:
    """The counts of an API process. The files are made at the first request.

    Args:
        folder: folder of the metric files.
        role: name of the process.
        is_known: function that returns True for the labels of a version that has series.
    """

    def __init__(self, folder: Path, role: str, is_known: Callable[[Labels], bool]) -> None:
        self._folder = folder
        self._role = role
        self._is_known = is_known
        self._files: list[SeriesFile] = []

    def count(self, labels: Labels, status: int, rows: int) -> None:
        """Counts a request.

        Args:
            labels: model and version; two empty texts for a request that reached none.
            status: HTTP status of the answer.
            rows: number of explained rows.
        """
        if not self._is_known(labels):  # the version may have ended during the request
            return
        if not self._files:
            self._files = [SeriesFile(self._folder, self._role, family) for family in EXPLANATION_FAMILIES]
        self._files[0].add((*labels, str(status)), (1,))
        if rows:
            self._files[1].add(labels, (rows,))

    def end_series(self) -> None:
        """Ends the series of versions that have ended."""
        for file in self._files:
            file.end(lambda labels: not self._is_known(labels[:2]))
