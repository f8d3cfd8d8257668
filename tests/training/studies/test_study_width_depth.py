"""The closed form gives the parameters, the clock the times, and accuracy grows with the width."""

import itertools

import pytest

from models.errors import ConfigError
from training.studies import width_depth


@pytest.fixture(scope="module")
def result():
    ticks = itertools.count()
    return width_depth.run(quick=True, clock=lambda: 1e-6 * 7 * next(ticks))


def test_parameters_are_counted_by_hand(result):
    for shape in result.shapes:
        w, d = shape.width, shape.depth
        assert shape.parameters == shape.stored == 65 * w + (d - 1) * (w + 1) * w + (w + 1) * 10


def test_width_buys_accuracy(result):
    assert result.holds
    assert result.at(32, 1).accuracy > 0.8 > result.at(2, 1).accuracy


def test_times_are_the_fastest_of_the_clock(result):
    for shape in result.shapes:
        assert shape.row_microseconds == pytest.approx(7)
        assert shape.batch_microseconds == pytest.approx(7)


@pytest.mark.parametrize("wrong", [{"widths": (0, 4)}, {"depths": (2,)}, {"depths": (1, 99)}])
def test_a_grid_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        width_depth.run(**wrong)
