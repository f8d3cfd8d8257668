"""Extremes: values that stand apart from all others of their column, as fill values (1e20, -9999) and slips do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values that stand apart, from below and from above, at most: more are no exceptions.
MAX_APART = 4
# A value stands apart where the gap to the others is so many times their range. Of 500 columns of 1,000 Cauchy values
# 4 % had such a value, of normal and log-normal (σ = 2) ones none.
_GAP = 20.0
# The same for a value that is the commonest by far, or that is written as fill values are.
_FILL_GAP = 1.0
_COMMONER = 2  # times as many rows as the next
# Below so many different other values there is no range to stand apart from, but for fill values.
_LEAST_DISTINCT = 10
_SAMPLE = 4_096
_NINES = tuple(float(f"{sign}{'9' * digits}") for sign in ("", "-") for digits in range(1, 9))


@dataclass(frozen=True, kw_only=True)
class Apart:
    """Values that stand apart from the others of a column.

    Attributes:
        values: the values, the commonest first.
        low, high: range of the others.
    """

    values: tuple[float, ...]
    low: float
    high: float


def standing_apart(values: NDArray[np.float64]) -> Apart | None:
    """The values that stand apart; None where there is none.

    Args:
        values: `(rows,)` finite numbers, or NaN for missing.
    """
    present = values[~np.isnan(values)]
    if len(present) < 2:
        return None
    # A sample with both ends has no smaller gaps beside its range: where it has no value apart, the column has none.
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
    apart = sorted(places, key=lambda i: (-counts[i], distinct[i]))
    return Apart(
        values=tuple(float(distinct[i]) for i in apart),
        low=float(distinct[inner][0]),
        high=float(distinct[inner][-1]),
    )


def filled_with(values: NDArray[np.float64]) -> float | None:
    """A value that is written as fill values are and seems to be one although it does not stand apart; None for none.

    It is the only negative value of a column (-9, -99, …), or at least 999 in size and the commonest by far.

    Args:
        values: `(rows,)` numbers, NaN for missing.
    """
    is_nines = np.isin(values, _NINES)
    if not is_nines.any():
        return None
    low = float(np.nanmin(values))
    is_sure = low < -9 or int((values == low).sum()) > 1  # a single -9 may be cold
    if low in _NINES and low < 0 and is_sure and not (values[values != low] < 0).any():
        return low
    distinct, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if len(distinct) <= _LEAST_DISTINCT:
        return None
    most, next_one = np.argsort(-counts)[:2]
    value = float(distinct[most])
    is_common = counts[most] > 1 and counts[most] >= _COMMONER * counts[next_one]
    return value if is_common and value in _NINES and abs(value) >= 999 else None


def without_extremes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """`(rows,)` whether a value is not one that stands apart; missing ones are not."""
    apart = standing_apart(values)
    return np.ones(len(values), np.bool_) if apart is None else ~np.isin(values, apart.values)


def _cut(
    distinct: NDArray[np.float64], counts: NDArray[np.int64] | None, sample: NDArray[np.float64]
) -> tuple[int, int] | None:
    """How many of the least and of the greatest values stand apart; None where none do.

    Args:
        distinct: `(values,)` in order.
        counts: `(values,)` rows of each; None where they are not known, and each may be a fill value.
        sample: values of which the range is that of most.
    """
    best: tuple[int, int] | None = None
    most = min(MAX_APART, len(distinct) - 1)
    with np.errstate(over="ignore"):
        for below in range(most + 1):
            for above in range(most + 1 - below):
                if not 0 < below + above < len(distinct):
                    continue
                if _is_apart(distinct, counts, below, above) and (best is None or below + above > sum(best)):
                    best = (below, above)
    return best


def _is_apart(distinct: NDArray[np.float64], counts: NDArray[np.int64] | None, below: int, above: int) -> bool:
    inner = distinct[below : len(distinct) - above]
    # Equal others have a range of 0, from which everything would stand apart.
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
            fill or (count > 1 and count >= _COMMONER * common)
            for fill, count in zip(written, counts[side].tolist(), strict=True)
        )
        if gap <= (_FILL_GAP if is_fill else _GAP) * spread:
            return False
    return True


def _is_written_as_fill(value: float) -> bool:
    """Whether a value is one that programs write for none: nines, a power of ten from 1e10 on, the ends of a type."""
    size = abs(value)
    if size >= 1e10:
        return f"{size:.5e}".startswith(("1.00000", "9.96921", "3.40282", "1.79769", "2.14748", "9.22337"))
    whole = f"{size:.0f}"
    return size.is_integer() and (
        (len(whole) >= 2 and set(whole) == {"9"}) or whole in ("32767", "32768", "65535", "2147483647", "2147483648")
    )
