"""The log of an engine: where it tells its operator what a caller does not see."""

from __future__ import annotations

import logging
from typing import Any, Protocol


class Log(Protocol):
    """A logger that takes an event and named fields."""

    def warning(self, event: str, /, **fields: Any) -> Any:
        """Writes a warning."""

    def error(self, event: str, /, **fields: Any) -> Any:
        """Writes an error."""


class StandardLog:
    """A log that writes to Python's own `logging`, for programs that bring none.

    Args:
        name: name of the logger.
    """

    def __init__(self, name: str = "inference") -> None:
        self._logger = logging.getLogger(name)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Writes a warning."""
        self._logger.warning("%s %s", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Writes an error."""
        self._logger.error("%s %s", event, fields)
