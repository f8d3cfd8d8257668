"""Finite numbers in values of unknown types, such as those of a file's header."""

from __future__ import annotations

import contextlib
import math


def is_finite_number(value: object) -> bool:
    """Returns True for a number, no truth value, that is finite as a float: a whole number may be too large for one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return math.isfinite(value)
    return False
