"""Leaks: features that predict the target too well, so that their values were probably not known before the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.dictionary_column import DictionaryColumn
from training.data.equal_rows import EqualRows
from training.data.rank_measures import (
    agreement_of_order,
    agreement_of_values,
    are_cuts,
    correlation,
    dependence,
    explained_share,
    log_arrangements,
    ranks_of,
)
from training.data.scratch import release_pages
from training.data.typed_options import typed
from training.data.values import Values, missing_of

# With fewer rows than this, columns are related by chance alone.
MIN_ROWS = 30
# A correlation with the target above this means that one column is computed from the other.
MAX_CORRELATION = 0.999
# The same for a rank correlation: a copy with noise of 5 % of its spread has 0.9986, one with 10 % has 0.9945.
MAX_RANK_CORRELATION = 0.998
# The same if a few rows are wrongly copied and left out: the other rows fit best, so the limit is higher.
MAX_INNER_CORRELATION = 0.9985
# Cohen's kappa of the classes and a guess from one column. An honest column, the petals of irises, has 0.94.
MAX_AGREEMENT = 0.97
# The same for a guess from a column's gaps, which rarely agree with a class so well by chance. The lifeboats of the
# Titanic, which show who was saved, have 0.95.
MAX_GAP_AGREEMENT = 0.9

_ROWS_A_VALUE = 10  # with fewer rows per value, the values determine any target by chance
_CELLS = 2_000_000  # cells to check in a table, so that the search takes a second or two for any shape
_LEAST_SAMPLE, _MOST_SAMPLE = 500, 20_000  # rows to check of each column
_MOST_PAIRS = 10_000  # pairs of a feature and a target to check: a few seconds
_CONFIRMING_ROWS = 200_000  # rows to check of a column whose sample shows a leak
_LEAST_LOG_ODDS = math.log(1e6)  # by chance, a leak may be reported in one of a million tables
_TREND_CORRELATION = 0.99  # rank correlation with the row number of a column that increases from row to row
_SAME_STEPS = 0.5  # rank correlation of the row-to-row steps of two columns of which one was made from the other
_MOST_ROWS = 0.97  # share of rows that must be copied correctly
_LEAST_RAW_CORRELATION = 0.9  # rank correlation of all rows that wrongly copied ones may leave
_MAX_LISTED = 5  # most leaks that are listed one by one


class LeakSearch:
    """A search for features that seem to be made from the target.

    Args:
        target: `(rows,)` target, categories or float64, or `(rows, targets)` float64.
        columns: number of features; with more features, fewer rows are sampled.
        targets: names of the targets; empty if there is one.

    Attributes:
        columns: number of features.
    """

    def __init__(self, target: Values, *, columns: int, targets: Sequence[str] = ()) -> None:
        self.columns = columns
        self._rows = len(target)
        self._targets: dict[str | None, Values] = {None: target}
        self._not_searched: list[str | None] = []
        if not isinstance(target, DictionaryColumn) and target.ndim == 2:
            self._targets = dict(zip(targets, target.T, strict=True))
            searched = max(_MOST_PAIRS // max(columns, 1), 1)
            self._not_searched = list(self._targets)[searched:]
            for name in self._not_searched:
                del self._targets[name]
        self._pairs = columns * len(self._targets)
        sample = _sample(np.arange(self._rows), min(max(_CELLS // max(self._pairs, 1), _LEAST_SAMPLE), _MOST_SAMPLE))
        self._samples = self._samples_of(sample, is_sample=True)
        self._suspects: dict[str, Values] = {}

    def _samples_of(self, rows: NDArray[np.int64], *, is_sample: bool) -> dict[str | None, _TargetSample]:
        return {
            name: _TargetSample(target, name, rows, columns=self._pairs, is_sample=is_sample)
            for name, target in self._targets.items()
        }

    def add(self, name: str, values: Values) -> None:
        """Adds a feature, `(rows,)`, and keeps its values if a sample of the rows shows a leak."""
        if len(values) >= MIN_ROWS and not _is_counter(values) and _leak_of(values, self._samples) is not None:
            self._suspects[name] = values

    def note(self) -> str | None:
        """Returns a sentence on the targets that were left out of the search; None if all were searched."""
        if not self._not_searched:
            return None
        return (
            f"Leaks were searched of the first {len(self._targets):,} targets only, and not of the "
            f"{len(self._not_searched):,} from {self._not_searched[0]!r} on: with {self.columns:,} columns, the search "
            "would take too long."
        )

    def found(self, equal: EqualRows) -> dict[str, str]:
        """Returns, by feature, why the feature leaks the target, as words that follow the feature's name.

        Args:
            equal: equal rows of the table. Copies of a row count once: a value that occurs only in one row and its
                copies tells the target of these rows, and nothing about other rows.
        """
        different = equal.different()
        rows = _sample(different, _CONFIRMING_ROWS)
        if not self._suspects or len(rows) < MIN_ROWS:
            return {}
        is_sample = len(rows) < len(different)
        samples = self._samples_of(rows, is_sample=is_sample)
        leaks = {name: _leak_of(values, samples) for name, values in self._suspects.items()}
        return {name: leak for name, leak in leaks.items() if leak is not None}


def _leak_of(values: Values, samples: Mapping[str | None, _TargetSample]) -> str | None:
    """Returns why a feature leaks a target, of several the first one with a leak; None without a leak."""
    leaks = (sample.leak_of(values) for sample in samples.values())
    return next((leak for leak in leaks if leak is not None), None)


def leak_notes(
    features: Mapping[str, Values], target: Values, equal: EqualRows, *, targets: Sequence[str] = ()
) -> list[str]:
    """Writes a sentence for each of the first few features that leak the target, and one for the others.

    Args:
        features: `(rows,)` values by column name.
        target: `(rows,)` categories or float64, or `(rows, targets)` float64.
        equal: equal rows of the table.
        targets: names of the targets; needed if there are several.
    """
    search = LeakSearch(target, columns=len(features), targets=targets)
    for name, values in features.items():
        search.add(name, values)
        release_pages()
    found = search.found(equal)
    sentences = [leak_remark(name, leak, can_drop=len(features) > len(found)) for name, leak in found.items()]
    if len(sentences) > _MAX_LISTED:
        others = list(found)[_MAX_LISTED:]
        shown = ", ".join(map(repr, others[:_MAX_LISTED])) + (", …" if len(others) > _MAX_LISTED else "")
        sentences[_MAX_LISTED:] = [
            f"{len(others):,} more columns know the target as well ({shown}): inspect says of each why."
        ]
    return [*sentences, *filter(None, [search.note()])]


def leak_remark(name: str, leak: str, *, can_drop: bool = True) -> str:
    """Returns a sentence on a feature that leaks the target.

    Args:
        name: name of the feature.
        leak: reason to suspect the feature, as words that follow the feature's name.
        can_drop: True if other features are left to learn from.
    """
    remedy = f" If not, leave it out ({typed('--drop', name)})." if can_drop else ""
    return f"Column {name!r} {leak}: is it known before the target is?{remedy}"


def _sample(rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Draws at most `size` of the rows, in order."""
    return rows if len(rows) <= size else np.sort(np.random.default_rng(0).choice(rows, size, replace=False))


