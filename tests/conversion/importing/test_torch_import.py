"""Modules of torch: no change to the caller's module, and the same answers from named columns."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import axon
from axon.model import Model
from models.columns.schema import CategoricalColumn, DateColumn
from models.store import Store

NAMES = ["a", "b", "c"]
ROWS = np.random.default_rng(1).normal(size=(50, 3))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def network(*, out: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, out))


def published(store: Store, module: Any, **arguments: Any) -> Model:
    given = {"columns": NAMES, **arguments}
    return axon.load(str(axon.publish(module, name="m", store=store, **given)), store=store)


def answers(module: nn.Module, x: Any) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(torch.tensor(np.array(x), dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_callers_module_is_not_changed(store: Store, dtype: torch.dtype) -> None:
    module = network().to(dtype).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    imported = published(store, module, labels=["no", "yes"])
    assert module.training
    assert all(part.training for part in module.modules())
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    np.testing.assert_allclose(
        imported.predict_proba(ROWS), torch.softmax(answers(module, ROWS), 1).numpy(), atol=1e-6, rtol=0
    )


def test_layers_keep_their_names(store: Store) -> None:
    module = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 1))
    imported = published(store, module)
    assert set(imported.checkpoint.tensors) == {"0.0.weight", "0.0.bias", "1.weight", "1.bias"}


def test_rows_that_the_user_scaled_are_scaled_by_axon(store: Store) -> None:
    mean, std = [2_000.0, 5.0, -3.0], [10.0, 0.5, 4.0]
    module = network()
    imported = published(store, module, labels=["no", "yes"], mean=mean, std=std)
    raw = ROWS * std + mean
    np.testing.assert_allclose(
        imported.predict_proba(raw), torch.softmax(answers(module, ROWS), 1).numpy(), atol=1e-6, rtol=0
    )


def test_one_output_has_two_classes_or_a_value(store: Store) -> None:
    module = network(out=1)
    expected = answers(module, ROWS)[:, 0].numpy()
    share = 1 / (1 + np.exp(-expected))
    for given in (module, nn.Sequential(module, nn.Sigmoid())):
        np.testing.assert_allclose(
            published(store, given, labels=[0, 1]).predict_proba(ROWS)[:, 1], share, atol=1e-6, rtol=0
        )
    np.testing.assert_allclose(published(store, module).predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


@pytest.mark.parametrize("last", [nn.Softmax(dim=1), nn.LogSoftmax(dim=-1)])
def test_probabilities_at_the_end_are_recognised(store: Store, last: nn.Module) -> None:
    module = network()
    imported = published(store, nn.Sequential(module, last), labels=["no", "yes"])
    np.testing.assert_allclose(
        imported.predict_proba(ROWS), torch.softmax(answers(module, ROWS), 1).numpy(), atol=1e-6, rtol=0
    )


def test_computed_weights_are_taken(store: Store) -> None:
    for norm in (
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.spectral_norm,
    ):
        torch.manual_seed(2)
        module = nn.Sequential(norm(nn.Linear(3, 6)), nn.Tanh(), nn.Linear(6, 1))
        expected = answers(module, ROWS)[:, 0].numpy()
        np.testing.assert_allclose(published(store, module).predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


def test_a_compiled_or_parallel_module_is_unwrapped(store: Store) -> None:
    module = network(out=1)
    expected = published(store, module).predict(ROWS)
    assert published(store, nn.DataParallel(module)).predict(ROWS) == expected
    assert published(store, torch.compile(module, backend="eager")).predict(ROWS) == expected


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_layer_with_a_forward_pass_of_its_own_is_followed_inside(store: Store) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(Doubled(3, 5), nn.ReLU(), nn.Linear(5, 1))
    expected = answers(module, ROWS)[:, 0].numpy()
    np.testing.assert_allclose(published(store, module).predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


def test_a_frame_names_the_columns(store: Store) -> None:
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=NAMES)
    imported = published(store, network(out=1), columns=None, rows=frame)
    assert imported.columns == tuple(NAMES)
    first = imported.checkpoint.schema.columns[0]
    assert first.minimum == frame.a.min()


def test_dates_and_categories_come_encoded(store: Store) -> None:
    columns = [
        DateColumn(
            name="day", mean=19_000, std=400, minimum=18_000, maximum=20_000, parts=("weekday",), missing="mean"
        ),
        CategoricalColumn(name="city", categories=("Rome", "Oslo"), encoding="sign"),
    ]
    torch.manual_seed(4)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    imported = published(store, module, columns=columns)
    angle = 2 * np.pi * 4 / 7  # 2024-05-31 is a Friday, 19,874 days after 1970-01-01
    encoded = [[(19_874 - 19_000) / 400, np.sin(angle), np.cos(angle), 1.0], [0.0, 0.0, 0.0, -1.0]]
    expected = answers(module, encoded)[:, 0].numpy()
    np.testing.assert_allclose(imported.predict([["2024-05-31", "Oslo"], [None, "Rome"]]), expected, atol=1e-5, rtol=0)


def test_a_state_dict_is_a_module(store: Store) -> None:
    module = network()
    expected = published(store, module, labels=["no", "yes"]).predict_proba(ROWS)
    state = published(
        store, module.state_dict(), labels=["no", "yes"], activation="relu", layer_sizes=[3, 8, 2]
    ).predict_proba(ROWS)
    np.testing.assert_array_equal(state, expected)


def test_the_checkpoint_tells_the_origin(store: Store) -> None:
    training = published(store, network(out=1)).checkpoint.training
    assert training["imported_from"] == "torch.Sequential"
    assert training["versions"] == {"torch": torch.__version__}
