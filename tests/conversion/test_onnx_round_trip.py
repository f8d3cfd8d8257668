"""A model of Axon goes out as ONNX and comes in again: both answer alike, gaps and unknown categories included."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import axon
from models.errors import RowError

PENGUINS = Path(__file__).parent / "importing" / "tables" / "penguins.csv"
pytestmark = pytest.mark.skipif(not hasattr(axon.Model, "export"), reason="models are not exported here")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """The penguins with a mass: some have no sex."""
    return pd.read_csv(PENGUINS).dropna(subset=["body_mass_g"])


def there_and_back(folder: Path, table: pd.DataFrame, target: str, **options: Any) -> tuple[Any, Any]:
    """Trains a model, exports the model and imports the file; returns both models."""
    model = axon.fit(table, target=target, name="first", progress=False, **options)
    path = folder / "first.onnx"
    model.export(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ONNX Runtime's rounding: the exported graph takes unscaled columns
        published = axon.publish(path, name="second", rows=table, store=folder / "store")
    return model, axon.load(str(published), store=folder / "store")


def test_a_classifier_comes_back(tmp_path: Path, table: pd.DataFrame) -> None:
    first, second = there_and_back(
        tmp_path, table, "species", recipe="classic", hidden_sizes=(12,), activation="mish", epochs=8
    )
    assert (second.columns, second.classes, second.target) == (first.columns, first.classes, "species")
    assert np.abs(first.predict_proba(table) - second.predict_proba(table)).max() <= 2e-6
    assert first.predict(table) == second.predict(table)
    kinds = [(column.kind, column.name) for column in first.checkpoint.schema.columns]
    assert [(column.kind, column.name) for column in second.checkpoint.schema.columns] == kinds


def test_an_imported_classifier_of_two_classes_keeps_its_probabilities(tmp_path: Path, table: pd.DataFrame) -> None:
    numbers = table[["bill_length_mm", "flipper_length_mm"]].dropna()
    is_heavy = np.where(table.body_mass_g.loc[numbers.index] > 4200, "heavy", "light")
    original = make_pipeline(StandardScaler(), LogisticRegression()).fit(numbers, is_heavy)
    first = axon.publish(original, name="first", rows=numbers, store=tmp_path / "store")
    axon.load(str(first), store=tmp_path / "store").export(tmp_path / "first.onnx")
    for output in (None, "probabilities", "label"):
        second = axon.publish(
            tmp_path / "first.onnx", name="second", rows=numbers, output=output, store=tmp_path / "store"
        )
        told = axon.load(str(second), store=tmp_path / "store").predict_proba(numbers)
        np.testing.assert_allclose(told, original.predict_proba(numbers), atol=2e-6, rtol=0)


def test_a_regression_comes_back_and_refuses_the_same_cells(tmp_path: Path, table: pd.DataFrame) -> None:
    first, second = there_and_back(tmp_path, table, "body_mass_g", engine="linear")
    told, got = (np.array(model.predict(table)) for model in (first, second))
    assert np.abs(told - got).max() <= 1e-5 * told.std()
    row = {name: table[name].iloc[0] for name in first.columns}
    for name, cell in (("bill_length_mm", None), ("island", None), ("island", "Atlantis"), ("sex", None)):
        outcomes = []
        for model in (first, second):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    outcomes.append(round(model.predict([row | {name: cell}])[0] / told.std(), 4))
            except RowError:
                outcomes.append("refused")
        assert outcomes[0] == outcomes[1], (name, cell, outcomes)


def test_a_network_that_is_no_chain_is_refused_with_a_node(tmp_path: Path, table: pd.DataFrame) -> None:
    with pytest.raises(Exception, match=r"is not an MLP that Axon can take: .*axon/"):
        there_and_back(tmp_path, table, "species", hidden_sizes=(8,), epochs=2)
