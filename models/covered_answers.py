"""Answers with an interval or a set of labels for each row, in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.labels import Label
from models.errors import ConfigError


@dataclass(frozen=True, kw_only=True, eq=False)
class CoveredAnswers:
    """The answers to some rows, with an interval or a set of labels for each row.

    Attributes:
        level: share of rows whose truth the intervals or sets contain.
        predictions: label, or value in the unit of the target, of each row; of several targets, a list of values.
        intervals: `(rows, 2)` float64 lower and upper bounds of the values, which have the bits of the server's bounds:
            rounded to float32 unless a target has an origin; `(rows, targets, 2)` of several targets; None for a
            classifier.
        sets: labels that each row may have, in the order of the classes; None for a regressor.
        targets: names of several targets, in the order of the values; None for one target.
    """

    level: float
    predictions: list[Any]
    intervals: NDArray[np.float64] | None = None
    sets: list[list[Label]] | None = None
    targets: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.predictions)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.predictions)

    def columns(self) -> dict[str, Any]:
        """Returns the answers as columns: `prediction`, then `low` and `high` or `set`.

        Several targets have a column each, `prediction_TARGET`, then `prediction_TARGET_low` and
        `prediction_TARGET_high`.
        """
        if self.targets is None:
            return {"prediction": self.predictions} | covering_columns(self.intervals, self.sets)
        values = np.array(self.predictions, dtype=np.float64).reshape(-1, len(self.targets))
        columns = dict(zip(value_columns(self.targets), values.T, strict=True))
        return columns | covering_columns(self.intervals, self.sets, targets=self.targets)


def value_columns(targets: Sequence[str], prefix: str = "") -> list[str]:
    """Returns the name of the column of predictions of each of several targets.

    Args:
        targets: names of the targets.
        prefix: beginning of the columns' names.
    """
    return [f"{prefix}prediction_{target}" for target in targets]


def names_of_bounds(columns: Sequence[str]) -> list[str]:
    """Returns the names of the columns of the bounds: the lower and the upper one of each column of predictions."""
    return [f"{column}_{bound}" for column in columns for bound in ("low", "high")]


def bound_columns(targets: Sequence[str], prefix: str = "") -> list[str]:
    """Returns the names of the columns of the bounds of several targets: the lower and the upper one of each.

    Args:
        targets: names of the targets.
        prefix: beginning of the columns' names.

    Raises:
        ConfigError: a bound's column has the name of another target's predictions.
    """
    values = value_columns(targets, prefix)
    names = names_of_bounds(values)
    if taken := set(names).intersection(values):
        raise ConfigError(
            f"a bound and the predictions of a target would both be the column {min(taken)!r}: rename that target, or "
            "ask for JSON, which has no columns."
        )
    return names


def covering_columns(
    intervals: NDArray[np.float64] | None,
    sets: Sequence[Any] | None,
    prefix: str = "",
    *,
    targets: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Returns the columns `low` and `high` of intervals, or `set` of sets; none if both are None.

    Args:
        intervals: `(rows, 2)` lower and upper bounds, or `(rows, targets, 2)` of several targets.
        sets: set of labels of each row.
        prefix: beginning of the columns' names.
        targets: names of several targets; None for one target.
    """
    if intervals is not None and targets is not None:
        names = bound_columns(targets, prefix)
        return dict(zip(names, intervals.reshape(len(intervals), len(names)).T, strict=True))
    if intervals is not None:
        return {f"{prefix}low": intervals[:, 0], f"{prefix}high": intervals[:, 1]}
    return {} if sets is None else {f"{prefix}set": sets}
