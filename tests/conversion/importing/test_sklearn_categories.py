"""Categories of scikit-learn that are no texts: short floats have their shortest digits, and moments are refused."""

from __future__ import annotations

import datetime
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import axon
from conversion.importing.imported_model import ImportRefused
from models.store import Store

GENERATOR = np.random.default_rng(5)
PLACES = GENERATOR.integers(3, size=90)
CLASSES = (PLACES + GENERATOR.integers(3, size=90)) > 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def fitted(cells: Any, unknown: str) -> tuple[pd.DataFrame, Any]:
    """Returns a frame with one column of three categories, and a fitted classifier."""
    frame = pd.DataFrame({"size": pd.Series([cells[place] for place in PLACES], dtype=getattr(cells, "dtype", object))})
    return frame, make_pipeline(OneHotEncoder(handle_unknown=unknown), LogisticRegression()).fit(frame, CLASSES)


@pytest.mark.parametrize("with_rows", [False, True])
@pytest.mark.parametrize("unknown", ["ignore", "error"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_short_floats_are_categories_with_their_shortest_digits(
    store: Store, dtype: Any, unknown: str, with_rows: bool
) -> None:
    frame, model = fitted(np.array([0.1, 2.7, 3.0], dtype=dtype), unknown)
    version = axon.publish(model, name="m", store=store, rows=frame if with_rows else None)
    imported = axon.load(str(version), store=store)
    names = {np.float16: ("0.099975586", "2.6992188", "3")}  # training reads 16 bits as 32
    assert imported.checkpoint.schema.columns[0].categories == names.get(dtype, ("0.1", "2.7", "3"))
    expected = model.predict_proba(frame)
    assert np.abs(imported.predict_proba(frame) - expected).max() <= 1e-6
    if dtype is np.float16:
        return
    sent = [[[0.1, 2.7, 3.0][place]] for place in PLACES]  # as a client writes the numbers in JSON
    assert np.abs(imported.predict_proba(sent) - expected).max() <= 1e-6


MOMENTS = {
    "datetime64[ns]": np.array(["2024-01-01", "2024-01-02", "2024-01-03"], dtype="datetime64[ns]"),
    "datetime64[s]": np.array(["2024-01-01", "2024-01-02", "2024-01-03"], dtype="datetime64[s]"),
    "timedelta64[ns]": np.array([1, 2, 3], dtype="timedelta64[ns]"),
    "date": [datetime.date(2024, 1, day) for day in (1, 2, 3)],
    "timestamp": [pd.Timestamp(2024, 1, day) for day in (1, 2, 3)],
}


@pytest.mark.parametrize("unknown", ["ignore", "error"])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_and_durations_are_refused_as_categories(store: Store, name: str, unknown: str) -> None:
    _, model = fitted(MOMENTS[name], unknown)
    with pytest.raises(ImportRefused, match=r"'size' is a moment or a duration, .*write the column as texts"):
        axon.publish(model, name="m", store=store)
    assert store.names() == []


def test_rows_without_any_known_category_of_a_column_are_refused(store: Store) -> None:
    frame, model = fitted(["small", "middle", "large"], "ignore")
    rows = frame.assign(size=frame["size"].str[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(
            ImportRefused, match=r"no cell of column 'size' in rows= .* rows= has '.', and the model 'large'"
        ):
            axon.publish(model, name="m", store=store, rows=rows)
    assert store.names() == []


@pytest.mark.parametrize("with_rows", [False, True])
def test_a_category_for_none_and_one_for_nan_are_refused(store: Store, with_rows: bool) -> None:
    cells: list[Any] = ["small", None, math.nan]
    frame, model = fitted(cells, "ignore")
    assert len(model[0].categories_[0]) == 3
    with pytest.raises(ImportRefused, match=r"two kinds of gaps in column 'size': None and nan, .*write None for both"):
        axon.publish(model, name="m", store=store, rows=frame if with_rows else None)


def test_none_and_nan_of_one_meaning_are_one_gap(store: Store) -> None:
    cells: list[Any] = ["small", "large", None, math.nan]
    frame = pd.DataFrame({"size": pd.Series(cells * 20 + ["small"] * 80, dtype=object)})
    encoder = OneHotEncoder(min_frequency=50, handle_unknown="infrequent_if_exist")  # None and NaN are infrequent
    model = make_pipeline(encoder, LogisticRegression()).fit(frame, np.arange(160) % 3 > 0)
    imported = axon.load(str(axon.publish(model, name="m", store=store)), store=store)
    assert np.abs(imported.predict_proba(frame) - model.predict_proba(frame)).max() <= 1e-6


@pytest.mark.parametrize("with_rows", [False, True])
def test_a_column_of_texts_that_is_only_flagged_is_refused(store: Store, with_rows: bool) -> None:
    frame, _ = fitted(["small", None, "large"], "ignore")
    frame["width"] = np.arange(90.0)
    steps = make_column_transformer(
        (MissingIndicator(missing_values=None, features="all"), ["size"]), (StandardScaler(), ["width"])
    )
    model = make_pipeline(steps, LogisticRegression()).fit(frame, CLASSES)
    with pytest.raises(ImportRefused, match=r"of column 'size' only whether a cell is missing, .*column of 0 and 1"):
        axon.publish(model, name="m", store=store, rows=frame if with_rows else None)
    assert store.names() == []


def test_a_column_of_numbers_that_is_only_flagged_needs_rows(store: Store) -> None:
    frame = pd.DataFrame({"size": np.where(PLACES == 1, np.nan, PLACES), "width": np.arange(90.0)})
    steps = make_column_transformer((MissingIndicator(features="all"), ["size"]), (StandardScaler(), ["width"]))
    model = make_pipeline(steps, LogisticRegression()).fit(frame, CLASSES)
    with pytest.raises(ImportRefused, match=r"of column 'size' only whether a cell is missing, .*give rows="):
        axon.publish(model, name="m", store=store)
    imported = axon.load(str(axon.publish(model, name="m", store=store, rows=frame)), store=store)
    assert np.abs(imported.predict_proba(frame) - model.predict_proba(frame)).max() <= 1e-6
