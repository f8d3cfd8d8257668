"""Decimal numbers: whole numbers of 4 to 32 bytes that stand for a multiple of a power of ten."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import decimal_text

_EXACT_DIGITS = 22  # powers of ten up to this one are exact in float64
_EXACT = 2**53  # and so are whole numbers up to this one


def whole_numbers(raw: NDArray[np.uint8]) -> NDArray[np.int64] | list[int]:
    """Reads little-endian whole numbers.

    Args:
        raw: `(cells, bytes)` bytes of the cells.

    Returns:
        `(cells,)` int64, or a list if some need more bits.
    """
    cells, width = raw.shape
    if width <= 8:
        numbers: NDArray[np.int64] = raw.copy().view(f"<i{width}")[:, 0].astype(np.int64)
        return numbers
    words = raw.copy().view("<i8")
    if (words[:, 1:] == (words[:, :1] >> 63)).all():
        first: NDArray[np.int64] = words[:, 0]
        return first
    data = raw.tobytes()
    return [int.from_bytes(data[at : at + width], "little", signed=True) for at in range(0, cells * width, width)]


def numbers_of(whole: NDArray[np.int64] | list[int], scale: int) -> NDArray[np.float64]:
    """Returns the float64 numbers that are nearest to decimals; infinity for those beyond all float64 numbers.

    Args:
        whole: `(cells,)` whole numbers.
        scale: number of digits behind the decimal point.
    """
    if isinstance(whole, np.ndarray) and 0 <= scale <= _EXACT_DIGITS and ((whole >= -_EXACT) & (whole <= _EXACT)).all():
        quotient: NDArray[np.float64] = whole.astype(np.float64) / 10.0**scale  # one rounding, as of the text
        return quotient
    wanted = whole.tolist() if isinstance(whole, np.ndarray) else whole
    return np.array([_nearest(number, scale) for number in wanted], dtype=np.float64)


def texts_of(whole: NDArray[np.int64] | list[int], scale: int) -> list[str]:
    """Writes decimals with all their digits: 1.10 stays 1.10, as training reads names."""
    return [decimal_text(Decimal(f"{number}e{-scale}")) for number in whole]


def _nearest(number: int, scale: int) -> float:
    try:
        return number / 10**scale if scale >= 0 else float(number * 10**-scale)
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")
