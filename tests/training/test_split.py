"""A split assigns each row once, keeps the classes' shares, and is the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
from training.commands import options
from training.data.class_balance import class_balance
from training.data.column_choices import ColumnChoices
from training.data.split import MIN_CLASS_ROWS, MIN_REGRESSION_ROWS, PARTS, Split, check_shares, split_rows
from training.data.training_table import TrainingTable

SHARES = (0.7, 0.15, 0.15)


def classes(counts):
    target = np.repeat(np.arange(len(counts)), counts)
    labels = tuple(f"c{i}" for i in range(len(counts)))
    return TrainingTable(name="t", features={"x": np.zeros(len(target))}, target_name="y", labels=labels, target=target)


def values(rows):
    target = np.linspace(0, 1, rows)
    return TrainingTable(name="t", features={"x": target}, target_name="y", labels=(), target=target)


def grouped(groups, target=None, **more):
    """Makes rows of these groups, for a regression unless a target of classes is given."""
    target = np.linspace(0, 1, len(groups)) if target is None else np.asarray(target)
    labels = tuple(f"c{i}" for i in range(target.max() + 1)) if target.dtype.kind == "i" else ()
    return TrainingTable(
        name="t",
        features={"x": np.zeros(len(target))},
        target_name="y",
        labels=labels,
        target=target,
        choices=ColumnChoices(group="g"),
        group=np.asarray(groups, dtype=np.int32),
        **more,
    )


def timed(times, **more):
    target = np.linspace(0, 1, len(times))
    return TrainingTable(
        name="t",
        features={"x": target},
        target_name="y",
        labels=(),
        target=target,
        choices=ColumnChoices(time="when"),
        time=np.asarray(times),
        **more,
    )


def parts_of(split):
    return [getattr(split, part) for part in PARTS]


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.lists(st.integers(MIN_CLASS_ROWS, 60), min_size=2, max_size=12), st.integers(0, 9))
def test_every_row_is_in_one_part_and_every_class_in_every_part(counts, seed):
    table = classes(counts)
    split = split_rows(table, SHARES, rng=rng(seed))
    together = np.concatenate([getattr(split, part) for part in PARTS])
    assert sorted(together) == list(range(table.rows))
    for part in PARTS:
        assert set(table.target[getattr(split, part)]) == set(range(len(counts)))


def test_classes_keep_their_shares():
    table = classes([100, 40])
    split = split_rows(table, SHARES, rng=rng())
    assert split.sizes() == {"train": 98, "validation": 21, "test": 21}
    assert np.bincount(table.target[split.train]).tolist() == [70, 28]


def test_rounding_evens_out_over_many_classes():
    sizes = split_rows(classes([10] * 20), SHARES, rng=rng()).sizes()
    assert sizes == {"train": 140, "validation": 30, "test": 30}


@given(st.integers(MIN_REGRESSION_ROWS, 300))
def test_a_regression_is_split_in_the_shares(rows):
    split = split_rows(values(rows), SHARES, rng=rng())
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(rows))
    assert abs(len(split.test) - 0.15 * rows) <= 1


def test_the_seed_decides():
    first, again, other = (split_rows(classes([30, 30]), SHARES, rng=rng(seed)) for seed in (1, 1, 2))
    assert (first.train == again.train).all()
    assert (first.train != other.train).any()


def test_the_training_part_is_not_in_the_order_of_the_table():
    train = split_rows(classes([50, 50]), SHARES, rng=rng()).train
    assert (np.diff(train) < 0).any()


def test_a_truth_table_is_used_whole():
    assert Split.whole(4).sizes() == {"train": 4, "validation": 4, "test": 4}


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match=r"class 'c1' of target 'y' has 2 rows, and needs 3"):
        split_rows(classes([20, 2]), SHARES, rng=rng())
    with pytest.raises(DataError, match="9 rows are too few"):
        split_rows(values(9), SHARES, rng=rng())


@pytest.mark.parametrize("shares", [(0.7, 0.3), (1, 0, 0), (0.5, 0.5, 0.5), (0.8, 0.4, -0.2), "abc", (True, 0.5, 0.5)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ConfigError, match="split"):
        check_shares(shares)


def test_shares_of_the_command_line_are_fractions_or_percent():
    assert options.shares("70/15/15") == options.shares("0.7/0.15/0.15") == (0.7, 0.15, 0.15)
    assert options.shares("none") is None
    with pytest.raises(ConfigError, match=r"must add up to 1, got \(0\.8, 0\.1, 0\.2\)"):
        check_shares(options.shares("0.8/0.1/0.2"))


class TestGroups:
    @given(st.lists(st.integers(0, 12), min_size=20, max_size=300), st.integers(0, 9))
    def test_no_group_is_in_two_parts_and_no_part_is_empty(self, groups, seed):
        assume(len(set(groups)) >= 3)
        table = grouped(groups)
        split = split_rows(table, SHARES, rng=rng(seed))
        assert split.by == "group"
        assert sorted(np.concatenate(parts_of(split))) == list(range(table.rows))
        inside = [set(table.group[part]) for part in parts_of(split)]
        assert all(inside)
        assert sum(map(len, inside)) == len(set(groups))

    def test_many_groups_come_near_to_the_shares_for_every_class(self):
        source = rng(3)
        groups = source.integers(0, 300, 6000)
        classes = (source.random(6000) < 0.1).astype(np.int64)
        split = split_rows(grouped(groups, classes), SHARES, rng=rng())
        for share, part in zip(SHARES, parts_of(split), strict=True):
            assert abs(len(part) / 6000 - share) < 0.01
            assert abs((classes[part] == 1).sum() / (classes == 1).sum() - share) < 0.02

    def test_the_seed_decides_which_groups(self):
        table = grouped(np.repeat(np.arange(40), 5))
        first, again, other = (split_rows(table, SHARES, rng=rng(seed)) for seed in (1, 1, 2))
        assert (first.test == again.test).all()
        assert set(first.test) != set(other.test)

    def test_too_few_groups_and_a_class_that_training_lacks_are_refused(self):
        with pytest.raises(DataError, match="column 'g' has 2 groups, and a split needs 3"):
            split_rows(grouped([0] * 10 + [1] * 10), SHARES, rng=rng())
        # Three groups, one for each part, and each with its own class: two of the classes cannot be learned.
        with pytest.raises(DataError, match=r"split by group gives to train with have no row of class 'c\d', 'c\d'"):
            split_rows(grouped(np.repeat([0, 1, 2], 10), np.repeat([0, 1, 2], 10)), SHARES, rng=rng())


class TestTimes:
    @given(st.lists(st.integers(0, 40), min_size=10, max_size=200), st.integers(0, 5))
    def test_parts_follow_one_another_and_one_moment_is_in_one_part(self, times, seed):
        assume(len(set(times)) >= 3)
        table = timed(np.array(times, dtype=np.float64))
        split = split_rows(table, SHARES, rng=rng(seed))
        assert split.by == "time"
        assert sorted(np.concatenate(parts_of(split))) == list(range(table.rows))
        train, validation, test = (table.time[part] for part in parts_of(split))
        assert train.max() < validation.min()
        assert validation.max() < test.min()

    def test_different_moments_are_split_in_the_shares(self):
        days = np.datetime64("2024-01-01", "us") + rng().permutation(200) * np.timedelta64(1, "D")
        assert split_rows(timed(days), SHARES, rng=rng()).sizes() == {"train": 140, "validation": 30, "test": 30}

    def test_a_boundary_moves_to_the_nearer_end_of_rows_of_one_moment(self):
        times = np.repeat([1.0, 2.0, 3.0, 4.0], [60, 20, 10, 10])  # the boundary at 70 rows is inside time 2
        assert split_rows(timed(times), (0.7, 0.2, 0.1), rng=rng()).sizes() == {
            "train": 60,
            "validation": 30,
            "test": 10,
        }

    def test_too_few_moments_are_refused(self):
        with pytest.raises(DataError, match="the rows have 2 different times, and a split by time needs 3"):
            split_rows(timed(np.repeat([1.0, 2.0], 10)), SHARES, rng=rng())


class TestTestFile:
    def test_its_rows_are_the_test_part_and_the_rest_is_divided(self):
        table = replace(classes([60, 60]), test_rows=20)
        split = split_rows(table, SHARES, rng=rng())
        assert sorted(split.test) == list(range(100, 120))
        assert split.has_test_file
        assert split.sizes()["validation"] == round(100 * 0.15 / 0.85)
        assert sorted(np.concatenate(parts_of(split))) == list(range(120))

    def test_groups_and_times_divide_the_rest(self):
        by_group = split_rows(grouped([0, 0, 1, 1, 2, 2, 3, 3], test_rows=2), SHARES, rng=rng())
        assert sorted(by_group.test) == [6, 7]
        by_time = split_rows(timed(np.arange(20.0), test_rows=3), SHARES, rng=rng())
        assert by_time.train.max() < by_time.validation.min()
        assert sorted(by_time.test) == [17, 18, 19]

    def test_a_class_needs_two_rows_beside_it(self):
        table = replace(classes([20, 21]), test_rows=20)
        with pytest.raises(DataError, match="class 'c1' of target 'y' has 1 row, and needs 2: one each to train and"):
            split_rows(table, SHARES, rng=rng())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_balance_gives_every_class_the_same_weight_and_all_rows_what_they_weighed(target):
    target = np.array(target)
    weight = 1 + np.arange(len(target)) % 3
    for given_weight in (None, weight.astype(np.float64)):
        own = np.ones(len(target)) if given_weight is None else given_weight
        balanced = own * class_balance(target, 5, given_weight)[target]
        sums = np.bincount(target, weights=balanced, minlength=5)
        np.testing.assert_allclose(sums[np.bincount(target, minlength=5) > 0], own.sum() / 5)
