"""A model with several targets in a program: names, values, card, components of an inventory, and the export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from serving import SEVERAL, make_checkpoint, numeric

from axon.model import Model
from axon.sbom.model_component import model_component
from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.errors import ConfigError
from models.store import Store

TEST = {
    "rows": 40,
    "r2": 0.75,
    "rmse": 0.5,
    "mae": 0.4,
    "targets": {
        "rent": {"rmse": 2.0, "mae": 1.6, "r2": 0.8},
        "sold": {"rmse": 1_500_000.0, "mae": 1_100_000.0, "r2": 0.7},
        "cost": {"rmse": 0.025, "mae": 0.02, "r2": 0.75},
    },
}
CHECKPOINT = dataclasses.replace(
    make_checkpoint(Schema(columns=(numeric("a"), numeric("b")), target=SEVERAL), 8, clamp=True),
    metrics={"test": TEST},
)


@pytest.fixture
def model() -> Model:
    return Model(CHECKPOINT, reference="homes")


def test_a_model_names_its_targets(model: Model) -> None:
    assert model.targets == ("rent", "sold", "cost")
    assert (model.target, model.task, model.classes) == ("rent, sold, cost", "regression", ())
    assert repr(model) == "<Model homes: regression of rent, sold, cost, test r2 0.7500>"
    with pytest.raises(ConfigError, match=r"regression|classif"):
        model.predict_proba([[0.1, 0.2]])


def test_the_answers_are_a_list_for_each_row(model: Model) -> None:
    rows = np.random.default_rng(1).normal(size=(5, 2))
    found = model.predict(rows)
    wanted = model._answerer.answers(rows)
    assert [len(row) for row in found] == [3] * 5
    np.testing.assert_array_equal(found, wanted)


def test_the_card_has_the_metrics_of_each_target_in_its_unit(model: Model) -> None:
    html = model._repr_html_()
    assert "Regression of rent, sold, cost from 2 columns" in html
    assert "in standard deviations" in html
    for name in SEVERAL.names:
        assert f"<td>{name}</td>" in html or f">{name}<" in html
    assert "0.025" in html


def test_many_targets_are_not_all_in_one_line() -> None:
    targets = tuple(NumericTarget(name=f"t{i}", mean=0, std=1, minimum=-1, maximum=1) for i in range(40))
    schema = Schema(columns=(numeric("a"),), target=ValuesTarget(targets=targets))
    assert (
        repr(Model(make_checkpoint(schema, 4), reference="m"))
        == "<Model m: regression of t0, t1, t2, t3, t4 and 35 more>"
    )


def test_the_inventory_has_each_target_and_its_metrics(tmp_path: Path) -> None:
    store = Store(tmp_path)
    version = store.publish("homes", CHECKPOINT)
    card = model_component(version, version.load())["modelCard"]
    outputs = card["modelParameters"]["outputs"]
    assert outputs == [{"format": f"{name}: numeric"} for name in ("rent", "sold", "cost")]
    metrics = {
        (one["slice"], one["type"]): float(one["value"]) for one in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert metrics["test", "r2"] == 0.75
    assert metrics["test: sold", "rmse"] == 1_500_000
    assert len(metrics) == 3 + 9
