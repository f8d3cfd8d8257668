"""The exception of exports."""

from __future__ import annotations

from models.errors import AxonError


class ExportError(AxonError, ValueError):
    """A model that cannot be exported in the form or to the place that was asked for."""
