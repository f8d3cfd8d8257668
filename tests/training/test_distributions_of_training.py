"""Distributions of training: bins by quantiles or values, and predictions for rows of the other parts."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, Schema
from models.distributions.distributions import MAX_BINS, MAX_COLUMNS, CategoryCounts, Distributions, NumberCounts
from training.distributions import training_distributions
from training.fit import fit
from training.fitted_model import FittedModel

LABELS = ClassTarget(name="y", labels=("a", "b"))


def numeric(name: str, **more: Any) -> NumericColumn:
    return NumericColumn(name=name, mean=0, std=1, minimum=-9, maximum=9, **more)


def measured(values: Any, column: NumericColumn | None = None) -> NumberCounts:
    x = np.asarray(values, dtype=np.float32).reshape(-1, 1)
    answers = np.tile(np.array([[0.3, 0.7]], dtype=np.float32), (len(x), 1))
    schema = Schema(columns=(column or numeric("x"),), target=LABELS)
    [counts] = training_distributions(schema, x, answers, seed=0).columns
    assert isinstance(counts, NumberCounts)
    return counts


def test_bins_of_numbers_are_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    counts = measured(values)
    assert len(counts.counts) == MAX_BINS
    assert set(counts.counts) == {500}
    expected = np.quantile(values, np.arange(1, MAX_BINS) / MAX_BINS)
    assert np.abs(np.array(counts.edges) - expected).max() < 1e-3
    assert max(len(repr(edge)) for edge in counts.edges) <= 10, "edges have few digits"


@pytest.mark.parametrize("rows", [1, 2, 30, 200, 499])
def test_few_rows_make_few_bins(rows: int) -> None:
    counts = measured(np.arange(rows))
    assert sum(counts.counts) == rows
    assert len(counts.counts) <= max(2, rows // 25)


def test_few_distinct_values_get_a_bin_each() -> None:
    counts = measured([1] * 700 + [2] * 200 + [5] * 100)
    assert counts.counts == (700, 200, 100)
    assert 1 <= counts.edges[0] < 2 <= counts.edges[1] < 5


def test_a_frequent_value_does_not_hide_the_others() -> None:
    values = np.concatenate([np.zeros(6_000), np.random.default_rng(1).uniform(1, 2, 4_000)])
    counts = measured(values)
    assert max(counts.counts) == 6_000
    assert len(counts.counts) >= 8
    assert sum(counts.counts) == 10_000


def test_one_value_is_one_bin() -> None:
    assert measured([3.5] * 50) == NumberCounts(edges=(), counts=(50,))


def test_neighbouring_floats_far_from_zero_are_parted() -> None:
    low = np.float32(16_777_215)
    counts = measured([low] * 60 + [np.nextafter(low, np.float32(np.inf))] * 40)
    assert counts.counts == (60, 40)


def test_categories_beyond_the_first_are_counted_together() -> None:
    names = tuple(f"n{i:02}" for i in range(40))
    column = CategoricalColumn(name="c", categories=names, unknown="ignore", encoding="index")
    schema = Schema(columns=(column,), target=LABELS)
    cells = [[name] for i, name in enumerate(names) for _ in range(i + 1)]
    x = RowEncoder(schema).encode_matrix(cells)
    [counts] = training_distributions(schema, x, np.ones((1, 2), dtype=np.float32), seed=0).columns
    assert counts == CategoryCounts(
        categories=tuple(range(20, 40)), counts=(*range(21, 41), sum(range(1, 21))), singletons=1
    )


def test_categories_that_occur_once_are_counted_in_all_rows() -> None:
    often, once = 3_000, 40
    names = tuple(f"n{i}" for i in range(often + once))
    column = CategoricalColumn(name="c", categories=names, unknown="ignore", encoding="index")
    schema = Schema(columns=(column,), target=LABELS)
    codes = np.r_[np.repeat(np.arange(often), 20), np.arange(often, often + once)] + 1  # more rows than a sample has
    x = codes[:, None].astype(np.float32)
    [counts] = training_distributions(schema, x, np.ones((1, 2), dtype=np.float32), seed=0).columns
    assert isinstance(counts, CategoryCounts)
    assert counts.singletons == once
    assert sum(counts.counts) == 50_000


@pytest.mark.slow
def test_many_columns_and_rows_are_left_out() -> None:
    columns = tuple(numeric(f"x{i}") for i in range(MAX_COLUMNS + 50))
    x = np.random.default_rng(0).normal(size=(6_000, len(columns))).astype(np.float32)
    schema = Schema(columns=columns, target=LABELS)
    answers = np.full((100, 2), 0.5, dtype=np.float32)
    found = training_distributions(schema, x, answers, seed=3)
    assert len(found.columns) == MAX_COLUMNS
    assert found.rows == 6_000
    assert {sum(counts.counts) for counts in found.columns} == {5_000}
    assert found == training_distributions(schema, x, answers, seed=3)
    assert len(json.dumps(found.to_dict())) < 700_000
    assert Distributions.from_dict(json.loads(json.dumps(found.to_dict())), schema) == found


@pytest.fixture(scope="module")
def model() -> FittedModel:
    """A classifier of a table with gaps, names and dates."""
    rng = np.random.default_rng(0)
    rows = 900
    frame = pd.DataFrame({"number": rng.normal(size=rows), "name": rng.choice(["a", "b", "c"], rows)})
    frame["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, rows), unit="D")
    frame["y"] = np.where(frame["number"] + rng.normal(size=rows) > 0, "yes", "no")
    frame.loc[::10, "number"] = np.nan
    frame.loc[::9, "name"] = None
    return fit(frame, target="y", name="m", epochs=2)


def test_a_fitted_model_has_the_counts_of_its_training_part(model: FittedModel) -> None:
    distributions = model.checkpoint.distributions
    assert distributions is not None
    train = model.split.train
    assert distributions.rows == len(train)
    number, name, when = distributions.columns
    raw = np.asarray(model.table.features["number"])[train]
    assert number.gaps == int(np.isnan(raw).sum())
    assert isinstance(number, NumberCounts)
    present = raw[~np.isnan(raw)]
    edges = np.concatenate([[-np.inf], number.edges, [np.inf]])
    assert list(number.counts) == [int(((present > low) & (present <= high)).sum()) for low, high in pairwise(edges)]
    assert name.gaps > 0
    assert sum(name.counts) + name.gaps == len(train)
    assert sum(when.counts) == len(train)
    assert when.gaps == 0


def test_predictions_are_those_of_rows_that_training_did_not_learn_from(model: FittedModel) -> None:
    assert model.checkpoint.distributions is not None
    predictions = model.checkpoint.distributions.predictions
    assert set(predictions) == {"class", "confidence"}
    others = len(model.split.validation) + len(model.split.test)
    assert sum(predictions["class"].counts) == sum(predictions["confidence"].counts) == others


def test_a_regressor_has_a_distribution_of_its_values() -> None:
    x = np.random.default_rng(0).normal(size=400)
    model = fit(pd.DataFrame({"x": x, "y": 2e9 + x}), target="y", name="m", epochs=2)
    assert model.checkpoint.distributions is not None
    [(name, counts)] = model.checkpoint.distributions.predictions.items()
    assert name == "value"
    assert isinstance(counts, NumberCounts)
    assert all(1e9 < edge < 3e9 for edge in counts.edges)


def test_without_a_split_all_rows_are_predicted() -> None:
    model = fit("xor", epochs=2)
    assert model.checkpoint.distributions is not None
    assert sum(model.checkpoint.distributions.predictions["class"].counts) == 4
