"""A finite number as large as float32 allows is answered, or gives a 4xx that names the row and the column."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from serving import CHECKPOINTS, Oracle, Server, http_client, http_post, make_checkpoint, make_store, numeric, running

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.network.config import MLPConfig

EXTREMES = [3.4e38, -3.4e38, 3.4028234e38, 1e38, 1e30, -1e25]


def answer(server: Server, model: str, rows: object) -> tuple[int, dict]:  # type: ignore[type-arg]
    found = http_post(f"{server.url}/predict", json={"model": model, "instances": rows})
    return found.status_code, found.json()


def test_a_finite_number_is_answered_or_422_for_its_row(server: Server) -> None:
    """Sends the value alone, among normal rows, and in a request that is read as a buffer."""
    refused, logged = 0, len(server.log())
    for value, before in itertools.product(EXTREMES, (0, 3, 200)):
        for model, sane, columns in (
            ("colours", [0.1] * 4, ["x0", "x1", "x2", "x3"]),
            ("price", [80, 3], ["area", "rooms"]),
        ):
            rows = [sane] * before + [[value] * len(sane)] + [sane] * before
            status, document = answer(server, model, rows)
            if status != 200:
                assert status == 422, document
                assert document["type"] == "urn:axon:problem:invalid-rows"
                assert [(f["row"], f["column"]) for f in document["errors"]] == [(before, name) for name in columns]
                assert "training saw" in document["detail"]
                refused += 1
            else:
                expected = Oracle(CHECKPOINTS[model])(rows[before])
                assert np.isfinite(expected).all()
    assert refused > 10
    assert "request failed" not in server.log()[logged:]


def test_the_column_at_fault_alone_is_told(server: Server) -> None:
    status, document = answer(server, "colours", [{"x0": 0.1, "x1": 3.4e38, "x2": 0.1, "x3": 0.2}])
    assert status == 422
    assert [(fault["row"], fault["column"]) for fault in document["errors"]] == [(0, "x1")]


def test_others_in_the_batch_are_answered(server: Server) -> None:
    with http_client(base_url=server.url) as one, http_client(base_url=server.url) as other:
        for _ in range(20):
            assert one.post("/predict", json={"model": "colours", "instances": [[3.4e38] * 4]}).status_code == 422
            assert other.post("/predict", json={"model": "colours", "instances": [[0.1] * 4]}).status_code == 200


def overflowing() -> Checkpoint:
    """Makes a regression whose answer is infinite for `x` = 1, a value that occurs in training."""
    tensors = {
        "layers.0.weight": np.array([[3e30]], dtype=np.float32),
        "layers.0.bias": np.zeros(1, dtype=np.float32),
        "layers.1.weight": np.array([[1e10]], dtype=np.float32),
        "layers.1.bias": np.zeros(1, dtype=np.float32),
    }
    schema = Schema(columns=(numeric("x", 0, 1),), target=NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1))
    return Checkpoint(config=MLPConfig(layer_sizes=(1, 1, 1), output="linear"), schema=schema, tensors=tensors)


def test_a_model_that_fails_on_a_sane_row_is_500_and_a_request_cut_into_batches_names_its_own_row(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("overflowing")
    store = make_store(folder)
    store.publish("broken", overflowing())
    wide = Schema(columns=tuple(numeric(f"x{i}") for i in range(8)), target=ClassTarget(name="y", labels=("a", "b")))
    store.publish("wide", make_checkpoint(wide, 64, normalization="layer"))
    with running(store.root, folder, max_batch_rows=64) as server:
        status, document = answer(server, "broken", [[0], [1]])
        assert (status, document["type"]) == (500, "urn:axon:problem:model-fault")
        assert "row 1" in document["detail"]
        assert answer(server, "broken", [[0], [1e30]])[0] == 422
        rows = [[0.1] * 8 for _ in range(1000)]
        rows[777][5] = 3.4e38
        status, document = answer(server, "wide", rows)
        assert status == 422
        assert [(fault["row"], fault["column"]) for fault in document["errors"]] == [(777, "x5")]
