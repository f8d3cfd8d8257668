"""Tail probabilities, compared with SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom, chi2

from models.distributions.tail_probabilities import beta_binomial_tail, chi_squared_limit, chi_squared_tail


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 19, 20, 100])
def test_the_chi_squared_tail_is_scipys(degrees: int) -> None:
    for statistic in (0.0, 0.01, 0.5, 1, 3, degrees, degrees + 1, 2 * degrees, 50, 200, 900):
        assert chi_squared_tail(statistic, degrees) == pytest.approx(chi2.sf(statistic, degrees), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("degrees", [1, 4, 19])
@pytest.mark.parametrize("probability", [0.5, 1e-3, 1e-5, 1e-9])
def test_the_limit_is_scipys(probability: float, degrees: int) -> None:
    assert chi_squared_limit(probability, degrees) == pytest.approx(chi2.isf(probability, degrees), rel=1e-5)


@pytest.mark.parametrize(("trials", "a", "b"), [(2000, 1, 1000), (2000, 2, 500), (200, 40, 3000), (5, 1, 1)])
def test_the_beta_binomial_tail_is_scipys(trials: int, a: float, b: float) -> None:
    for count in sorted({0, 1, 2, 5, min(17, trials), min(40, trials), trials // 2, trials}):
        if count > trials * a / (a + b):
            # Not SciPy's `sf`, which is 1 minus the other tail, and so not precise where that is nearly 1.
            expected = betabinom.pmf(np.arange(count, trials + 1), trials, a, b).sum()
            assert beta_binomial_tail(count, trials, a, b) == pytest.approx(expected, rel=1e-6, abs=1e-280)
        else:
            assert beta_binomial_tail(count, trials, a, b) == 1.0
