"""Work that is written in steps, done without pauses."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

_T = TypeVar("_T")


def at_once(steps: Generator[Any, None, _T]) -> _T:
    """Runs all steps of a generator, and returns its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: _T = end.value
            return value
