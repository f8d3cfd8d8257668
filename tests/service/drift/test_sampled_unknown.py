"""Unknown categories among rows that were sampled count as unknown, and gaps as gaps, however few rows are taken."""

from __future__ import annotations

import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from models.columns.column import CategoricalColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, Schema
from models.distributions.distributions import CategoryCounts, Distributions, NumberCounts
from models.distributions.row_counter import GAPS, UNKNOWN
from service.batching.ticket import Ticket
from service.drift.row_sample import RowSample, SampleBudget
from service.drift.version_drift import VersionDrift

SCHEMA = Schema(
    columns=(CategoricalColumn(name="city", categories=("Rome", "Oslo"), unknown="ignore", missing="ignore"),),
    target=ClassTarget(name="y", labels=("no", "yes")),
)
DISTRIBUTIONS = Distributions(
    rows=100,
    columns=(CategoryCounts(categories=(0, 1), counts=(50, 50)),),
    predictions={
        "class": CategoryCounts(categories=(0, 1), counts=(50, 50)),
        "confidence": NumberCounts(edges=(0.5,), counts=(50, 50)),
    },
)
REQUESTS, ROWS = 16, 4  # of a batch, and of a request


class Asked(Ticket):
    """A request whose rows were encoded."""

    __slots__ = ("unknown",)

    def __init__(self, encoder: RowEncoder, cities: list[str | None]) -> None:
        super().__init__()
        self.data, self.rows = encoder.encode([[city] for city in cities]), len(cities)
        self.unknown = encoder.unknown.take()


def request(rng: np.random.Generator, kind: str) -> list[str | None]:
    """Makes the cities of a request, one of which is unknown."""
    cities: list[str | None] = rng.choice(["Rome", "Oslo"], ROWS).tolist()
    if kind == "with gaps":
        cities = [None if rng.random() < 0.1 else city for city in cities]
    cities[1 if kind == "in one place" else int(rng.integers(ROWS))] = "Atlantis"
    return cities


@pytest.mark.parametrize("kind", ["in one place", "in any place", "with gaps"])
def test_unknown_cells_of_every_fourth_row_do_not_count_as_gaps(kind: str) -> None:
    rng, encoder = np.random.default_rng(0), RowEncoder(SCHEMA)
    served: Any = SimpleNamespace(distributions=zlib.compress(orjson.dumps(DISTRIBUTIONS.to_dict())), schema=SCHEMA)
    rate = 160.0
    drift = VersionDrift(served, RowSample(encoder.width, SampleBudget(rate), lambda: None))
    drift.prepare()
    answers = np.full((REQUESTS * ROWS, 2), 0.5, np.float32)
    now, asked, unknown, gaps = 10.0, 0, 0, 0
    for number in range(300):
        batch = [request(rng, kind) for _ in range(REQUESTS)]
        tickets = [Asked(encoder, cities) for cities in batch]
        drift.sample.take([(ticket, 0, ROWS) for ticket in tickets], answers, now)
        if number % 10 == 9:
            for _ in drift.count_pending():
                pass
        cities = [city for one in batch for city in one]
        asked, unknown, gaps = asked + len(cities), unknown + cities.count("Atlantis"), gaps + cities.count(None)
        now += 16 / rate
    assert drift.current is not None
    counts, rows, end = drift.current.counts, drift.current.rows, drift.counter.variables[0].end
    assert 5_000 < rows < 300 * REQUESTS * ROWS / 2, "most batches gave every fourth row"
    found = counts[end + UNKNOWN] / rows, counts[end + GAPS] / rows
    np.testing.assert_allclose(found, (unknown / asked, gaps / asked), atol=0.01)
