"""Declared gaps: values that stand for a missing value in one column, such as -999, `?` or 1900-01-01.

The user declares them in training (`--missing-values`), and the column keeps them, so that a client's cell means what
the same cell means in the training table. The comparison is that of training.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cell_text import category_of

_EXACT = 2.0**53  # float64 and a table's text agree on whole numbers below this one
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class NumberGaps:
    """The numbers of a column that stand for a missing value.

    A whole number equals itself alone. Any other number, such as 1e20 or 99.9, also equals all numbers that are the
    same in float32, since a table may hold such a number so.

    Args:
        gaps: declared numbers.

    Attributes:
        numbers: declared numbers.
        float32: those that are compared in float32, too.
    """

    __slots__ = ("_exact", "float32", "numbers")

    def __init__(self, gaps: Sequence[float]) -> None:
        self.numbers = tuple(gaps)
        self._exact = np.array(gaps, dtype=np.float64)
        rounded = [gap for gap in gaps if not (gap.is_integer() and abs(gap) < _EXACT)]
        with np.errstate(over="ignore"):
            near = np.array(rounded, dtype=np.float64).astype(np.float32)
        self.float32 = near[np.isfinite(near)]

    def __bool__(self) -> bool:
        """Returns True if there are such numbers."""
        return bool(self.numbers)

    def has(self, cell: float) -> bool:
        """Returns True if a number stands for a missing value."""
        try:
            value = float(cell)
        except OverflowError:  # a whole number too large for a float
            return False
        if value in self.numbers:
            return True
        return bool(len(self.float32)) and bool(self.rows(np.array([value]))[0])

    def rows(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Returns `(rows,)` True where a number, `(rows,)`, stands for a missing value."""
        values = values.astype(np.float64, copy=False)
        found: NDArray[np.bool_] = np.isin(values, self._exact)
        if len(self.float32):
            with np.errstate(over="ignore"):
                found |= np.isin(values.astype(np.float32), self.float32)
        return found


class CategoryGaps:
    """The categories that stand for a missing value; a number does so in any spelling.

    Args:
        gaps: declared texts.

    Attributes:
        texts: categories in the spelling of `category_of`.
    """

    __slots__ = ("_numbers", "texts")

    def __init__(self, gaps: Iterable[str]) -> None:
        self.texts = frozenset(text for gap in gaps for text in _spellings(gap))
        self._numbers = frozenset(float(text) for text in self.texts if _NUMBER.fullmatch(text))

    def __bool__(self) -> bool:
        """Returns True if there are such categories."""
        return bool(self.texts)

    def __contains__(self, name: object) -> bool:
        if name in self.texts:
            return True
        is_number = bool(self._numbers) and isinstance(name, str) and _NUMBER.fullmatch(name) is not None
        return is_number and float(name) in self._numbers  # type: ignore[arg-type]


def _spellings(gap: str) -> Iterator[str]:
    cells: list[object] = [gap]
    if _NUMBER.fullmatch(gap) and np.isfinite(float(gap)):
        cells.append(float(gap))
    for cell in cells:
        if (text := category_of(cell)) is not None:
            yield text
