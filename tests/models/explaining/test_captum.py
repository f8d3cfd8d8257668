"""Shapley values equal those of `captum` for the same network, and its integrated gradients where theory says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, ShapleyValues, ShapleyValueSampling
from numpy.typing import NDArray

from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.explaining.shapley import (
    Contributions,
    ExactShapley,
    Players,
    SampledShapley,
    feature_columns,
)

STATISTICS: Any = {"mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0}


def schema_with(numbers: int, *, others: bool) -> Schema:
    """Returns columns of numbers; with others, also one with categories, a date and a number with gaps."""
    mixed = (
        CategoricalColumn(name="town", categories=("a", "b", "c"), unknown="ignore"),
        DateColumn(name="day", **STATISTICS, parts=("month",)),
        NumericColumn(name="gap", **STATISTICS, missing="indicator"),
    )
    columns = tuple(NumericColumn(name=f"x{at}", **STATISTICS) for at in range(numbers))
    return Schema(columns=(mixed if others else ()) + columns, target=ClassTarget(name="y", labels=("no", "yes")))


def network_of(width: int) -> torch.nn.Module:
    """Returns a network with interactions of all features, in float64."""
    torch.manual_seed(0)
    layers = (
        torch.nn.Linear(width, 12),
        torch.nn.Tanh(),
        torch.nn.Linear(12, 8),
        torch.nn.GELU(),
        torch.nn.Linear(8, 1),
    )
    return torch.nn.Sequential(*layers, torch.nn.Flatten(0)).double().eval()


def rows_of(schema: Schema, rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(rows, schema.width)).astype(np.float32)


def asked(shapley: ExactShapley | SampledShapley, network: torch.nn.Module) -> Contributions:
    with torch.no_grad():
        rows = torch.from_numpy(shapley.rows(0, shapley.evaluations)).double()
        return shapley.contributions(network(rows).numpy())


def by_column(attributions: torch.Tensor, column_of: NDArray[np.intp]) -> NDArray[np.float64]:
    """Returns the value of each column: captum repeats that of a group for each of its features."""
    _, first = np.unique(column_of, return_index=True)
    return attributions.detach().numpy()[0, first]


def test_exact_values_are_captums_for_columns_of_each_kind() -> None:
    schema = schema_with(2, others=True)
    column_of, network = feature_columns(schema), network_of(schema.width)
    row, *others = rows_of(schema, 4)
    found = asked(ExactShapley(Players(row, np.array(others), column_of)), network)
    given, groups = torch.from_numpy(row[None]).double(), torch.from_numpy(column_of[None])
    captum = ShapleyValues(network)
    wanted = [
        by_column(captum.attribute(given, torch.from_numpy(other[None]).double(), feature_mask=groups), column_of)
        for other in others
    ]
    np.testing.assert_allclose(found.columns, np.mean(wanted, axis=0), atol=1e-6)  # captum adds up in float32


def test_sampled_values_agree_with_captums_samples() -> None:
    schema = schema_with(13, others=False)
    column_of, network = feature_columns(schema), network_of(schema.width)
    row, other = rows_of(schema, 2)
    found = asked(SampledShapley(Players(row, other[None], column_of), samples=2_000), network)
    torch.manual_seed(0)
    given, compared = torch.from_numpy(row[None]).double(), torch.from_numpy(other[None]).double()
    captum = ShapleyValueSampling(network)
    runs = [by_column(captum.attribute(given, compared, n_samples=10), column_of) for _ in range(20)]
    wanted, errors = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert found.errors is not None
    np.testing.assert_array_less(np.abs(found.columns - wanted), 5 * np.hypot(found.errors, errors))
    assert found.columns.sum() == pytest.approx(wanted.sum(), abs=1e-6)


def test_integrated_gradients_are_shapley_values_of_pairwise_interactions() -> None:
    # On the straight path from the background, an interaction of two columns is divided into halves, as by Shapley
    # (Sundararajan, Taly & Yan 2017, Axiomatic attribution for deep networks); with three and more columns they differ.
    schema = schema_with(6, others=False)
    rng = np.random.default_rng(2)
    matrix, slope = (torch.from_numpy(rng.normal(size=size)) for size in ((6, 6), (6,)))

    class Quadratic(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return ((x @ matrix) * x).sum(dim=1) + x @ slope

    row, other = rows_of(schema, 2)
    found = asked(ExactShapley(Players(row, other[None], feature_columns(schema))), Quadratic())
    given, compared = torch.from_numpy(row[None]).double(), torch.from_numpy(other[None]).double()
    wanted = IntegratedGradients(Quadratic()).attribute(given, compared, n_steps=20)
    np.testing.assert_allclose(found.columns, wanted.detach().numpy()[0], atol=1e-9)
