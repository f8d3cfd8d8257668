"""The exceptions of training; those for data, settings and the store are `models.errors`'."""

from __future__ import annotations

from models.errors import AxonError


class TrainingError(AxonError):
    """A run that came to nothing: its loss is no longer a finite number."""


class PlotError(AxonError):
    """A plot that cannot be written where it was asked for."""


class SearchError(AxonError):
    """A search that cannot go on: its record is unreadable or in use, no worker starts, or every trial failed."""
