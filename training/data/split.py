"""A split: which rows are learned from, which choose the best epoch, and which are kept for the final figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError
from training.data.training_table import TrainingTable

Rows = NDArray[np.int64]
Shares = tuple[float, float, float]

PARTS = ("train", "validation", "test")
# One row of each class goes to each part, and a test part of one value has no spread to explain.
MIN_CLASS_ROWS = 3
MIN_REGRESSION_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers of the three parts, shuffled within each."""

    train: Rows
    validation: Rows
    test: Rows

    @classmethod
    def whole(cls, rows: int) -> Split:
        """Every row in every part: for a truth table, which is all there is to know."""
        everything = np.arange(rows, dtype=np.int64)
        return cls(train=everything, validation=everything, test=everything)

    def sizes(self) -> dict[str, int]:
        """Rows by part."""
        return {part: len(getattr(self, part)) for part in PARTS}


def check_shares(shares: Shares) -> Shares:
    """The shares of train, validation and test as floats.

    Raises:
        ConfigError: not three shares above 0 that make up the whole.
    """
    if isinstance(shares, str) or len(shares) != 3 or any(isinstance(s, bool) or not s > 0 for s in shares):
        raise ConfigError(f"split needs three shares above 0 for train, validation and test, got {shares!r}.")
    if abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"split must add up to 1, got {shares!r}.")
    return (float(shares[0]), float(shares[1]), float(shares[2]))


def split_rows(table: TrainingTable, shares: Shares, *, rng: np.random.Generator) -> Split:
    """Draws the three parts, for classification from each class in the same shares.

    Args:
        table: the rows to split.
        shares: of train, validation and test; they make up 1.
        rng: the source of the shuffle.

    Raises:
        DataError: too few rows, of a class or in all.
    """
    if table.labels:
        groups = [np.flatnonzero(table.target == i) for i in range(len(table.labels))]
        for label, group in zip(table.labels, groups, strict=True):
            if len(group) < MIN_CLASS_ROWS:
                rows = "1 row" if len(group) == 1 else f"{len(group)} rows"
                raise DataError(
                    f"class {label!r} of target {table.target_name!r} has {rows}, and needs {MIN_CLASS_ROWS}: "
                    "one each to train, validate and test with."
                )
    else:
        groups = [np.arange(table.rows)]
        if table.rows < MIN_REGRESSION_ROWS:
            raise DataError(
                f"{table.rows} rows are too few to train, validate and test with: {MIN_REGRESSION_ROWS} are needed."
            )
    parts: list[list[Rows]] = [[], [], []]
    owed = np.zeros(2)  # what rounding has kept from validation and test so far: carried on, so that totals come out
    for group in groups:
        owed += np.array(shares[1:]) * len(group)
        validation, test = (int(n) for n in np.clip(np.rint(owed), 1, None))
        while validation + test >= len(group):
            validation, test = (validation - 1, test) if validation > test else (validation, test - 1)
        owed -= (validation, test)
        shuffled = rng.permutation(group)
        cuts = np.split(shuffled, [len(group) - validation - test, len(group) - test])
        for part, rows_of_group in zip(parts, cuts, strict=True):
            part.append(rows_of_group)
    train, validation_rows, test_rows = (rng.permutation(np.concatenate(part)).astype(np.int64) for part in parts)
    return Split(train=train, validation=validation_rows, test=test_rows)
