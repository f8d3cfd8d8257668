"""Declared gaps: values that stand for a missing value in one column, such as -999, `?` or 1900-01-01.

The user declares them in training (`--missing-values`), and the column keeps them, so that a client's cell means what
the same cell means in the training table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from math import isfinite

from models.columns.cell_text import category_of


def gap_numbers(gaps: Iterable[float]) -> tuple[float, ...]:
    """Returns the numbers that stand for a missing value: the declared numbers, exact and rounded to float32."""
    return tuple(dict.fromkeys(number for gap in gaps for number in (gap, *_as_float32(gap))))


def gap_texts(gaps: Iterable[str]) -> frozenset[str]:
    """Returns the categories that stand for a missing value, in the spelling of `category_of`."""
    return frozenset(text for gap in gaps for text in _spellings(gap))


def _as_float32(gap: float) -> Iterator[float]:
    try:
        yield struct.unpack("<f", struct.pack("<f", gap))[0]
    except OverflowError:  # no float32 is near
        return


def _spellings(gap: str) -> Iterator[str]:
    cells: list[object] = [gap]
    try:
        number = float(gap)
    except ValueError:
        pass
    else:
        cells += [number] if isfinite(number) else []
    for cell in cells:
        if (text := category_of(cell)) is not None:
            yield text
