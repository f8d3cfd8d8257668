"""An extreme value does not move robust statistics and gets a note; values of a heavy tail are not extreme."""

import numpy as np
import pyarrow as pa
import pytest
from raw_tables import read

from models.errors import DataError
from training.data.extremes import find_extremes, find_fill_value
from training.data.preprocessing import fit_schema
from training.data.training_table import TrainingTable

ROWS = 1_500


def bulk(rows=ROWS):
    return np.random.default_rng(0).normal(10, 5, rows).round(3)


def with_value(value, count):
    values = bulk()
    values[np.random.default_rng(1).choice(ROWS, count, replace=False)] = value
    return values


def robust(values):
    target = np.arange(len(values)) % 2
    table = TrainingTable(name="t", features={"x": values}, target_name="y", labels=("a", "b"), target=target)
    return fit_schema(table, np.arange(len(values)), scaling="robust").columns[0]


@pytest.mark.parametrize("count", [1, 200, 600])
@pytest.mark.parametrize("value", [1e20, 9.96921e36, -9999.0, 9999.0, -999.0, 99999.0, 3.4028234663852886e38])
def test_robust_statistics_are_those_of_the_other_values(value, count):
    values = with_value(value, count)
    others = values[values != value]
    low, center, high = np.quantile(others, (0.25, 0.5, 0.75))
    column = robust(values)
    assert (column.center, column.scale) == (center, high - low)
    assert value in (column.minimum, column.maximum)
    assert find_extremes(values).values == (value,)


@pytest.mark.parametrize("apart", [(-9999.0, 9999.0), (-9999.0, -9998.0), (1e20, -9999.0), (1e20, 9.96921e36)])
def test_two_values_apart_do_not_hide_each_other(apart):
    values = bulk()
    values[:3], values[3:6] = apart
    assert set(find_extremes(values).values) == set(apart)
    assert robust(values).scale < 10


@pytest.mark.parametrize("value", [12_187.0, -5_000.0])
def test_a_slip_of_the_decimal_point_is_found(value):
    assert find_extremes(with_value(value, 1)).values == (value,)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=ROWS),
        lambda rng: rng.lognormal(0, 2, ROWS),
        lambda rng: rng.pareto(2, ROWS),
        lambda rng: rng.exponential(size=ROWS),
        lambda rng: rng.poisson(0.3, ROWS).astype(float),
        lambda rng: np.where(rng.random(ROWS) < 0.8, 0, rng.gamma(2, 50, ROWS)),
        lambda rng: rng.integers(0, 2, ROWS).astype(float),
        lambda rng: rng.choice([1.0, 10, 100, 1000, 1e4, 1e5], ROWS),
        lambda rng: 10.0 ** rng.integers(-3, 9, ROWS),
        lambda rng: rng.choice([0.0, 5.0], ROWS, p=[0.99, 0.01]),
        lambda rng: rng.integers(0, 100, ROWS).astype(float),
        lambda rng: np.arange(ROWS, dtype=float),
        lambda rng: np.full(ROWS, 9999.0),
        lambda rng: np.r_[rng.normal(size=ROWS // 2), rng.normal(50, 1, ROWS // 2)],
        lambda rng: rng.choice([-1.0, *range(1, 28)], ROWS),
    ],
)
def test_ordinary_columns_have_no_value_apart(draw):
    for seed in range(10):
        assert find_extremes(draw(np.random.default_rng(seed))) is None


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        (np.r_[np.arange(5_000.0), -99], -99),
        (np.r_[np.arange(50.0), -9, -9], -9),
        (np.r_[np.arange(-2_000.0, 2_000.0), [-999.0] * 30], -999),
        (np.r_[np.arange(50.0), -9], None),
        (np.arange(-2_000.0, 2_000.0), None),
        (np.r_[np.arange(50.0), -1, -1], None),
        (np.repeat(np.arange(90.0, 110.0), 50), None),
    ],
)
def test_a_fill_value_among_others_is_told_where_it_shows(values, fill):
    assert find_extremes(values) is None
    assert find_fill_value(values) == fill
    table = read({"x": values, "y": ["a", "b"] * (len(values) // 2) + ["a"] * (len(values) % 2)})
    assert any("--missing-values" in note for note in table.notes) == (fill is not None)


def test_a_long_column_is_told_by_a_sample_and_its_ends():
    values = bulk(50_000)
    assert find_extremes(values) is None
    values[49_123] = 1e20
    assert find_extremes(values).values == (1e20,)
    values[[3, 77, 30_000]] = -9999
    assert find_extremes(values).values == (-9999, 1e20)


@pytest.mark.parametrize("count", [1, 2])
def test_a_value_apart_is_noted_with_the_option_that_makes_it_missing(count):
    values = with_value(-9999.0, count)
    table = read({"x": values, "y": ["a", "b"] * (ROWS // 2)})
    (note,) = table.notes
    where = f"at row {int((values == -9999).argmax())} (counting from 0)" if count == 1 else "in 2 cells"
    assert note.startswith(f"Column 'x' holds -9999 {where}, far from all its other values")
    assert note.endswith("(--missing-values x=-9999).")


def test_a_value_apart_in_the_target_is_noted():
    table = read({"x": bulk(), "y": with_value(-9999.0, 1)})
    assert table.notes[0].endswith("(--missing-values y=-9999 --drop-missing-target).")


def test_a_target_in_which_one_value_makes_the_others_equal_is_refused():
    with pytest.raises(DataError, match=r"target 'y' .* holds 1e\+20 at row .*\(--missing-values y=1e\+20 --drop-miss"):
        read({"x": bulk(), "y": with_value(1e20, 1)})


def test_a_steep_spread_of_sizes_keeps_its_quartiles():
    """Checks ever larger values: no single one is far from all others, and their range is not that of most values."""
    values = np.concatenate((bulk(), 10.0 ** np.arange(4, 25)))
    low, high = np.quantile(bulk(), (0.25, 0.75))
    assert robust(values).scale == pytest.approx(high - low, rel=0.05)


def test_a_typed_column_of_whole_numbers_has_extremes_too():
    table = read({"x": pa.array([*range(100), 2**31 - 1] * 2), "y": ["a", "b"] * 101})
    assert "--missing-values x=2147483647" in table.notes[0]
