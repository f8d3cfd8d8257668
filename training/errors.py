"""The exceptions of training; `models.errors` has those for data, settings and the store."""

from __future__ import annotations

from models.errors import AxonError


class TrainingError(AxonError):
    """A run has no result, because the loss is no longer a finite number."""


class PlotError(AxonError):
    """A plot cannot be written to the requested path."""


class SearchError(AxonError):
    """A search cannot go on: the record is unreadable or in use, no worker starts, or every trial failed."""
