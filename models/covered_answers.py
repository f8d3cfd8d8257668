"""Answers with an interval or a set of labels for each row, in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.labels import Label


@dataclass(frozen=True, kw_only=True, eq=False)
class CoveredAnswers:
    """The answers to some rows, with an interval or a set of labels for each row.

    Attributes:
        level: share of rows whose truth the intervals or sets contain.
        predictions: label, or value in the unit of the target, of each row.
        intervals: `(rows, 2)` float64 lower and upper bounds of the values, which have the bits of the server's bounds:
            rounded to float32 unless the target has an origin; None for a classifier.
        sets: labels that each row may have, in the order of the classes; None for a regressor.
    """

    level: float
    predictions: list[Label]
    intervals: NDArray[np.float64] | None = None
    sets: list[list[Label]] | None = None

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.predictions)

    def columns(self) -> dict[str, Any]:
        """Returns the answers as columns: `prediction`, then `low` and `high` or `set`."""
        return {"prediction": self.predictions} | covering_columns(self.intervals, self.sets)


def covering_columns(
    intervals: NDArray[np.float64] | None, sets: Sequence[Any] | None, prefix: str = ""
) -> dict[str, Any]:
    """Returns the columns `low` and `high` of intervals, or `set` of sets; none if both are None.

    Args:
        intervals: `(rows, 2)` lower and upper bounds.
        sets: set of labels of each row.
        prefix: beginning of the columns' names.
    """
    if intervals is not None:
        return {f"{prefix}low": intervals[:, 0], f"{prefix}high": intervals[:, 1]}
    return {} if sets is None else {f"{prefix}set": sets}
