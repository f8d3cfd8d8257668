"""Modules of torch: no change to the caller's module, and the same answers from named columns."""

from __future__ import annotations

import copy
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import axon
from axon.model import Model
from conversion.importing.imported_model import ImportRefused
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


@pytest.mark.parametrize("threshold", [2, 5])
def test_a_softplus_with_a_threshold_of_its_own_is_refused(store: Store, threshold: float) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Softplus(threshold=threshold), nn.Linear(4, 1))
    with pytest.raises(ImportRefused, match=f"layer '1' is a Softplus with threshold {threshold}"):
        published(store, module)


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


def fitted_norms(module: nn.Sequential) -> nn.Sequential:
    """Returns a module whose normalisations have statistics and weights of their own."""
    for layer in module:
        for own in (getattr(layer, "running_mean", None), getattr(layer, "weight", None), getattr(layer, "bias", None)):
            if own is not None:
                nn.init.normal_(own)
    return module.eval()


SEQUENCES = {
    "norm, activation": lambda: (nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "activation, norm": lambda: (nn.Linear(3, 4), nn.LeakyReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "dropout": lambda: (nn.Linear(3, 4), nn.LeakyReLU(), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "norm at both ends": lambda: (
        nn.BatchNorm1d(3),
        nn.Linear(3, 4),
        nn.LeakyReLU(),
        nn.Linear(4, 1),
        nn.BatchNorm1d(1),
    ),
    "eleven": lambda: (
        nn.Linear(3, 6),
        *(part for _ in range(6) for part in (nn.LeakyReLU(), nn.Linear(6, 6))),
        nn.LeakyReLU(),
        nn.Linear(6, 1),
    ),
}


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("name", SEQUENCES)
def test_the_numbers_of_a_state_dict_show_the_place_of_the_activation(
    store: Store, tmp_path: Path, name: str, saved: bool
) -> None:
    torch.manual_seed(4)
    module = fitted_norms(nn.Sequential(*SEQUENCES[name]()))
    state: Any = module.state_dict()
    if saved:
        safetensors.torch.save_file(state, tmp_path / "m.safetensors")
        state = tmp_path / "m.safetensors"
    expected = answers(module, ROWS).numpy()[:, 0]
    imported = published(store, state, activation="leaky_relu")
    np.testing.assert_allclose(imported.predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


UNCLEAR = {
    "two gaps": lambda: nn.Sequential(
        nn.Linear(3, 4), nn.LeakyReLU(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)
    ),
    "no gap": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
    "some gaps": lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "after the last": lambda: nn.Sequential(nn.Linear(3, 1), nn.LeakyReLU(), nn.BatchNorm1d(1)),
    "names": lambda: nn.Sequential(
        OrderedDict(a=nn.Linear(3, 4), b=nn.BatchNorm1d(4), c=nn.LeakyReLU(), d=nn.Linear(4, 1))
    ),
    "group norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "layer norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, bias=False), nn.LeakyReLU(), nn.Linear(4, 1)),
    "rms norm": lambda: nn.Sequential(nn.Linear(3, 4), nn.RMSNorm(4), nn.LeakyReLU(), nn.Linear(4, 1)),
    "prelu": lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1)),
    "two sequences": lambda: nn.Sequential(
        OrderedDict(
            encoder=nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)),
            decoder=nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)),
        )
    ),
    "a sequence and a head": lambda: nn.Sequential(
        OrderedDict(body=nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), head=nn.Linear(2, 1))
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_state_dict_that_several_networks_have_is_refused(store: Store, name: str) -> None:
    module = UNCLEAR[name]()
    with pytest.raises(ImportRefused, match="build the module, load the state dict into it, and publish the module"):
        published(store, module.state_dict(), activation="relu")
    assert store.names() == []


def test_the_linears_of_a_list_of_modules_have_the_activation_between(store: Store) -> None:
    torch.manual_seed(4)
    first, second = nn.Linear(3, 4), nn.Linear(4, 1)
    imported = published(
        store, nn.ModuleDict({"layers": nn.ModuleList([first, second])}).state_dict(), activation="tanh"
    )
    expected = answers(nn.Sequential(first, nn.Tanh(), second), ROWS).numpy()[:, 0]
    np.testing.assert_allclose(imported.predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


def test_linears_of_sequences_without_gaps_have_the_activation_between(store: Store) -> None:
    torch.manual_seed(4)
    parts = [nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1)]
    blocks = nn.Sequential(nn.Sequential(parts[0], nn.Tanh()), nn.Sequential(parts[1], nn.Tanh()), parts[2])
    imported = published(store, blocks.state_dict(), activation="tanh")
    expected = answers(blocks, ROWS).numpy()[:, 0]
    np.testing.assert_allclose(imported.predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)


def test_a_file_has_no_order_of_layers_but_that_of_numbers_and_widths(store: Store, tmp_path: Path) -> None:
    torch.manual_seed(4)
    path = tmp_path / "m.safetensors"
    layers = [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)]
    expected = answers(nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2]), ROWS).numpy()[:, 0]
    for names in (("fc9", "fc10", "fc11"), ("layers.9", "layers.10", "layers.11")):
        state = {
            f"{name}.{key}": own
            for name, layer in zip(names, layers, strict=True)
            for key, own in layer.state_dict().items()
        }
        safetensors.torch.save_file(state, path)
        imported = published(store, path, activation="tanh")
        np.testing.assert_allclose(imported.predict(ROWS), expected, atol=1e-5 * expected.std(), rtol=0)
    state = {f"{name}.weight": layer.weight for name, layer in zip(("start", "middle", "stop"), layers, strict=True)}
    safetensors.torch.save_file(state, path)
    with pytest.raises(ImportRefused, match=r"no order of the layers 'middle', 'start', 'stop'.*publish the module"):
        published(store, path, activation="tanh")


SHARES: dict[str, list[nn.Module]] = {
    "Hardsigmoid": [nn.Hardsigmoid()],
    "Hardtanh": [nn.Hardtanh(0.0, 1.0)],
    "Sigmoid, Hardtanh": [nn.Sigmoid(), nn.Hardtanh(0.01, 0.99)],
    "Sigmoid, Dropout": [nn.Sigmoid(), nn.Dropout(0.1)],
}


@pytest.mark.parametrize("name", SHARES)
def test_outputs_from_0_to_1_are_no_logits(store: Store, name: str) -> None:
    module = nn.Sequential(nn.Linear(3, 1), *SHARES[name]).eval()
    given: dict[str, Any] = {"name": "m", "columns": ["a", "b", "c"], "store": store}
    with pytest.raises(ImportRefused, match=r"layer '[12]' .*outputs from 0.* as probabilities are"):
        axon.publish(module, labels=["no", "yes"], **given)
    imported = axon.load(str(axon.publish(module, **given)), store=store)  # as a value
    x = np.random.default_rng(0).normal(size=(50, 3))
    with torch.no_grad():
        expected = module.double()(torch.tensor(x)).numpy().ravel()
    np.testing.assert_allclose(imported.predict(x), expected, atol=1e-5)