class _TargetSample:
    """A sample of the target, with which features are compared.

    Args:
        target: values of the target, `(table rows,)`.
        name: name of the target, to be told apart from other targets; None if there is one.
        rows: positions of the rows.
        columns: number of features.
        is_sample: False if `rows` are all rows that differ from each other.
    """

    def __init__(
        self, target: Values, name: str | None, rows: NDArray[np.int64], *, columns: int, is_sample: bool
    ) -> None:
        self._called = "the target" if name is None else f"the target {name!r}"
        self._rows = rows
        self._is_sample = is_sample
        self._target = _at(target, rows)
        self._classes = _codes_of(self._target)  # (rows,)
        self._least_log_odds = _LEAST_LOG_ODDS + math.log(max(columns, 1))

    def leak_of(self, values: Values) -> str | None:
        values = _at(values, self._rows)
        known, gaps = _codes_of(values), missing_of(values)
        if leak := self._value_leak(known, self._classes):
            return leak
        if gaps.any():
            if leak := self._gap_leak(gaps):
                return leak
            values = _at(values, np.flatnonzero(~gaps))
            if len(values) < MIN_ROWS:
                return None
            known, classes = _codes_of(values), np.unique(self._classes[~gaps], return_inverse=True)[1]
            if leak := self._value_leak(known, classes):
                return f"{leak}, where it has a value"
        if isinstance(values, DictionaryColumn):
            return None if isinstance(self._target, DictionaryColumn) else self._name_leak(known, self._target[~gaps])
        if isinstance(self._target, DictionaryColumn):
            return None if values.dtype.kind == "M" else self._order_leak(values, self._classes[~gaps])
        return self._number_leak(_as_numbers(values), self._target[~gaps])

    def _value_leak(self, known: NDArray[np.int64], classes: NDArray[np.int64]) -> str | None:
        """Reports a leak if rows with equal values have equal targets, in all or nearly all rows."""
        different = int(known.max()) + 1
        if different == 1 or len(known) < _ROWS_A_VALUE * different or not self._is_beyond_chance(classes, different):
            return None
        if _determines(known, classes):
            if _determines(classes, known):
                return f"equals {self._called} but for its names"
            looked_at = "every row" if not self._is_sample else f"each of {len(known):,} rows that were looked at"
            return f"determines {self._called} in {looked_at}"
        if not isinstance(self._target, DictionaryColumn):
            return None
        found = agreement_of_values(known, classes)
        return f"determines {self._called} in {found.share:.1%} of the rows" if found.kappa >= MAX_AGREEMENT else None

    def _gap_leak(self, gaps: NDArray[np.bool_]) -> str | None:
        """Reports a leak if the gaps of a feature depend on the target."""
        is_missing = gaps.astype(np.int64)
        if not self._is_beyond_chance(is_missing, 1) or gaps.all():
            return None
        if not isinstance(self._target, DictionaryColumn):
            is_range = self._range_leak(is_missing, self._target) is not None
            return f"is missing in one range of {self._called}, and not in the other" if is_range else None
        if not self._is_beyond_chance(self._classes, 2):
            return None
        if _determines(is_missing, self._classes):
            return "is missing in all rows of one class, and in no other"
        found = agreement_of_values(is_missing, self._classes)
        if found.kappa < MAX_GAP_AGREEMENT:
            return None
        return f"tells the classes apart in {found.share:.1%} of the rows by whether it is missing"

    def _order_leak(self, values: NDArray[np.float64], classes: NDArray[np.int64]) -> str | None:
        """Reports a leak if each class has its own range of values."""
        counts = np.bincount(classes, minlength=int(self._classes.max()) + 1)
        if len(values) < MIN_ROWS or not counts.all() or not self._is_beyond_chance(classes, 1):
            return None
        if _is_ordered_by(values, classes):
            return "tells the classes apart by itself"
        found = agreement_of_order(values, classes)
        return f"tells the classes apart in {found.share:.1%} of the rows" if found.kappa >= MAX_AGREEMENT else None

    def _is_beyond_chance(self, classes: NDArray[np.int64], choices: int) -> bool:
        """Returns True if chance hardly explains the classes, given `choices` values that may each have any class."""
        counts = np.bincount(classes)
        free = max(choices * math.log(len(counts)), math.lgamma(len(counts) + 1))
        return log_arrangements(counts) - free > self._least_log_odds

    def _name_leak(self, known: NDArray[np.int64], target: NDArray[np.float64]) -> str | None:
        """Reports a leak of a numeric target in a categorical feature, over the rows that have both."""
        codes = np.unique(known, return_inverse=True)[1]
        if len(codes) < max(MIN_ROWS, _ROWS_A_VALUE * (codes.max(initial=0) + 1)) or codes.max() == 0:
            return None
        if leak := self._range_leak(codes, target):
            return leak
        share = explained_share(codes, ranks_of(target))
        if share >= MAX_RANK_CORRELATION**2:
            return f"determines {self._called} but for {1 - share:.1%} of the variance of its ranks"
        return None

    def _number_leak(self, values: NDArray[np.float64], target: NDArray[np.float64]) -> str | None:
        """Reports a leak of a numeric target in a numeric feature, over the rows that have both."""
        if len(values) < MIN_ROWS or (values == values[0]).all():
            return None
        found = correlation(values, target)
        if abs(found) > MAX_CORRELATION and abs(_inner_correlation(values, target)) > MAX_CORRELATION:
            return None if _is_common_trend(values, target) else f"has a correlation of {found:.4f} with {self._called}"
        ranks, of_target = ranks_of(values), ranks_of(target)
        found = correlation(ranks, of_target)
        most = "" if abs(found) >= MAX_RANK_CORRELATION else f" in {_MOST_ROWS:.0%} of the rows"
        if most and abs(found) > _LEAST_RAW_CORRELATION:
            found = _correlation_of_most(values, target, np.sign(found) * ranks - of_target)
        if abs(found) >= (MAX_INNER_CORRELATION if most else MAX_RANK_CORRELATION):
            if _is_common_trend(values, target):
                return None
            return f"has a rank correlation of {found:.4f} with {self._called}{most}, as a copy in another scale has"
        codes = np.unique(values, return_inverse=True)[1]
        if len(codes) >= _ROWS_A_VALUE * (codes.max() + 1):
            return self._range_leak(codes, target)
        if len(np.unique(target)) < 0.9 * len(target) or codes.max() + 1 < 0.9 * len(codes):
            return None
        least = 1 - 6 / len(codes) - 0.01  # allows for one or two jumps and a little noise
        if dependence(values, of_target) >= least and dependence(target, ranks) >= least:
            return f"and {self._called} determine each other, as a copy in another scale does"
        return None

    def _range_leak(self, codes: NDArray[np.int64], target: NDArray[np.float64]) -> str | None:
        """Reports a leak if each value of a column covers its own range of the target, next to the other ranges."""
        counts = np.bincount(codes)
        if not self._is_beyond_chance(codes, 1):
            return None
        if agreement_of_order(target, codes).kappa < MAX_AGREEMENT or not are_cuts(target, codes):
            return None
        return f"has a range of {self._called} for each of its {len(counts):,} values, as a coarser copy of it has"


