"""Measurements of batches, and the estimates of later ones."""

from __future__ import annotations

import pytest

from service.batching.service_time import FIRST_BATCH_ROWS, ServiceTimeEstimate


def test_nothing_is_known_before_a_batch_that_tells_something() -> None:
    pace = ServiceTimeEstimate()
    pace.observe(1, 10.0)
    assert pace.seconds_for(1_000_000) == 0
    assert pace.batch_rows == FIRST_BATCH_ROWS


def test_rows_take_as_long_as_they_took() -> None:
    pace = ServiceTimeEstimate()
    for _ in range(50):
        pace.observe(1000, 0.5)
    assert pace.seconds_for(4000) == pytest.approx(2.0)
    assert pace.batch_rows == 100, "a batch takes 50 ms"


def test_the_newest_batches_count_most() -> None:
    pace = ServiceTimeEstimate()
    pace.observe(1000, 10.0)
    for _ in range(30):
        pace.observe(1000, 0.1)
    assert pace.seconds_for(1000) == pytest.approx(0.1, rel=0.05)


def test_a_slow_model_still_gets_batches() -> None:
    pace = ServiceTimeEstimate()
    pace.observe(100, 100.0)
    assert pace.batch_rows == 64


def test_a_stall_is_forgotten_under_light_load_too() -> None:
    pace = ServiceTimeEstimate()
    pace.observe(16, 8.0)
    for _ in range(50):
        pace.observe(4, 0.002)
    assert pace.seconds_for(4) == pytest.approx(0.002, rel=0.01)
