"""Equal rows: finds rows with the same features, and decides if a split has to keep these in one part.

If a row was copied, a model that has learned one copy knows the target of the other. A copy in the test part would
therefore measure memory. In a table with few different values, however, rows are equal because few combinations exist.
There the rows to predict will also equal known rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from training.data.column_choices import ColumnChoices
from training.data.values import Values

# Up to this many equal rows, or below this share, there is no note: iris has one pair.
UNNOTED_ROWS, LEAST_NOTED_SHARE = 2, 0.005
# Rows that are likely to be equal by chance get a note only if this share of the table has equal targets too.
LEAST_NOTED_LIKELY_SHARE = 0.3
# With fewer different rows than these, a part made of whole groups of equal rows is not a sample of the table.
MIN_DISTINCT = 10

_SAMPLE = 20_000  # rows from which a column's distinct values are estimated
# Real columns are not independent: equal rows count as chance up to this multiple of their rate in independent columns.
_CHANCE_FACTOR = 100
_FEW_VALUES = 5  # columns with fewer values repeat by nature, and in a factorial design they repeat evenly
_LEAST_MULTIPLIED = 50  # fewer different rows may occur equally often by chance

_GOLDEN, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_SHIFTS = tuple(np.uint64(n) for n in (30, 27, 31))


@dataclass(frozen=True, kw_only=True, eq=False)
class EqualRows:
    """The rows of a table that are equal.

    Attributes:
        code: `(rows,)` int64 from 0; the same for rows whose features are equal, gaps included.
        with_target: `(rows,)` int64 from 0; the same for rows whose features and target are equal.
        is_likely: True if this number of equal rows is likely by chance, because columns have few different values.
        row_numbers: names of columns that only number the rows, and were not compared.
    """

    code: NDArray[np.int64]
    with_target: NDArray[np.int64]
    is_likely: bool
    row_numbers: tuple[str, ...] = ()

    @property
    def repeated(self) -> int:
        """The number of rows whose features occur in another row."""
        return _count_repeated(self.code)

    @property
    def identical(self) -> int:
        """The number of rows whose features and target occur in another row."""
        return _count_repeated(self.with_target)

    @property
    def distinct(self) -> int:
        """The number of different rows, by their features."""
        return int(np.count_nonzero(np.bincount(self.code)))

    def different(self) -> NDArray[np.int64]:
        """Returns the indices of rows that copy no earlier row; all rows if equal ones are likely by chance."""
        if self.is_likely or not self.repeated:
            return np.arange(len(self.code))
        return np.sort(np.unique(self.with_target, return_index=True)[1])

    def are_kept_together(self, choices: ColumnChoices) -> bool:
        """Returns True if a random split has to keep equal rows in one part."""
        if choices.equal_rows != "auto":
            return choices.equal_rows == "together" and self.repeated > 0
        return self.repeated > 0 and not self.is_likely and self.distinct >= MIN_DISTINCT

    def of(self, rows: NDArray[np.int64]) -> EqualRows:
        """Returns the equal rows among some rows of the table."""
        return replace(self, code=self.code[rows], with_target=self.with_target[rows])

    def known(self, rows: NDArray[np.int64], train: NDArray[np.int64]) -> tuple[int, int]:
        """Counts the rows whose features equal those of a training row, and those whose target is equal too."""
        return tuple(int(np.isin(code[rows], code[train]).sum()) for code in (self.code, self.with_target))  # type: ignore[return-value]  # two


class RowHashes:
    """Hashes of 64 bits of the rows' features, computed column by column, so that no column has to be kept.

    Args:
        rows: number of rows of the table.
    """

    def __init__(self, rows: int) -> None:
        self._hashes = np.zeros(rows, dtype=np.uint64)
        self._sample = np.arange(rows)
        if rows > _SAMPLE:
            self._sample = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE, replace=False))
        self._columns = self._names = 0
        self._row_numbers: list[str] = []
        self._log_chance = 0.0  # log of the probability that two rows are equal, if columns were independent
        self._log_space = 0.0  # log of the number of different rows that the columns' values can make
        self._most_values = 0

    def skip_row_number(self, name: str) -> None:
        """Sets aside a feature that only numbers the rows: such a feature differs even between copies of a row."""
        self._row_numbers.append(name)

    def add(self, values: Values) -> None:
        """Adds a feature, `(rows,)`, to the hashes."""
        bits = _bits(values)
        self._hashes = _split_mix((self._hashes ^ bits) + _GOLDEN)
        chance, distinct = _agreement(bits[self._sample])
        self._columns += 1
        self._names += isinstance(values, DictionaryColumn)
        self._log_chance += np.log(chance)
        self._log_space += np.log(distinct)
        self._most_values = max(self._most_values, distinct)

    def equal_rows(self, target: Values) -> EqualRows:
        """Finds the rows that are equal in every added feature.

        Args:
            target: `(rows,)` categories or float64, or `(rows, targets)` float64.
        """
        code = _codes_of(self._hashes)
        target_bits = _bits(target)
        with_target = _codes_of(_split_mix((self._hashes ^ target_bits) + _GOLDEN))
        is_likely = self._is_likely(code, with_target, target_bits)
        # Where equal rows are likely, a column that seems to number the rows may be a real feature.
        if not self._columns or (self._row_numbers and is_likely):
            code = with_target = np.arange(len(code))
        return EqualRows(code=code, with_target=with_target, is_likely=is_likely, row_numbers=tuple(self._row_numbers))

    def _is_likely(
        self, code: NDArray[np.int64], with_target: NDArray[np.int64], target_bits: NDArray[np.uint64]
    ) -> bool:
        if self._most_values >= _FEW_VALUES and _is_multiplied(with_target):
            return False
        if self._columns == 1:  # equal values of one column mean nothing unless the targets are equal too
            if _count_repeated(with_target) == 0:
                return True
            chance = self._log_chance + np.log(_agreement(target_bits[self._sample])[0])
            return bool(np.log(_agreement(with_target)[0]) <= chance + np.log(_CHANCE_FACTOR))
        if self._log_space <= np.log(len(code)):
            return True
        if self._names == self._columns and self._most_values > int(code.max()):
            return True  # one categorical column determines all others, as a town determines its county and country
        return bool(np.log(_agreement(code)[0]) <= self._log_chance + np.log(_CHANCE_FACTOR))


def equal_rows_note(equal: EqualRows, choices: ColumnChoices, *, test_rows: int = 0, test: str = "") -> str | None:
    """Returns a note for the user on equal rows; None for too few to matter.

    Args:
        equal: equal rows of the table.
        choices: the user's decisions.
        test_rows: number of rows at the end of the table that come from a test file; 0 for none.
        test: name of the test file in the note.
    """
    rows = len(equal.code)
    but_for = f" (but for {', '.join(map(repr, equal.row_numbers))})" if equal.row_numbers else ""
    if test_rows:
        known, identical = equal.known(np.arange(rows - test_rows, rows), np.arange(rows - test_rows))
        if not known:
            return None
        share = (
            f"{shown_share(known, test_rows)} of {test} have the same features as a row to train with{but_for}, and "
            f"{identical:,} of them the same target too"
        )
        if choices.equal_rows == "together":
            left_out = int(np.isin(equal.code[:-test_rows], equal.code[-test_rows:]).sum())
            return f"{share}: {left_out:,} rows are left out of training."
        return (
            f"{share}: the test figures tell in part what was remembered (--equal-rows together leaves such rows out "
            "of training)."
        )
    if equal.repeated <= UNNOTED_ROWS or equal.repeated < LEAST_NOTED_SHARE * rows:
        return None
    if equal.is_likely and choices.equal_rows != "together" and equal.identical < LEAST_NOTED_LIKELY_SHARE * rows:
        return None
    share = (
        f"{shown_share(equal.repeated, rows)} have the same features as another row{but_for}, and {equal.identical:,} "
        "of them the same target too"
    )
    for role, column in choices.roles.items():
        if role in ("group", "time"):
            return f"{share}. They are split by the {role} {column!r}, which may put equal rows into different parts."
    if equal.are_kept_together(choices):
        return f"{share}. Equal rows are kept in one part of the split (--equal-rows scatter divides them by chance)."
    if choices.equal_rows == "scatter":
        return f"{share}. They are divided by chance, so that test rows may be known from training."
    return (
        f"{share}, as there are {equal.distinct:,} different rows only. They are divided by chance, so that test rows "
        "are known from training (--equal-rows together keeps equal rows in one part)."
    )


def shown_share(count: int, rows: int) -> str:
    """Formats a number of rows and its share: `12 of 400 rows (3.0%)`."""
    return f"{count:,} of {rows:,} rows ({count / rows:.1%})"


def _bits(values: Values) -> NDArray[np.uint64]:
    """Returns `(rows,)` bit patterns, the same for equal values and for all gaps."""
    if isinstance(values, DictionaryColumn):
        return values.codes.astype(np.int64).view(np.uint64)
    if values.dtype.kind != "f":
        return values.astype(np.int64).view(np.uint64)
    if values.ndim == 2:  # several targets: one hash for all of them
        hashes = np.zeros(len(values), dtype=np.uint64)
        for of_target in values.T:
            hashes = _split_mix((hashes ^ _bits(of_target)) + _GOLDEN)
        return hashes
    # All NaN get one bit pattern, and so do 0.0 and -0.0.
    return np.where(np.isnan(values), np.nan, values + 0.0).astype(np.float64).view(np.uint64)


def _split_mix(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Applies SplitMix64's finaliser (Steele, Lea & Flood 2014): a bijection in which each bit depends on all bits."""
    hashes ^= hashes >> _SHIFTS[0]
    hashes *= _FIRST
    hashes ^= hashes >> _SHIFTS[1]
    hashes *= _SECOND
    hashes ^= hashes >> _SHIFTS[2]
    return hashes


def _codes_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Numbers the distinct hashes `(rows,)` in the order of their first rows.

    The order of the hashes themselves depends on the codes by which a table stores its categories. A split must not.
    """
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[place]


def _agreement(cells: NDArray[Any]) -> tuple[float, int]:
    """Returns the probability that two rows agree, counting at least one pair, and the number of distinct values."""
    counts = np.unique(cells, return_counts=True)[1].astype(np.float64)
    pairs = float((counts * (counts - 1)).sum())
    return max(pairs, 1.0) / max(len(cells) * (len(cells) - 1.0), 1.0), len(counts)


def _is_multiplied(code: NDArray[np.int64]) -> bool:
    """Returns True if the counts of the different rows have a common divisor above 1, which is unlikely by chance."""
    counts = np.bincount(code)
    return len(counts) >= _LEAST_MULTIPLIED and int(np.gcd.reduce(counts)) > 1


def _count_repeated(code: NDArray[np.int64]) -> int:
    counts = np.bincount(code)
    return int(counts[counts > 1].sum())
