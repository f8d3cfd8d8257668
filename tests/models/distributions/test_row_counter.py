"""Counts of encoded rows by bin, compared with a count of the raw cells in plain Python."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from models.columns.encoding import RowEncoder
from models.columns.schema import (
    CategoricalColumn,
    ClassTarget,
    Column,
    DateColumn,
    NumericColumn,
    NumericTarget,
    Schema,
)
from models.distributions.distributions import CategoryCounts, Distributions, NumberCounts
from models.distributions.row_counter import ABOVE, BELOW, GAPS, UNKNOWN, RowCounter

EPOCH = date(1970, 1, 1)
EDGES = (-1.0, 0.0, 0.5, 2.0)
NUMBERS = NumberCounts(edges=EDGES, counts=(0,) * 5)


def numeric(name: str, **more: Any) -> NumericColumn:
    return NumericColumn(name=name, mean=0.25, std=1, minimum=-2, maximum=2, **more)


def names(name: str, *categories: str, **more: Any) -> CategoricalColumn:
    return CategoricalColumn(name=name, categories=categories, unknown="ignore", **more)


CITIES = tuple(f"city {i}" for i in range(30))
DAYS = (19_700.0, 19_800.0)
COLUMNS: tuple[tuple[Column, Any], ...] = (
    (numeric("plain"), NUMBERS),
    (numeric("marked", missing="indicator", center=0.1, scale=1.5), NUMBERS),
    (numeric("filled", missing="mean"), NUMBERS),
    (
        NumericColumn(name="far", mean=1e9, std=1, minimum=1e9 - 2, maximum=1e9 + 2, origin=1e9),
        NumberCounts(edges=(1e9 - 0.75, 1e9 + 1.25), counts=(0, 0, 0)),
    ),
    (
        DateColumn(
            name="day", mean=19_750, std=30, minimum=19_600, maximum=19_900, origin=19_750, parts=("month",),
            missing="indicator",
        ),
        NumberCounts(edges=DAYS, counts=(0, 0, 0)),
    ),
    (names("colour", "red", "green", "blue", missing="ignore"), CategoryCounts(categories=(0, 1, 2), counts=(0,) * 3)),
    (names("size", "s", "l", encoding="sign"), CategoryCounts(categories=(0, 1), counts=(0, 0))),
    (names("city", *CITIES, encoding="index"), CategoryCounts(categories=(3, 5, 29), counts=(0,) * 4)),
    (names("shape", *CITIES), CategoryCounts(categories=(0, 7), counts=(0,) * 3)),
)  # fmt: skip


def cells(rng: np.random.Generator) -> list[Any]:
    number = lambda: float(rng.choice([*EDGES, -9, 9, *rng.normal(size=6).round(3)]))  # noqa: E731
    gap = lambda value: None if rng.random() < 0.2 else value  # noqa: E731
    unknown = lambda value: "unseen" if rng.random() < 0.2 else value  # noqa: E731
    return [
        number(), gap(number()), gap(number()), 1e9 + number(),
        gap((EPOCH + timedelta(days=int(rng.integers(19_500, 20_000)))).isoformat()),
        gap(unknown(str(rng.choice(["red", "green", "blue"])))), unknown(str(rng.choice(["s", "l"]))),
        unknown(str(rng.choice(CITIES))), unknown(str(rng.choice(CITIES[:9]))),
    ]  # fmt: skip


def bin_of(column: Column, counts: Any, cell: Any) -> list[str]:
    """Returns the names of the places in which a cell counts."""
    if cell is None:
        return ["gaps"]
    if isinstance(column, CategoricalColumn):
        if cell not in column.categories:
            return ["unknown"]
        place = column.categories.index(cell)
        return [str(counts.categories.index(place) if place in counts.categories else len(counts.categories))]
    value = float((date.fromisoformat(cell) - EPOCH).days) if isinstance(column, DateColumn) else cell
    assert column.minimum is not None
    assert column.maximum is not None
    outside = ["below"] * (value < column.minimum) + ["above"] * (value > column.maximum)
    return [str(bisect_left(counts.edges, value)), *outside]


@pytest.mark.parametrize("seed", range(3))
def test_each_cell_counts_where_its_raw_value_belongs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = Schema(columns=tuple(c for c, _ in COLUMNS), target=ClassTarget(name="y", labels=("a", "b", "c")))
    predictions = {
        "class": CategoryCounts(categories=(0, 1, 2), counts=(0, 0, 0)),
        "confidence": NumberCounts(edges=(0.5, 0.75), counts=(0, 0, 0)),
    }
    counter = RowCounter(schema, Distributions(rows=100, columns=tuple(c for _, c in COLUMNS), predictions=predictions))
    rows = [cells(rng) for _ in range(200)]
    answers = rng.dirichlet((1, 1, 1), size=200).astype(np.float32)
    encoder = RowEncoder(schema)
    matrix = encoder.encode_matrix(rows)
    counts = counter.count(matrix, answers)
    counter.move_unknown(counts, encoder.unknown.take())

    for variable, (column, given), at in zip(counter.variables, COLUMNS, range(len(COLUMNS)), strict=False):
        expected = Counter(place for row in rows for place in bin_of(column, given, row[at]))
        found = {str(i): int(counts[variable.start + i]) for i in range(variable.bins)}
        found["gaps"] = int(counts[variable.end + GAPS])
        if isinstance(column, CategoricalColumn):
            found["unknown"] = int(counts[variable.end + UNKNOWN])
        else:
            found |= {"below": int(counts[variable.end + BELOW]), "above": int(counts[variable.end + ABOVE])}
        assert {name: number for name, number in found.items() if number} == expected, column.name
    classes, confidence = counter.variables[-2:]
    assert counts[classes.start : classes.end].tolist() == [int((answers.argmax(1) == i).sum()) for i in range(3)]
    most = answers.max(1)
    assert counts[confidence.start : confidence.end].tolist() == [
        int((most <= 0.5).sum()), int(((most > 0.5) & (most <= 0.75)).sum()), int((most > 0.75).sum()),
    ]  # fmt: skip


def test_values_of_a_regressor_are_counted_with_their_origin() -> None:
    target = NumericTarget(name="y", mean=1e9, std=1, minimum=1e9 - 1, maximum=1e9 + 1, origin=1e9)
    schema = Schema(columns=(numeric("x"),), target=target)
    value = NumberCounts(edges=(1e9 - 0.5, 1e9 + 0.5), counts=(0, 0, 0))
    counter = RowCounter(schema, Distributions(rows=9, columns=(NUMBERS,), predictions={"value": value}))
    answers = np.array([[-2.0], [-0.5], [0.0], [0.5], [0.75], [1.5]], dtype=np.float32)
    counts = counter.count(np.zeros((6, 1), dtype=np.float32), answers)
    place = counter.variables[-1]
    assert counts[place.start : place.end].tolist() == [2, 2, 2]
    assert counts[place.end :].tolist() == [0, 1, 1]
