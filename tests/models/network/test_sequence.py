"""A sequence of layers: description, checks, and a forward pass that equals torch's, in NumPy and in the engine."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from inference.activations import ACTIVATIONS, in_place
from inference.device_network import DeviceNetwork
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.columns.column import NumericColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.errors import ConfigError
from models.network.architecture import architecture_from_dict
from models.network.config import LayerActivation
from models.network.fuse import fuse
from models.network.layer_activations import CONSTANTS, TYPES, activate, constants_of
from models.network.sequence import SequenceConfig, SequenceLayer
from models.network.summary import summarize

NAMES = get_args(LayerActivation)
MODULES: dict[str, Any] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "softplus": nn.Softplus,
    "hardtanh": nn.Hardtanh,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
}
OTHER_CONSTANTS = {
    "leaky_relu": (0.3,),
    "elu": (0.5,),
    "celu": (2.0,),
    "softplus": (3.0,),
    "hardtanh": (0.0, 6.0),
}
Z = np.concatenate([np.linspace(-30, 30, 241), [-1e20, -1e4, 1e4, 1e20]]).astype(np.float32)[:, None]


def test_each_table_has_each_activation() -> None:
    assert set(NAMES) == set(MODULES) == set(TYPES) == set(ACTIVATIONS)
    assert set(CONSTANTS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_numpy_and_the_engine_compute_torchs_function(name: LayerActivation) -> None:
    assert type(MODULES[name]()).__name__ == TYPES[name]
    expected = MODULES[name]()(torch.from_numpy(Z.astype(np.float64))).numpy()
    planned = torch.from_numpy(Z.copy())
    in_place(name)(planned)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(activate(name, (), Z), expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(planned.numpy(), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", OTHER_CONSTANTS)
def test_constants_are_torchs(name: Any) -> None:
    constants = OTHER_CONSTANTS[name]
    expected = MODULES[name](*constants)(torch.from_numpy(Z.astype(np.float64))).numpy()
    planned = torch.from_numpy(Z.copy())
    in_place(name, constants)(planned)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(activate(name, constants, Z), expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(planned.numpy(), expected, rtol=2e-5, atol=1e-6)


def test_hardsigmoid_takes_onnx_slope_and_shift() -> None:
    expected = np.clip(0.2 * Z + 0.5, 0, 1)
    np.testing.assert_allclose(activate("hardsigmoid", (0.2, 0.5), Z), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "constants"),
    [("elu", (0.0,)), ("softplus", (-1.0,)), ("relu", (1.0,)), ("hardtanh", (1.0,)), ("hardtanh", (2.0, 1.0))],
)
def test_wrong_constants_are_refused(name: Any, constants: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=name):
        constants_of(name, constants)


def layer(name: str, kind: Any, **fields: Any) -> SequenceLayer:
    return SequenceLayer(name=name, kind=kind, **fields)


def torch_network() -> nn.Sequential:
    """Makes a network in which each kind of layer stands in each place where none is usual."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.BatchNorm1d(5),
        nn.ELU(0.7),
        nn.Linear(5, 8, bias=False),
        nn.LayerNorm(8, eps=1e-3),
        nn.PReLU(8),
        nn.Dropout(0.3),
        nn.BatchNorm1d(8, affine=False),
        nn.Linear(8, 6),
        nn.Linear(6, 7),
        nn.PReLU(),
        nn.LayerNorm(7, elementwise_affine=False),
        nn.Softplus(),
        nn.Linear(7, 3),
        nn.BatchNorm1d(3),
    )
    for module in network:
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.1
        for parameter in module.parameters():
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


SEQUENCE = (
    layer("0", "batch_norm"),
    layer("1", "activation", activation="elu", constants=(0.7,)),
    layer("2", "linear", out_features=8, bias=False),
    layer("3", "layer_norm", eps=1e-3),
    layer("4", "prelu"),
    layer("5", "dropout", probability=0.3),
    layer("6", "batch_norm", affine=False),
    layer("7", "linear", out_features=6),
    layer("8", "linear", out_features=7),
    layer("9", "prelu", shared=True),
    layer("10", "layer_norm", affine=False),
    layer("11", "activation", activation="softplus"),
    layer("12", "linear", out_features=3),
    layer("13", "batch_norm"),
)


def tensors_of(network: nn.Module) -> dict[str, Any]:
    state = network.state_dict()
    return {name: value.numpy() for name, value in state.items() if not name.endswith("num_batches_tracked")}


def test_any_order_of_layers_is_torchs_network_in_numpy_and_in_the_engine() -> None:
    network = torch_network()
    config = SequenceConfig(in_features=5, sequence=SEQUENCE)
    tensors = tensors_of(network)
    assert {name: tensor.shape for name, tensor in tensors.items()} == config.tensor_shapes()
    assert config.parameter_count == sum(parameter.numel() for parameter in network.parameters())
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=5), rng.uniform(0.5, 2, 5)
    fused = fuse(config, tensors, input_mean=mean, input_std=std)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    standardised = torch.from_numpy((x - mean) / std)
    expected = torch.softmax(network.double()(standardised), dim=-1).detach().numpy()
    np.testing.assert_allclose(fused.forward(x), expected, atol=1e-6)
    device = DeviceNetwork(fused, torch.device("cpu"), max_batch_rows=256)
    device.warm_up()
    assert device.batch_invariant
    np.testing.assert_allclose(device.forward(x), expected, atol=1e-6)


