"""The log of an engine, for events that an operator should see and a caller does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol


class Log(Protocol):
    """A logger that takes an event and named fields."""

    @property
    def warning(self) -> Callable[..., Any]:
        """Function that writes a warning: `warning(event, **fields)`."""

    @property
    def error(self) -> Callable[..., Any]:
        """Function that writes an error: `error(event, **fields)`."""


class StandardLog:
    """A log that writes to Python's `logging`, for programs without a log of their own.

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
