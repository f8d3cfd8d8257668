"""Shapley values equal the definition, written in plain Python: the mean over all orders, or over all subsets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations
from math import factorial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import ConfigError
from models.explaining.shapley import (
    Contributions,
    ExactShapley,
    Players,
    SampledShapley,
    feature_columns,
    shapley_of,
)

Network = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def mixed_schema(numbers: int) -> Schema:
    """Returns columns of each kind: two categories, a date with parts, a number with an indicator, and numbers."""
    statistics: Any = {"mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0}
    return Schema(
        columns=(
            CategoricalColumn(name="town", categories=("a", "b", "c"), unknown="ignore"),
            DateColumn(name="day", **statistics, parts=("month", "weekday")),
            CategoricalColumn(name="sex", categories=("f", "m"), encoding="sign"),
            NumericColumn(name="gap", **statistics, missing="indicator"),
            *(NumericColumn(name=f"x{at}", **statistics) for at in range(numbers)),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    )


def network_of(width: int, seed: int = 0) -> Network:
    """Returns a network with interactions of all columns."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(width, 9)), rng.normal(size=9)

    def answer(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.tanh(rows.astype(np.float64) @ first / 3) @ second)

    return answer


def asked(shapley: ExactShapley | SampledShapley, network: Network, size: int = 37) -> Contributions:
    """Asks a network in chunks."""
    outputs = [
        network(shapley.rows(start, min(start + size, shapley.evaluations)))
        for start in range(0, shapley.evaluations, size)
    ]
    return shapley.contributions(np.concatenate(outputs))


def spans_of(schema: Schema) -> list[slice]:
    at, spans = 0, []
    for column in schema.columns:
        spans.append(slice(at, at + column.width))
        at += column.width
    return spans


def value_of(coalition: tuple[int, ...], row: Any, background: Any, spans: list[slice], network: Network) -> float:
    """Returns the mean output with the coalition's columns from the row."""
    total = 0.0
    for other in background:
        mixed = other.copy()
        for player in coalition:
            mixed[spans[player]] = row[spans[player]]
        total += float(network(mixed[None])[0])
    return total / len(background)


def by_definition(row: Any, background: Any, spans: list[slice], network: Network) -> list[float]:
    """Returns the Shapley value of each column, by the sum over all subsets of the others."""
    n = len(spans)
    found = []
    for player in range(n):
        others = [other for other in range(n) if other != player]
        total = 0.0
        for size in range(n):
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            for subset in combinations(others, size):
                with_player = value_of((*subset, player), row, background, spans, network)
                total += weight * (with_player - value_of(subset, row, background, spans, network))
        found.append(total)
    return found


def rows_of(schema: Schema, rows: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, schema.width)).astype(np.float32)


@pytest.mark.parametrize("background_rows", [1, 3])
def test_exact_values_are_those_of_the_definition(background_rows: int) -> None:
    schema = mixed_schema(2)
    network, spans = network_of(schema.width), spans_of(schema)
    [row], background = rows_of(schema, 1, 1), rows_of(schema, background_rows, 2)
    found = asked(ExactShapley(Players(row, background, feature_columns(schema))), network)
    np.testing.assert_allclose(found.columns, by_definition(row, background, spans, network), atol=1e-9)
    assert found.value == pytest.approx(float(network(row[None])[0]))
    assert found.base == pytest.approx(float(network(background).mean()))
    assert found.columns.sum() == pytest.approx(found.value - found.base, abs=1e-9)
    assert found.errors is None


def test_exact_values_are_the_mean_over_all_orders() -> None:
    schema = mixed_schema(1)
    network, spans = network_of(schema.width), spans_of(schema)
    [row], background = rows_of(schema, 1, 3), rows_of(schema, 1, 4)
    total = np.zeros(len(spans))
    orders = list(permutations(range(len(spans))))
    for order in orders:
        for place, player in enumerate(order):
            before = value_of(order[:place], row, background, spans, network)
            total[player] += value_of(order[: place + 1], row, background, spans, network) - before
    found = asked(ExactShapley(Players(row, background, feature_columns(schema))), network)
    np.testing.assert_allclose(found.columns, total / len(orders), atol=1e-9)


