"""Thresholds have the ranks of theory, cover what theory says, and are nested by level."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.conformal import MOST_SCORES, Conformal, bounds_of, check_level, sets_of, threshold_of
from models.errors import ConfigError, DataError

LEVELS = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)
ERRORS = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60)


def of_errors(errors: Any) -> Conformal:
    found = Conformal.of_values(np.zeros(len(errors)), np.asarray(errors))
    assert found is not None
    return found


@given(ERRORS, LEVELS)
def test_a_threshold_has_the_rank_of_theory(errors: list[float], level: float) -> None:
    conformal = of_errors(errors)
    rank = math.ceil((len(errors) + 1) * Fraction(str(level)))
    if rank > len(errors):
        with pytest.raises(ConfigError, match="calibration rows support levels up to"):
            conformal.threshold(level)
        return
    # Scores are rounded upwards to six digits, so the row of this rank is covered, and the one after it is not if it is
    # clearly larger.
    exact = sorted(errors)[rank - 1]
    assert exact <= conformal.threshold(level) <= exact * 1.00002


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [9, 37])
def test_new_rows_are_covered_as_often_as_theory_says(n: int, level: float) -> None:
    # The coverage of exchangeable rows without ties is ⌈(n + 1) · level⌉ / (n + 1), whatever the distribution.
    rng = np.random.default_rng(0)
    trials = 2_000
    truth = rng.standard_t(2, size=(trials, n + 1))
    covered = 0
    for values in truth:
        low, high = bounds_of(np.zeros(1), of_errors(values[:n]).threshold(level))[0]
        covered += low <= values[n] <= high
    expected = math.ceil((n + 1) * Fraction(str(level))) / (n + 1)
    assert abs(covered / trials - expected) < 4 * math.sqrt(expected * (1 - expected) / trials)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_sets_contain_the_class_as_often_as_theory_says(level: float) -> None:
    rng = np.random.default_rng(1)
    trials, n, classes = 1_500, 39, 4
    probabilities = rng.dirichlet(np.full(classes, 0.7), size=(trials, n + 1)).astype(np.float32)
    # The model is wrong about the classes: the guarantee does not need a good model.
    truth = (probabilities**0.3 * rng.gumbel(5, 1, size=probabilities.shape)).argmax(axis=2)
    covered = 0
    for of_rows, classes_of_rows in zip(probabilities, truth, strict=True):
        conformal = Conformal.of_classes(of_rows[:n], classes_of_rows[:n])
        assert conformal is not None
        covered += bool(sets_of(of_rows[n:], conformal.threshold(level))[0, classes_of_rows[n]])
    least = math.ceil((n + 1) * Fraction(str(level))) / (n + 1)
    assert covered / trials > least - 4 * math.sqrt(least * (1 - least) / trials)


@given(ERRORS, LEVELS, LEVELS)
def test_a_higher_level_has_no_narrower_interval(errors: list[float], one: float, other: float) -> None:
    conformal = of_errors(errors)
    low, high = sorted((one, other))
    if high < conformal.highest_level:
        narrow, wide = (bounds_of(np.array([1.5]), conformal.threshold(level))[0] for level in (low, high))
        assert wide[0] <= narrow[0] <= 1.5 <= narrow[1] <= wide[1]


@given(st.integers(0, 2**32 - 1), LEVELS, LEVELS)
def test_sets_are_nested_by_level_and_never_empty(seed: int, one: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(5, 0.3), size=40).astype(np.float32)
    conformal = Conformal.of_classes(probabilities, rng.integers(0, 5, size=40))
    assert conformal is not None
    small, large = (sets_of(probabilities, conformal.threshold(min(level, 0.97))) for level in sorted((one, other)))
    assert not (small & ~large).any()
    assert small[np.arange(40), probabilities.argmax(axis=1)].all()


@pytest.mark.parametrize("rows", [MOST_SCORES, MOST_SCORES + 1, 12_345, 100_000])
def test_few_scores_of_many_rows_cover_no_less_and_hardly_more(rows: int) -> None:
    errors = np.random.default_rng(2).exponential(size=rows)
    conformal = of_errors(errors)
    assert len(conformal.scores) == MOST_SCORES
    for level in (0.001, 0.5, 0.9, 0.95, 0.999, rows / (rows + 1)):
        covered = (errors <= conformal.threshold(level)).mean()
        assert level <= covered <= level + 2 / MOST_SCORES


def test_a_model_without_usable_rows_has_no_scores() -> None:
    nothing = np.zeros(0)
    assert Conformal.of_values(nothing, nothing) is None
    assert Conformal.of_values(np.array([np.inf]), np.array([1.0])) is None
    with pytest.raises(ConfigError, match="iris@1 has no calibration rows"):
        threshold_of(None, 0.9, "iris@1")


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, math.nan, math.inf, True, "0.9", None])
def test_what_is_no_level_is_refused(level: Any) -> None:
    with pytest.raises(ConfigError, match="must be a level between 0 and 1"):
        check_level(level)


def test_bounds_stay_finite_and_keep_the_type_of_the_values() -> None:
    for kind in (np.float32, np.float64):
        bounds = bounds_of(np.array([np.finfo(kind).max], dtype=kind), 1e38)
        assert bounds.dtype == kind
        assert np.isfinite(bounds).all()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "not an object"),
        ({"scores": [1]}, "no number of rows"),
        ({"rows": True, "scores": [1]}, "no number of rows"),
        ({"rows": 0, "scores": []}, "no number of rows"),
        ({"rows": 1, "scores": ["1"]}, "no list of scores"),
        ({"rows": 1, "scores": [True]}, "no list of scores"),
        ({"rows": 2, "scores": [1]}, "has 1 scores, and 2 rows have 2"),
        ({"rows": 10**12, "scores": [1]}, "have 1,000"),
        ({"rows": 10**30, "scores": [1]}, "no number of rows"),
        ({"rows": 1, "scores": [10**400]}, "no float64 holds"),
        ({"rows": 2, "scores": [2, 1]}, "ascending"),
        ({"rows": 2, "scores": [-1, 1]}, "ascending"),
    ],
)
def test_a_damaged_section_is_refused(raw: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Conformal.from_dict(raw)


@given(ERRORS)
def test_a_section_is_read_as_it_was_written(errors: list[float]) -> None:
    conformal = of_errors(errors)
    again = Conformal.from_dict(conformal.to_dict())
    assert (again.rows, again.scores.tolist()) == (conformal.rows, conformal.scores.tolist())
