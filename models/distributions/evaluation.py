"""The evaluation of a window: the change of each variable since training, and whether chance explains the change.

For each variable, the values are compared by bins (a chi-squared test of two samples), and the shares of gaps, of
unknown categories and of numbers outside the range of training by the beta-binomial distribution. Both allow for the
training part being a sample, too. Holm's method keeps the rate of false alarms of all tests together below
`FALSE_ALARMS`, and each change must also reach a least size, so that many rows do not make a trifle an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, DateColumn, NumericColumn
from models.distributions.distributions import CategoryCounts, Distributions
from models.distributions.row_counter import ABOVE, BELOW, GAPS, UNKNOWN, RowCounter, Variable
from models.distributions.tail_probabilities import beta_binomial_tail, chi_squared_limit, chi_squared_tail
from models.distributions.window import Window

FALSE_ALARMS = 0.001  # probability that anything is flagged in a window without drift
LEAST_PSI = 0.1  # least population stability index above the sampling noise; 0.1 is commonly called a small shift
LEAST_SHARE = 0.01  # least change of a share, of all rows
LEAST_ROWS = 200
_LEAST_EXPECTED = 5.0  # rows that a bin should have for the chi-squared test
_TOGETHER = 64  # variables of a short step
_LEAST_BLOCKS = 3  # blocks from which their variation can be told
_HALF = 0.5  # added to each count of the index, so that an empty bin has a finite logarithm

Verdict = Literal["drift", "no_drift", "too_few_rows", "unavailable"]
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of rows in training and in the window.

    Attributes:
        training: share in training; for a range and for unknown categories, the share to expect in rows like those.
        window: share in the window.
        p_value: probability of so large a share without drift.
    """

    training: float
    window: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Movement:
    """The change of one variable.

    Attributes:
        variable: column or prediction.
        training, window: share of each bin, `(bins,)`.
        psi: population stability index.
        noise: index to expect without drift, from the number of rows alone.
        threshold: index from which the variable is flagged; None if the bins cannot be tested.
        p_value: probability of such counts without drift; None if the bins were not tested.
        design_effect: number of rows that bring as much news as one independent row.
        shares: shares of `gaps`, `out_of_range` and `unknown`, where the variable can have them.
        reasons: names of the changes beyond chance: `values`, or names of shares.
    """

    variable: Variable
    training: Array
    window: Array
    psi: float
    noise: float
    threshold: float | None
    p_value: float | None
    design_effect: float
    shares: dict[str, Share] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def flagged(self) -> bool:
        """True if the variable moved beyond chance."""
        return bool(self.reasons)

    @property
    def is_judged(self) -> bool:
        """False for the elapsed time of dates, because time always moves on."""
        return not isinstance(self.variable.column, DateColumn)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The evaluation of one window.

    Attributes:
        window: counts of the rows.
        verdict: `drift`, `no_drift` or `too_few_rows`.
        movements: variables; flagged ones first, then by how far they moved; dates, which are not judged, last.
    """

    window: Window
    verdict: Verdict
    movements: tuple[Movement, ...]

    @property
    def flagged(self) -> tuple[Movement, ...]:
        """Variables that moved beyond chance."""
        return tuple(movement for movement in self.movements if movement.flagged)


def evaluate(counter: RowCounter, distributions: Distributions, window: Window) -> Generator[None, None, Evaluation]:
    """Evaluates a window in short steps, one variable each.

    Args:
        counter: counter with which the window was counted.
        distributions: distributions in training.
        window: snapshot of a window.
    """
    tests = 0
    for at, variable in enumerate(counter.variables):
        tests += _tests(variable)
        if not at % _TOGETHER:
            yield
    movements = []
    for variable in counter.variables:
        movements.append(_movement(variable, distributions.rows, window, tests))
        yield
    verdict: Verdict = "too_few_rows"
    if window.rows >= LEAST_ROWS:
        yield from _flag(movements)
        verdict = "drift" if any(movement.flagged for movement in movements) else "no_drift"
    yield
    movements.sort(key=lambda one: (not one.flagged, not one.is_judged, one.noise - one.psi))
    return Evaluation(window=window, verdict=verdict, movements=tuple(movements))


def population_stability_index(training: Array, window: Array) -> float:
    """Returns the population stability index of two vectors of counts, with half a row added to each bin."""
    p = (training + _HALF) / (training.sum() + _HALF * len(training))
    q = (window + _HALF) / (window.sum() + _HALF * len(window))
    return float(((q - p) * np.log(q / p)).sum())


def design_effect(counts: Array, squares: Array, rows: float, blocks: Sequence[int]) -> float:
    """Returns how many rows bring as much news as one independent row, from the variation between blocks.

    For each length of blocks, this is the chi-squared statistic of the blocks against their sum, divided by its degrees
    of freedom. The largest one counts, and at least 1.

    Args:
        counts: `(bins,)` counts.
        squares: `(lengths, bins)` sums over blocks of the squared count divided by the rows of the block.
        rows: number of rows in all blocks.
        blocks: number of blocks of each length.
    """
    shares = counts / rows
    some = (shares > 0) & (shares < 1)
    effect = 1.0
    for sums, number in zip(squares, blocks, strict=True):
        if number < _LEAST_BLOCKS or not some.any():
            continue
        between = sums[some] - counts[some] ** 2 / rows
        # One count stands for two bins: cells that are counted, and cells that are not.
        shares_left = shares[some] * (1 - shares[some]) if len(counts) == 1 else shares[some]
        degrees = (number - 1) * max(1, int(some.sum()) - 1)
        effect = max(effect, float((between / shares_left).sum()) / degrees)
    return effect


def two_sample_statistic(training: Array, window: Array) -> float:
    """Returns the chi-squared statistic of two vectors of counts, none of whose bins is empty in both."""
    m, n = training.sum(), window.sum()
    return float(((math.sqrt(m / n) * window - math.sqrt(n / m) * training) ** 2 / (window + training)).sum())


def _tests(variable: Variable) -> int:
    """Returns the number of tests of a variable."""
    column = variable.column
    is_tested = not isinstance(column, DateColumn) and variable.bins > 1
    return is_tested + _may_have_gaps(variable) + _may_be_unknown(variable) + _has_range(variable)


def _may_have_gaps(variable: Variable) -> bool:
    column = variable.column
    if isinstance(column, CategoricalColumn):
        return column.missing == "ignore" and column.fill is None
    return column is not None and column.missing != "refuse"


def _may_be_unknown(variable: Variable) -> bool:
    return isinstance(variable.column, CategoricalColumn) and variable.column.unknown == "ignore"


def _has_range(variable: Variable) -> bool:
    return isinstance(variable.column, NumericColumn) and variable.column.minimum is not None


def _movement(variable: Variable, training_rows: int, window: Window, tests: int) -> Movement:
    """Compares one variable."""
    bins = slice(variable.start, variable.end)
    counts, squares = window.counts[bins], window.squares[:, bins]
    training = np.array(variable.counts.counts, dtype=np.float64)
    effect = 1.0
    psi = noise = 0.0
    threshold = p_value = None
    n, m = float(counts.sum()), float(training.sum())
    if n and m and len(counts) > 1:
        effect = design_effect(counts, squares, window.rows, window.blocks)
        news = n / effect
        psi = population_stability_index(training, counts)
        noise = (len(counts) - 1) * (1 / news + 1 / m)
        ours, theirs = _pooled(counts / effect, training, isinstance(variable.counts, CategoryCounts))
        if len(ours) > 1:
            p_value = chi_squared_tail(two_sample_statistic(theirs, ours), len(ours) - 1)
            limit = chi_squared_limit(FALSE_ALARMS / tests, len(ours) - 1)
            threshold = max(noise + LEAST_PSI, limit * (1 / news + 1 / m))
    return Movement(
        variable=variable,
        training=training / max(m, 1),
        window=counts / max(n, 1),
        psi=psi,
        noise=noise,
        threshold=threshold if not isinstance(variable.column, DateColumn) else None,
        p_value=p_value,
        design_effect=effect,
        shares=_shares(variable, training_rows, window),
    )


def _pooled(counts: Array, training: Array, is_unordered: bool) -> tuple[Array, Array]:
    """Joins bins in which one of the samples has too few rows for the chi-squared test."""
    n, m = counts.sum(), training.sum()
    expected = (counts + training) / (n + m) * min(n, m)
    order = np.argsort(expected) if is_unordered else np.arange(len(counts))
    ours, theirs, sums = [0.0], [0.0], [0.0]
    for at in order.tolist():
        ours[-1] += counts[at]
        theirs[-1] += training[at]
        sums[-1] += expected[at]
        if sums[-1] >= _LEAST_EXPECTED:
            ours.append(0.0)
            theirs.append(0.0)
            sums.append(0.0)
    rest = ours.pop(), theirs.pop()
    if ours:
        ours[-1] += rest[0]
        theirs[-1] += rest[1]
    return np.array(ours), np.array(theirs)


def _shares(variable: Variable, training_rows: int, window: Window) -> dict[str, Share]:
    """Compares the shares of gaps, of unknown categories and of numbers outside the range."""
    shares = {}
    counts = variable.counts
    measured = sum(counts.counts) + counts.gaps
    if _may_have_gaps(variable):
        shares["gaps"] = _share(window, [variable.end + GAPS], counts.gaps, measured)
    if _may_be_unknown(variable) and isinstance(counts, CategoryCounts):
        # Singletons are those of all rows of training, and the counts may be those of a sample.
        known = round(training_rows * (1 - counts.gaps / max(measured, 1)))
        shares["unknown"] = _share(window, [variable.end + UNKNOWN], counts.singletons, known)
    if _has_range(variable):
        # The two ends of m values leave out a share of Beta(2, m - 1) of the values to come.
        places = [variable.end + BELOW, variable.end + ABOVE]
        share = _share(window, places, 1, training_rows - 1)
        shares["out_of_range"] = replace(share, training=2 / (training_rows + 1))
    return shares


def _share(window: Window, slots: list[int], before: int, of: int) -> Share:
    """Compares one share.

    Args:
        window: counts of the rows.
        slots: slots whose sum is the number of cells.
        before: number of such cells in training.
        of: number of cells in training.
    """
    rows = max(window.rows, 1)
    counts, squares = window.counts[slots], window.squares[:, slots]
    total = float(counts.sum())
    each = [slice(i, i + 1) for i in range(len(slots))]
    effect = max(design_effect(counts[one], squares[:, one], rows, window.blocks) for one in each)
    p_value = beta_binomial_tail(total / effect, rows / effect, before + 1, max(of - before, 0) + 1)
    return Share(training=before / max(of, 1), window=total / rows, p_value=p_value)


def _flag(movements: list[Movement]) -> Iterator[None]:
    """Gives movements that pass Holm's method and are large enough their reasons, in short steps."""
    found: list[tuple[float, int, str, bool]] = []
    for at, movement in enumerate(movements):
        if movement.p_value is not None and movement.is_judged:
            large = movement.psi - movement.noise >= LEAST_PSI
            found.append((movement.p_value, at, "values", large))
        for name, share in movement.shares.items():
            found.append((share.p_value, at, name, share.window - share.training >= LEAST_SHARE))
        if not at % _TOGETHER:
            yield
    found.sort(key=lambda one: one[0])
    reasons: dict[int, list[str]] = {}
    for rank, (p_value, at, reason, large) in enumerate(found):
        if p_value * (len(found) - rank) > FALSE_ALARMS:
            break
        if large:
            reasons.setdefault(at, []).append(reason)
    for at, names in reasons.items():
        movements[at] = replace(movements[at], reasons=tuple(names))
