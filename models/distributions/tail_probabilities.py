"""Tail probabilities of the chi-squared and the beta-binomial distribution, without SciPy, which serving does not need.

The tests compare them with SciPy's.
"""

from __future__ import annotations

import math
from functools import lru_cache

_MOST_TERMS = 10_000
_SMALL = 1e-14  # relative size of a term that changes nothing


def chi_squared_tail(statistic: float, degrees: int) -> float:
    """Returns the probability that a chi-squared variable is `statistic` or more.

    Args:
        statistic: observed value, 0 or more.
        degrees: degrees of freedom, 1 or more.
    """
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:  # the series of the lower incomplete gamma function
        term = total = 1 / a
        for n in range(1, _MOST_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _SMALL:
                break
        return max(0.0, 1 - total * scale)
    return scale * _fraction(a, x)


def _fraction(a: float, x: float) -> float:
    """Returns the continued fraction of the upper incomplete gamma function, by Lentz's method."""
    b = x + 1 - a
    c, d = 1e300, 1 / b
    value = d
    for n in range(1, _MOST_TERMS):
        step = -n * (n - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        value *= c * d
        if abs(c * d - 1) < _SMALL:
            break
    return value


@lru_cache(maxsize=4096)
def chi_squared_limit(probability: float, degrees: int) -> float:
    """Returns the value that a chi-squared variable exceeds with a probability."""
    low, high = 0.0, degrees + 10.0
    while chi_squared_tail(high, degrees) > probability:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if chi_squared_tail(middle, degrees) > probability else (low, middle)
    return high


def beta_binomial_tail(count: float, trials: float, a: float, b: float) -> float:
    """Returns the probability of `count` or more successes, if the rate of success is Beta(a, b).

    Args:
        count: observed successes; a fraction is rounded down.
        trials: number of trials; a fraction is rounded up.
        a: first parameter, 1 more than the successes of an earlier sample for a uniform prior.
        b: second parameter, 1 more than the failures of that sample.
    """
    n = math.ceil(trials)
    k = min(math.floor(count), n)
    if k <= n * a / (a + b):  # not more than expected: nothing to detect
        return 1.0
    term = math.exp(
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + _log_beta(k + a, n - k + b) - _log_beta(a, b)
    )
    total = term
    for i in range(k, n):
        term *= (n - i) / (i + 1) * (i + a) / (n - i - 1 + b)
        total += term
        if term < total * _SMALL:
            break
    return min(1.0, total)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
