"""Bulk answers have the bits of the server's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scored_tables import make_store, mixed, numbers
from serving import running

import axon


@pytest.mark.slow
def test_the_server_gives_the_same_bits(short_folder: Path) -> None:
    store = make_store(short_folder / "store")
    rows, others = numbers().slice(0, 500), mixed().slice(0, 500)
    with running(store.root, short_folder) as server, axon.Client(server.url) as client:
        table = client.predict(rows.drop_columns(["id"]), model="numbers")
        answers = axon.Scorer("numbers", store)(rows)
        assert answers["prediction"].to_pylist() == list(table.predictions)
        found = np.stack([answers[name].to_numpy() for name in answers.column_names[1:]], axis=1)
        assert found.tobytes() == np.asarray(table.probabilities, np.float32).tobytes()
        table = client.predict(others.drop_columns(["note"]), model="mixed")
        assert axon.Scorer("mixed", store)(others)["prediction"].to_pylist() == list(table.predictions)
        table = client.predict([[0.5, 2.0], [-1.0, 3.0]], model="sizes", members=2)
        some = axon.Scorer("sizes", store, members=2)({"a": np.array([0.5, -1.0]), "b": np.array([2.0, 3.0])})
        assert some["probability 40"].tolist() == np.asarray(table.probabilities, np.float32)[:, 2].tolist()
