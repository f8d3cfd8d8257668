"""`GET /models/{id}/network` and `GET /models/{id}/training` of a real server, against the checkpoints' tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from ensembles import ensemble
from serving import CHECKPOINTS, Server, http_get, make_checkpoint, numeric, running, wait_until

from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, Schema
from models.distributions.distributions import CategoryCounts, Distributions, NumberCounts
from models.store import ModelVersion, Store
from service.http.network_document import MOST_VALUES
from service.http.network_schemas import NetworkResponse, TrainingResponse

MIXED = CHECKPOINTS["mixed"]
TEXTBOOK = make_checkpoint(
    Schema(columns=tuple(numeric(f"x{i}") for i in range(3)), target=ClassTarget(name="y", labels=("a", "b"))), 4, 4
)
HISTORY = {"train_loss": [0.9, 0.5, 0.4], "validation_loss": [0.8, 0.6, 0.7]}
DISTRIBUTIONS = Distributions(
    rows=100,
    columns=(
        NumberCounts(edges=(30.0, 50.0), counts=(20, 70, 8), gaps=2),
        CategoryCounts(categories=(0, 2), counts=(60, 30, 10)),
    ),
    predictions={
        "class": CategoryCounts(categories=(0, 1), counts=(70, 30)),
        "confidence": NumberCounts(edges=(0.9,), counts=(40, 60)),
    },
)
WHOLE = replace(
    MIXED,
    training={"engine": "torch", "best_epoch": 2, "history": HISTORY | {"odd": ["x"], "none": None}},
    metrics={"test": {"accuracy": 0.75, "rows": 20, "note": "text"}, "train": {}},
    distributions=DISTRIBUTIONS,
)
SERVED: dict[str, Checkpoint] = {
    **CHECKPOINTS,
    "whole": WHOLE,
    "textbook": TEXTBOOK,
    "three": ensemble(CHECKPOINTS["colours"].schema, 3, 5),
    "weighted": ensemble(CHECKPOINTS["colours"].schema, 3, 5, weights=(5, 2, 2)),
    "large": make_checkpoint(CHECKPOINTS["colours"].schema, 60, 60),
}
CARD = "---\nlibrary_name: axon\n---\n\n# whole@1\n\nA card with <script>alert(1)</script>.\n"


@pytest.fixture(scope="module")
def versions() -> dict[str, ModelVersion]:
    return {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, versions: dict[str, ModelVersion]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("networks")
    store = Store(folder / "store")
    for name, checkpoint in SERVED.items():
        versions[name] = store.publish(name, checkpoint)
    (versions["whole"].path.parent / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "secret.txt").write_text("the-secret-text")
    (versions["price"].path.parent / "README.md").symlink_to(folder / "secret.txt")
    with running(store.root, folder) as server:
        yield server


def network_of(server: Server, name: str) -> NetworkResponse:
    answer = http_get(f"{server.url}/models/{name}/network")
    assert answer.status_code == 200, answer.text
    return NetworkResponse.model_validate(answer.json())


@pytest.mark.parametrize("name", SERVED)
def test_the_layers_have_the_tensors_of_the_checkpoint(served: Server, name: str) -> None:
    checkpoint, network = SERVED[name], network_of(served, name)
    assert network.total_params == sum(layer.params for layer in network.layers) == checkpoint.config.parameter_count
    tensors = {f"{layer.name}.{tensor.name}": tensor for layer in network.layers for tensor in layer.tensors}
    assert tensors.keys() == checkpoint.tensors.keys()
    for tensor_name, tensor in tensors.items():
        exact = checkpoint.tensors[tensor_name]
        assert tensor.shape == list(exact.shape)
        assert tensor.learned == ("running" not in tensor_name)
        wide = exact.astype(np.float64)
        assert (tensor.mean, tensor.std) == pytest.approx((wide.mean(), wide.std()), rel=1e-9, abs=1e-12)
        assert (np.float32(tensor.minimum), np.float32(tensor.maximum)) == (exact.min(), exact.max())
        assert sum(tensor.counts) == exact.size
        if sum(one.size for one in checkpoint.tensors.values()) <= MOST_VALUES:
            assert tensor.values is not None
            assert np.array_equal(np.float32(tensor.values).reshape(tensor.shape), exact), "each value is exact"
        else:
            assert tensor.values is None


def test_the_textbook_network_shows_its_46_parameters(served: Server) -> None:
    network = network_of(served, "textbook")
    linear = [layer for layer in network.layers if layer.kind == "linear"]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(3, 4), (4, 4), (4, 2)]
    values = [value for layer in linear for tensor in layer.tensors for value in tensor.values or []]
    assert len(values) == network.total_params == 46
    assert (network.inputs, network.outputs) == (["x0", "x1", "x2"], ["a", "b"])


def test_the_weights_of_members_are_told_where_they_differ(served: Server) -> None:
    names = ("weighted", "three", "large")
    found = {name: (network_of(served, name).members, network_of(served, name).member_weights) for name in names}
    assert found == {"weighted": (3, [5, 2, 2]), "three": (3, None), "large": (1, None)}


def test_a_large_network_has_statistics_only(served: Server) -> None:
    assert all(tensor.values is None for layer in network_of(served, "large").layers for tensor in layer.tensors)
    assert SERVED["large"].config.parameter_count > MOST_VALUES


def test_a_network_is_described_again_without_the_stores_file(
    served: Server, versions: dict[str, ModelVersion]
) -> None:
    """Workers keep verified copies, which are read before the store."""
    path = versions["mixed"].path
    content = path.read_bytes()
    first = http_get(f"{served.url}/models/mixed/network").content
    try:
        path.unlink()
        assert http_get(f"{served.url}/models/mixed@1/network").content == first
    finally:
        path.write_bytes(content)


def training_of(server: Server, name: str) -> TrainingResponse:
    return TrainingResponse.model_validate(http_get(f"{server.url}/models/{name}/training").json())


def test_training_tells_distributions_history_and_metrics(served: Server) -> None:
    found = training_of(served, "whole")
    assert found.rows == 100
    assert found.columns is not None
    assert found.predictions is not None
    age, city = found.columns
    assert (age.kind, age.edges, age.counts, age.gaps) == ("numeric", [30.0, 50.0], [20, 70, 8], 2)
    assert (age.minimum, age.maximum) == (-5, 5)
    assert (city.categories, city.counts) == (["Rome", "Lima", None], [60, 30, 10])
    predictions = {one.name: one for one in found.predictions}
    assert predictions["class"].categories == ["no", "yes"]
    assert predictions["confidence"].edges == [0.9]
    assert (found.history, found.best_epoch) == (HISTORY, 2), "only lists of numbers"
    assert found.metrics == {"test": {"accuracy": 0.75, "rows": 20}}
    assert found.card == CARD


def test_what_a_checkpoint_does_not_say_is_null(served: Server) -> None:
    found = training_of(served, "colours")
    assert (found.rows, found.columns, found.predictions, found.card) == (None, None, None, None)
    assert (found.history, found.metrics, found.best_epoch) == ({}, {}, None)


def test_a_card_that_leads_out_of_the_store_is_not_read(served: Server) -> None:
    answer = http_get(f"{served.url}/models/price/training")
    assert answer.json()["card"] is None
    assert "the-secret-text" not in answer.text


def test_the_list_tells_scores_and_times(served: Server, versions: dict[str, ModelVersion]) -> None:
    entries = {entry["name"]: entry for entry in http_get(f"{served.url}/models").json()["models"]}
    assert entries["whole"]["metrics"] == {"accuracy": 0.75, "rows": 20}
    assert entries["colours"]["metrics"] == {}
    written = int(versions["whole"].path.stat().st_mtime)
    assert datetime.fromisoformat(entries["whole"]["published"]) == datetime.fromtimestamp(written, UTC)
    assert http_get(f"{served.url}/models/whole").json()["published"] == entries["whole"]["published"]


def test_another_content_of_the_same_version_has_another_network(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    place = store.publish("colours", CHECKPOINTS["colours"])
    other = make_checkpoint(CHECKPOINTS["colours"].schema, 9, seed=3)
    with running(store.root, tmp_path) as server:
        assert network_of(server, "colours").layers[0].out_features == 16
        new = Store(tmp_path / "new").publish("colours", other)
        new.path.replace(place.path)
        wait_until(lambda: network_of(server, "colours").layers[0].out_features == 9, server.log)
        tensor = network_of(server, "colours").layers[0].tensors[0]
        assert np.array_equal(np.float32(tensor.values), other.tensors["layers.0.weight"].reshape(-1))
