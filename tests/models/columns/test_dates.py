"""Dates as numbers, against Python's own calendar."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.columns.dates import (
    CIRCLES,
    FIRST_DAY,
    LAST_DAY,
    PARTS,
    are_dates,
    circle_points,
    days_since_1970,
    elapsed_days,
    iso,
    parse,
    part_values,
)

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))


@given(st.lists(moments, min_size=1, max_size=10))
@example([datetime(1, 1, 1), datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2000, 2, 29)])
@example([datetime(9999, 12, 31, 23, 59, 59, 999_999)])
def test_arrays_and_single_moments_have_the_same_days_and_parts(several):
    values = np.array(several, dtype="datetime64[us]")
    assert are_dates(values).all()
    days = elapsed_days(values)
    assert days.tolist() == [days_since_1970(moment) for moment in several]
    since = [(moment - datetime(1970, 1, 1)) / timedelta(days=1) for moment in several]
    np.testing.assert_allclose(days, since, rtol=1e-15)
    assert (days >= FIRST_DAY).all()
    assert (days <= LAST_DAY).all()
    expected = {
        "month": [moment.month - 1 for moment in several],
        "day": [moment.day - 1 for moment in several],
        "weekday": [moment.isoweekday() - 1 for moment in several],
        "hour": [moment.hour for moment in several],
    }
    assert {part: part_values(part, values).tolist() for part in PARTS} == expected


@given(moments.map(lambda moment: moment.replace(microsecond=0)))
@example(datetime(1, 1, 1))
def test_a_moment_comes_back_from_its_text(moment):
    text = iso(days_since_1970(moment))
    assert text == moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
    assert parse(text) == moment


def test_the_last_day_is_written_as_the_last_second_before_it():
    assert iso(LAST_DAY) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_goes_once_round_the_circle_in_equal_steps(part):
    points = np.array(CIRCLES[part])
    assert len(points) == {"month": 12, "day": 31, "weekday": 7, "hour": 24}[part]
    np.testing.assert_allclose(np.hypot(*points.T), 1, atol=1e-8)
    steps = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)  # also from the last to the first
    np.testing.assert_allclose(steps, 2 * np.sin(np.pi / len(points)), atol=1e-8)
    assert points[0].tolist() == [0, 1]


def test_what_is_no_time_is_nowhere():
    values = np.array(["NaT", "2024-05-31T06:00"], dtype="datetime64[us]")
    assert are_dates(values).tolist() == [False, True]
    assert np.isnan(elapsed_days(values)).tolist() == [True, False]
    assert circle_points("hour", values).tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
def test_any_unit_of_time_is_the_same_day(unit):
    values = np.array(["2024-05-31", "1969-12-31"], dtype=f"datetime64[{unit}]")
    assert elapsed_days(values).tolist() == [19_874, -1]
