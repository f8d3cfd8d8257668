"""Extremes: values far from all others of their column, such as fill values (1e20, -9999) and typing errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Most values that count as extremes, on both sides together: more are not exceptional.
MAX_EXTREMES = 4
# A value is extreme if its gap to the other values is this many times their range. Of 500 columns of 1,000 Cauchy
# values, 4 % had such a value; of normal and log-normal (σ = 2) columns, none had.
_GAP = 20.0
# The same for a value that is by far the most common one, or that is written as fill values are.
_FILL_GAP = 1.0
_LEAST_COUNT_RATIO = 2  # least ratio of the counts of the most common value and the next one
# With fewer different other values, their range means little: then only fill values count as extreme.
_LEAST_DISTINCT = 10
_SAMPLE = 4_096
_NINES = tuple(float(f"{sign}{'9' * digits}") for sign in ("", "-") for digits in range(1, 9))


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """The extreme values of a column.

    Attributes:
        values: extreme values, the most common first.
        low, high: range of the other values.
    """

    values: tuple[float, ...]
    low: float
    high: float


def find_extremes(values: NDArray[np.float64]) -> Extremes | None:
    """Returns the extreme values of a column; None if there are none.

    Args:
        values: `(rows,)` finite numbers, NaN for missing.
    """
    present = values[~np.isnan(values)]
    if len(present) < 2:
        return None
    # In a sample with both ends of the range, gaps are never smaller: if it has no extreme value, the column has none.
    few = present[:: max(len(present) // _SAMPLE, 1)]
    low, high = present.min(), present.max()
    ends = np.unique(np.append(few, (low, high)))
    if len(few) < len(present) and _cut(ends, None, few) is None:
        return None
    distinct, counts = np.unique(present, return_counts=True)
    cut = _cut(distinct, counts, few)
    if cut is None:
        return None
    below, above = cut
    inner = slice(below, len(distinct) - above)
    places = [*range(below), *range(len(distinct) - above, len(distinct))]
    extreme = sorted(places, key=lambda i: (-counts[i], distinct[i]))
    return Extremes(
        values=tuple(float(distinct[i]) for i in extreme),
        low=float(distinct[inner][0]),
        high=float(distinct[inner][-1]),
    )


def find_fill_value(values: NDArray[np.float64]) -> float | None:
    """Returns a likely fill value that is not far from the other values, or None.

    Such a value consists of nines. It is the only negative value of a column (-9, -99, …), or at least 999 in size and
    by far the most common value.

    Args:
        values: `(rows,)` numbers, NaN for missing.
    """
    is_nines = np.isin(values, _NINES)
    if not is_nines.any():
        return None
    low = float(np.nanmin(values))
    is_sure = low < -9 or int((values == low).sum()) > 1  # a single -9 may be a cold temperature
    if low in _NINES and low < 0 and is_sure and not (values[values != low] < 0).any():
        return low
    distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if len(distinct) <= _LEAST_DISTINCT:
        return None
    most, next_one = np.argsort(-counts)[:2]
    value = float(distinct[most])
    is_common = counts[most] > 1 and counts[most] >= _LEAST_COUNT_RATIO * counts[next_one]
    return value if is_common and value in _NINES and abs(value) >= 999 else None


def is_ordinary(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns `(rows,)` False for extreme values, True for all others and for missing ones."""
    extreme = find_extremes(values)
    return np.ones(len(values), np.bool_) if extreme is None else ~np.isin(values, extreme.values)


def _cut(
    distinct: NDArray[np.float64], counts: NDArray[np.int64] | None, sample: NDArray[np.float64]
) -> tuple[int, int] | None:
    """Returns the numbers of extreme values at the low and at the high end; None if there are none.

    Args:
        distinct: `(values,)` distinct values in order.
        counts: `(values,)` number of rows of each value; None if unknown, and then each may be a fill value.
        sample: sample of the values.
    """
    best: tuple[int, int] | None = None
    most = min(MAX_EXTREMES, len(distinct) - 1)
    with np.errstate(over="ignore"):
        for below in range(most + 1):
            for above in range(most + 1 - below):
                if not 0 < below + above < len(distinct):
                    continue
                if _are_extreme(distinct, counts, below, above) and (best is None or below + above > sum(best)):
                    best = (below, above)
    return best


def _are_extreme(distinct: NDArray[np.float64], counts: NDArray[np.int64] | None, below: int, above: int) -> bool:
    inner = distinct[below : len(distinct) - above]
    # If the others are all equal, their range is 0, and every value would be far from them.
    spread = float(inner[-1] - inner[0]) or max(abs(float(inner[0])), 1.0)
    common = 0 if counts is None else int(counts[below : len(distinct) - above].max())
    for side, gap in (
        (slice(0, below), inner[0] - distinct[below - 1] if below else 0.0),
        (slice(len(distinct) - above, None), distinct[len(distinct) - above] - inner[-1] if above else 0.0),
    ):
        outer = distinct[side]
        if not len(outer):
            continue
        written = [_is_written_as_fill(value) for value in outer.tolist()]
        if len(inner) < _LEAST_DISTINCT and not all(written):
            return False
        is_fill = counts is None or all(
            fill or (count > 1 and count >= _LEAST_COUNT_RATIO * common)
            for fill, count in zip(written, counts[side].tolist(), strict=True)
        )
        if gap <= (_FILL_GAP if is_fill else _GAP) * spread:
            return False
    return True


def _is_written_as_fill(value: float) -> bool:
    """Returns True for a value that programs write for none: nines, a power of ten from 1e10 on, a type's limit."""
    size = abs(value)
    if size >= 1e10:
        return f"{size:.5e}".startswith(("1.00000", "9.96921", "3.40282", "1.79769", "2.14748", "9.22337"))
    whole = f"{size:.0f}"
    return size.is_integer() and (
        (len(whole) >= 2 and set(whole) == {"9"}) or whole in ("32767", "32768", "65535", "2147483647", "2147483648")
    )
