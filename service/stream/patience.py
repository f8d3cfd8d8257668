"""Patience with a worker that says nothing: how often it is looked at, and how often in a row it may not have answered.

API processes and the worker's host go by the same rule, so that they take a worker for hung at about the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_MOST_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Patience:
    """When a worker is taken for hung.

    Attributes:
        look_seconds: from one look to the next.
        most_misses: so many looks in a row without an answer are enough.
    """

    look_seconds: float
    most_misses: int

    @classmethod
    def of(cls, hang_seconds: float) -> Self:
        """What takes a worker for hung after about so many seconds."""
        look_seconds = min(_MOST_LOOK_SECONDS, hang_seconds / 4)
        return cls(look_seconds, max(2, round(hang_seconds / look_seconds)))
