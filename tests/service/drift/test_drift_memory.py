"""The memory of drift: bounded for hundreds of versions, and little for a version that nobody asks."""

from __future__ import annotations

import tracemalloc
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from watched_models import FEATURES, Watched, answers_to, normal

from service.drift.row_sample import RowSample, SampleBudget, TakenRows
from service.drift.version_drift import VersionDrift

VERSIONS = 300


@pytest.mark.slow
def test_hundreds_of_versions_take_some_megabytes() -> None:
    rng = np.random.default_rng(0)
    watched = Watched.trained_on(normal(rng, 2_000), normal(rng, 500))
    text = zlib.compress(orjson.dumps(watched.distributions.to_dict()), 1)
    rows = normal(rng, 100)
    answers = answers_to(rows)

    def version() -> VersionDrift:
        served: Any = SimpleNamespace(distributions=bytes(bytearray(text)), schema=watched.schema, width=FEATURES)
        return VersionDrift(served, RowSample(FEATURES, SampleBudget(500), lambda: None))

    tracemalloc.start()
    try:
        versions = [version() for _ in range(VERSIONS)]
        idle = tracemalloc.get_traced_memory()[0]
        for drift in versions:
            drift.prepare()
            for number in range(3):  # a window that ends, another, and one that grows
                drift.roll(number)
                drift.sample.pending.append(TakenRows(rows, answers, {}))
                for _ in drift.count_pending():
                    pass
        asked = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert idle < VERSIONS * 5_000
    assert asked < VERSIONS * 120_000
    assert {drift.current.rows for drift in versions if drift.current is not None} == {100}


def test_a_version_without_new_rows_is_not_touched() -> None:
    class Released:
        """A version that has left the memory, and that a look at any part would bring back."""

        distributions = b""

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

    released: Any = Released()
    assert list(VersionDrift(released, RowSample(FEATURES, SampleBudget(500), lambda: None)).count_pending()) == []