def _at(values: Values, rows: NDArray[np.int64]) -> Values:
    return values.take(rows) if isinstance(values, DictionaryColumn) else values[rows]


def _codes_of(values: Values) -> NDArray[np.int64]:
    """Returns `(rows,)` codes from 0, the same for equal values; gaps have a code of their own."""
    cells = values.codes if isinstance(values, DictionaryColumn) else values
    return np.unique(cells, return_inverse=True)[1].astype(np.int64)


def _determines(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Returns True if rows that are equal in one column are equal in the other."""
    low = np.full(one.max() + 1, np.iinfo(np.int64).max)
    high = np.full(one.max() + 1, -1)
    np.minimum.at(low, one, other)
    np.maximum.at(high, one, other)
    return bool((low == high).all())


def _is_ordered_by(values: NDArray[np.float64], classes: NDArray[np.int64]) -> bool:
    """Returns True if each class has its own range of values."""
    ranges = sorted((values[classes == i].min(), values[classes == i].max()) for i in range(classes.max() + 1))
    return all(high < low for (_, high), (low, _) in itertools.pairwise(ranges))


def _is_counter(values: Values) -> bool:
    """Returns True if values grow in even steps, as row numbers and years do, which are known before the target."""
    if isinstance(values, DictionaryColumn):
        return False
    values = _as_numbers(values)
    step = values[1] - values[0]
    # The first rows of most columns already show that the steps differ.
    return all(step != 0 and np.allclose(np.diff(some), step, rtol=0.02, atol=0) for some in (values[:100], values))


def _inner_correlation(values: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Returns the correlation without the outermost hundredth of the rows, so that no single row can cause a leak."""
    far = np.abs(target - np.median(target))
    inner = far <= np.quantile(far, 0.99)
    return correlation(values[inner], target[inner]) if inner.sum() >= MIN_ROWS // 2 else 0.0


def _correlation_of_most(
    values: NDArray[np.float64], target: NDArray[np.float64], distances: NDArray[np.float64]
) -> float:
    """Returns the rank correlation without outliers: rows with the most unusual `distances` between the two ranks."""
    middle = np.abs(distances - np.median(distances))  # a few misplaced rows shift the ranks of all others
    kept = middle <= np.quantile(middle, _MOST_ROWS)
    return correlation(ranks_of(values[kept]), ranks_of(target[kept]))


def _as_numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    return values if values.dtype.kind == "f" else values.astype(np.int64).astype(np.float64)


def _is_common_trend(values: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
    """Returns True if two columns only share a trend over the rows, as two series over the same years do."""
    ranks = ranks_of(values)
    if abs(correlation(ranks, np.arange(len(ranks), dtype=np.float64))) < _TREND_CORRELATION:
        return False
    return abs(correlation(ranks_of(np.diff(values)), ranks_of(np.diff(target)))) < _SAME_STEPS