def test_columns_as_in_the_background_are_no_players_and_contribute_nothing() -> None:
    schema = mixed_schema(12)
    network, spans = network_of(schema.width), spans_of(schema)
    background = rows_of(schema, 1, 5)
    row = background[0].copy()
    row[spans[1]] = 0.5
    row[spans[4].start] += 1
    shapley = ExactShapley(Players(row, background, feature_columns(schema)))
    assert shapley.evaluations == 4
    found = asked(shapley, network)
    assert set(np.flatnonzero(found.columns)) == {1, 4}
    same = asked(ExactShapley(Players(background[0], background, feature_columns(schema))), network)
    assert not same.columns.any()
    assert same.value == same.base


@pytest.mark.parametrize("background_rows", [1, 3])
def test_sampled_values_come_close_within_their_stated_errors_and_add_up(background_rows: int) -> None:
    schema = mixed_schema(6)
    network = network_of(schema.width)
    [row], background = rows_of(schema, 1, 6), rows_of(schema, background_rows, 7)
    column_of = feature_columns(schema)
    exact = asked(ExactShapley(Players(row, background, column_of)), network)
    sampled = asked(SampledShapley(Players(row, background, column_of), samples=2000), network)
    assert sampled.errors is not None
    assert sampled.columns.sum() == pytest.approx(sampled.value - sampled.base, abs=1e-9)
    assert (sampled.value, sampled.base) == pytest.approx((exact.value, exact.base))
    assert (np.abs(sampled.columns - exact.columns) <= 4 * sampled.errors + 1e-9).all()
    few = asked(SampledShapley(Players(row, background, column_of), samples=20), network)
    assert few.errors is not None
    assert few.errors.mean() > 3 * sampled.errors.mean()
    assert few.columns.sum() == pytest.approx(few.value - few.base, abs=1e-9)


def test_the_stated_error_is_the_spread_of_the_values_over_other_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = mixed_schema(6)
    network = network_of(schema.width)
    [row], background = rows_of(schema, 1, 8), rows_of(schema, 1, 9)
    players = Players(row, background, feature_columns(schema))
    real = np.random.default_rng
    values, errors = [], []
    for seed in range(60):
        monkeypatch.setattr(np.random, "default_rng", lambda _, seed=seed: real(seed))
        found = asked(SampledShapley(players, samples=40), network, size=1000)
        values.append(found.columns)
        errors.append(found.errors)
    spread, stated = np.std(values, axis=0), np.mean(np.array(errors), axis=0)
    assert (np.abs(spread / stated - 1) < 0.5).all(), spread / stated


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_few_players_can_be_sampled(columns: int) -> None:
    schema = mixed_schema(0)
    network, spans = network_of(schema.width), spans_of(schema)
    background = rows_of(schema, 2, 1)
    background[1] = background[0]
    row = background[0].copy()
    for span in spans[:columns]:
        row[span] += 1
    players = Players(row, background, feature_columns(schema))
    sampled, exact = asked(SampledShapley(players, samples=4), network), asked(ExactShapley(players), network)
    np.testing.assert_allclose(sampled.columns, exact.columns, atol=1e-9)


def test_up_to_twelve_players_are_exact() -> None:
    schema = mixed_schema(9)  # 13 columns
    [row], background = rows_of(schema, 1, 1), rows_of(schema, 1, 2)
    column_of = feature_columns(schema)
    wide = Players(row, background, column_of)
    assert shapley_of(wide, samples=128, kind=None).kind == "sampled"
    with pytest.raises(ConfigError, match="takes up to 12 columns, and a row differs from the background in 13"):
        shapley_of(wide, samples=128, kind="exact")
    row[-1] = background[0, -1]
    narrow = Players(row, background, column_of)
    assert shapley_of(narrow, samples=128, kind=None).kind == "exact"
    assert shapley_of(narrow, samples=128, kind="sampled").kind == "sampled"
