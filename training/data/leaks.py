"""Leaks: features that know the target too well to be known before it."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from models.names import Names
from training.data.values import Values, missing_of

# Below this many rows chance alone ties columns together.
MIN_ROWS = 30
# A correlation with the target beyond which one number is a rewriting of the other.
MAX_CORRELATION = 0.999

_ROWS_A_VALUE = 10  # fewer rows of each value than this, and values determine a target by being so many


def leak_of(values: Values, target: Values) -> str | None:
    """Why a feature looks as if it was made from the target, as the rest of a sentence that begins with its name.

    Args:
        values: `(rows,)` the feature.
        target: `(rows,)` the target: names, or float64.
    """
    if len(values) < MIN_ROWS:
        return None
    classes = _places(target)  # (rows,)
    known = _places(values)
    determines, is_determined = _determines(known, classes), _determines(classes, known)
    if determines and known.max() > 0 and len(known) >= _ROWS_A_VALUE * (known.max() + 1):
        return "equals the target but for its names" if is_determined else "determines the target in every row"
    if missing_of(values).any() and isinstance(target, Names):
        gaps = missing_of(values).astype(np.int64)
        if _determines(gaps, classes):
            return "is missing in all rows of one class, and in no other"
    if isinstance(values, Names) or values.dtype.kind == "M":
        return None
    if isinstance(target, Names):
        return "tells the classes apart by itself" if _is_ordered_by(values, classes) else None
    correlation = _correlation(values, target)
    return f"has a correlation of {correlation:.4f} with the target" if abs(correlation) > MAX_CORRELATION else None


def _places(values: Values) -> NDArray[np.int64]:
    """`(rows,)` equal whole numbers, from 0, for equal values; a gap is a value of its own."""
    cells = values.codes if isinstance(values, Names) else values
    return np.unique(cells, return_inverse=True)[1].astype(np.int64)


def _determines(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether rows that are equal in one are equal in the other."""
    low = np.full(one.max() + 1, np.iinfo(np.int64).max)
    high = np.full(one.max() + 1, -1)
    np.minimum.at(low, one, other)
    np.maximum.at(high, one, other)
    return bool((low == high).all())


def _is_ordered_by(values: NDArray[np.float64], classes: NDArray[np.int64]) -> bool:
    """Whether each class has a range of values to itself."""
    if np.isnan(values).any():
        return False
    ranges = sorted((values[classes == i].min(), values[classes == i].max()) for i in range(classes.max() + 1))
    return all(high < low for (_, high), (low, _) in itertools.pairwise(ranges))


def _correlation(values: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Pearson's, over the rows that have a value; 0 where there is no spread."""
    is_present = ~np.isnan(values)
    x, y = values[is_present] - values[is_present].mean(), target[is_present] - target[is_present].mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / spread if len(x) >= MIN_ROWS and spread > 0 else 0.0