@pytest.mark.parametrize("output", ["softmax", "argmax", "sigmoid", "linear"])
def test_outputs_are_the_functions_that_they_name(output: Any) -> None:
    width = 1 if output in ("sigmoid", "linear") else 3
    config = SequenceConfig(in_features=2, sequence=(layer("a", "linear", out_features=width),), output=output)
    rng = np.random.default_rng(2)
    tensors = {"a.weight": rng.normal(size=(width, 2)), "a.bias": rng.normal(size=width)}
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    x = rng.normal(size=(50, 2)).astype(np.float32)
    z = x.astype(np.float64) @ tensors["a.weight"].T + tensors["a.bias"]
    match output:
        case "softmax":
            expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        case "argmax":
            expected = np.eye(3)[z.argmax(axis=1)]
        case "sigmoid":
            expected = np.concatenate([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))], axis=1)
        case _:
            expected = z
    network = fuse(config, tensors)
    device = DeviceNetwork(network, torch.device("cpu"), max_batch_rows=64)
    device.warm_up()
    for answers in (network.forward(x), device.forward(x)):
        np.testing.assert_allclose(answers, expected, atol=1e-6)
    assert config.has_probabilities == (output in ("softmax", "sigmoid"))
    assert config.n_classes == {"softmax": 3, "argmax": 3, "sigmoid": 2, "linear": None}[output]


def test_of_equal_outputs_argmax_takes_the_first_and_one_that_is_not_finite_is_no_class() -> None:
    config = SequenceConfig(in_features=1, sequence=(layer("a", "linear", out_features=3),), output="argmax")
    tensors = {"a.weight": np.array([[0], [1e38], [1e38]], np.float32), "a.bias": np.zeros(3, np.float32)}
    network = fuse(config, tensors)
    device = DeviceNetwork(network, torch.device("cpu"), max_batch_rows=64)
    x = np.array([[0], [1], [-1], [1e38]], np.float32)
    with np.errstate(all="ignore"):
        answers = network.forward(x)
    for found in (answers, device.forward(x)):
        assert found[:3].tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
        assert not np.isfinite(found[3]).all()


def schema(width: int, target: Any) -> Schema:
    columns = tuple(NumericColumn(name=f"x{i}", mean=0, std=1, minimum=None, maximum=None) for i in range(width))
    return Schema(columns=columns, target=target)


def test_a_checkpoint_keeps_a_sequence_and_unknown_ranges(tmp_path: Any) -> None:
    target = ClassTarget(name="y", labels=("a", "b", "c"))
    checkpoint = Checkpoint(
        config=SequenceConfig(in_features=5, sequence=SEQUENCE),
        schema=schema(5, target),
        tensors=tensors_of(torch_network()),
    )
    assert checkpoint.header()["format_version"] == 3
    digest = save_checkpoint(checkpoint, tmp_path / "m")
    loaded = load_checkpoint(tmp_path / "m")
    assert loaded.digest == digest
    assert loaded.checkpoint.config == checkpoint.config
    assert loaded.checkpoint.schema == checkpoint.schema
    assert [item.name for item in summarize(checkpoint.config).layers] == [item.name for item in SEQUENCE]


def test_a_regression_without_a_known_range_is_written_and_read(tmp_path: Any) -> None:
    target = NumericTarget(name="y", mean=0, std=1, minimum=None, maximum=None)
    config = SequenceConfig(in_features=2, sequence=(layer("a", "linear", out_features=1),), output="linear")
    tensors = {"a.weight": np.ones((1, 2), np.float32), "a.bias": np.zeros(1, np.float32)}
    checkpoint = Checkpoint(config=config, schema=schema(2, target), tensors=tensors)
    save_checkpoint(checkpoint, tmp_path / "m")
    network = load_checkpoint(tmp_path / "m").checkpoint.inference_network()
    assert network.forward(np.array([[1, 2]], np.float32)).tolist() == [[3]]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sequence": []}, "1 to 1000 layers"),
        ({"sequence": [{"name": "a", "kind": "dropout"}]}, "a Linear among them"),
        ({"sequence": [{"name": "a", "kind": "conv"}]}, "layer 'a': kind must be one of"),
        ({"sequence": [{"name": "a", "kind": "linear"}]}, "out_features is for a Linear"),
        ({"sequence": [{"name": "a", "kind": "linear", "out_features": True}]}, "whole number"),
        ({"sequence": [{"name": "a b", "kind": "linear", "out_features": 2}]}, "name must be letters"),
        ({"sequence": [{"name": "a", "kind": "linear", "out_features": 2, "eps": math.nan}]}, "eps must be"),
        ({"sequence": [{"name": "a", "kind": "linear", "out_features": 2, "color": 1}]}, "unknown field 'color'"),
        ({"sequence": [{"name": "a", "kind": "linear", "out_features": 2}] * 2}, "two layers have the name 'a'"),
        ({"sequence": [{"name": "a", "kind": "activation", "activation": "step"}]}, "activation must be one of"),
        ({"output": "step"}, "output must be one of"),
        ({"output": "sigmoid"}, "one unit"),
        ({"in_features": 0}, "in_features"),
        ({"depth": 3}, "unknown architecture field 'depth'"),
        ({"sequence": 3}, "must be a list"),
        ({"sequence": [3]}, "an object with name and kind"),
    ],
)
def test_a_hostile_description_gives_a_clear_error(change: dict[str, Any], text: str) -> None:
    sound = {"kind": "sequence", "in_features": 2, "sequence": [{"name": "a", "kind": "linear", "out_features": 2}]}
    assert architecture_from_dict(sound).out_features == 2
    with pytest.raises(ConfigError, match=text):
        architecture_from_dict({**sound, **change})
