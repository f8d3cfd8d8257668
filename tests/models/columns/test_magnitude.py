"""A check of magnitudes is exact at the limit, by a product and by a maximum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns.column import FLOAT32_LIMIT
from models.columns.magnitude import are_below

LIMITS = (2.0**53, FLOAT32_LIMIT)
NEAR = [
    sign * x for limit in LIMITS for x in (limit, np.nextafter(limit, 0), limit * 0.99, limit * 2) for sign in (1, -1)
]


@given(st.lists(st.one_of(st.floats(), st.sampled_from(NEAR)), min_size=1, max_size=9), st.sampled_from(LIMITS))
def test_each_number_is_compared(numbers: list[float], limit: float) -> None:
    assert are_below(np.array([numbers]), limit) == all(abs(number) < limit for number in numbers)


@given(st.lists(st.floats(width=32), min_size=1, max_size=9))
def test_numbers_of_32_bits_are_compared(numbers: list[float]) -> None:
    assert are_below(np.array(numbers, np.float32), FLOAT32_LIMIT) == all(np.isfinite(numbers))


@pytest.mark.parametrize("size", [1, 4096, 4097, 100_000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**53, -(2.0**53), 1e300])
def test_one_number_among_many_is_found(size: int, value: float) -> None:
    numbers = np.full(size, -1.0)
    assert are_below(numbers, 2.0**53)
    numbers[size // 2] = value
    assert not are_below(numbers, 2.0**53)


def test_whole_numbers_are_compared() -> None:
    assert are_below(np.array([2**53 - 1, -5]), 2.0**53)
    assert not are_below(np.array([2**53, -5]), 2.0**53)
