"""The magnitude of numbers: a check of whole arrays against a limit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW_NUMBERS = 4096  # up to this size, a product takes a fraction of the time of a maximum and a minimum
_ROUNDING = 0.99  # covers the rounding of a sum of so many squares


def are_below(numbers: NDArray[Any], limit: float) -> bool:
    """Returns True if each number is finite and its magnitude is below a limit.

    Args:
        numbers: integers or floats, at least one.
        limit: limit, up to 2**500.
    """
    if numbers.dtype.char in "fd" and numbers.size <= _FEW_NUMBERS:
        squares = float(np.vdot(numbers, numbers))  # not below the square of any number; NaN and infinity stay so
        if squares < _ROUNDING * limit * limit:
            return True
    return float(max(numbers.max(), -numbers.min())) < limit
