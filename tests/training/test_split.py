"""A split divides the rows without loss, keeps the classes' shares, and is the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
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
