import subprocess
import sys

import numpy as np
import pytest
import torch

from models.errors import ConfigError, DataError
from models.network.config import MLPConfig
from models.network.mlp import MLP
from models.network.numpy_mlp import SUPPORTED_ACTIVATIONS, NumpyMLP

SHAPES = [(4, 3), (3, 5, 2), (2, 4, 6, 3, 2)]
CASES = [
    MLPConfig(layer_sizes=sizes, activation=activation, output=output, bias=bias)
    for sizes in SHAPES
    for activation in SUPPORTED_ACTIVATIONS
    for output in ("softmax", "linear")
    for bias in (True, False)
]


def case_id(config):
    bias = "bias" if config.bias else "no bias"
    return f"{'-'.join(map(str, config.layer_sizes))} {config.activation} {config.output} {bias}"


def batch(config, rows=7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, config.in_features))
    if config.output == "softmax":
        return x, rng.integers(0, config.out_features, rows)
    return x, rng.normal(size=(rows, config.out_features))


def with_biases(config, seed=1):
    """Makes a float64 network with non-zero biases, so that an error in a bias would show."""
    mlp = NumpyMLP(config, rng=np.random.default_rng(seed), dtype=np.float64)
    for name, parameter in mlp.parameters.items():
        if name.endswith("bias"):
            parameter[:] = np.random.default_rng(seed).normal(size=parameter.shape)
    return mlp


def torch_twin(mlp):
    twin = MLP(mlp.config).double()
    for name, parameter in twin.named_parameters():
        parameter.data.copy_(torch.from_numpy(mlp.parameters[name]))
    return twin


def torch_loss(config, out, y):
    functional = torch.nn.functional
    if config.output == "softmax":
        return functional.cross_entropy(out, torch.from_numpy(y))
    return functional.mse_loss(out, torch.from_numpy(y))


@pytest.mark.parametrize("config", CASES, ids=case_id)
def test_forward_loss_and_gradients_are_those_of_torch_autograd(config):
    mlp, (x, y) = with_biases(config), batch(config)
    twin = torch_twin(mlp)
    out = twin(torch.from_numpy(x))
    loss = torch_loss(config, out, y)
    loss.backward()
    ours, gradients = mlp.loss_and_gradients(x, y)
    np.testing.assert_allclose(mlp.forward(x), out.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        mlp.predict_probabilities(x), twin.predict_probabilities(torch.from_numpy(x)).detach().numpy(), rtol=1e-12
    )
    assert ours == mlp.loss(x, y) == pytest.approx(loss.item(), rel=1e-12)
    assert gradients.keys() == mlp.parameters.keys()
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=1e-11, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("config", [c for c in CASES if c.layer_sizes != (4, 3)], ids=case_id)
def test_gradients_are_those_of_finite_differences(config):
    mlp, (x, y) = with_biases(config), batch(config)
    _, gradients = mlp.loss_and_gradients(x, y)
    h = 1e-6
    for name, parameter in mlp.parameters.items():
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + h
            up = mlp.loss(x, y)
            parameter[index] = kept - h
            down = mlp.loss(x, y)
            parameter[index] = kept
            # Central differences have errors of h² from truncation and 1e-16/h from rounding.
            assert gradients[name][index] == pytest.approx((up - down) / (2 * h), abs=1e-8), (name, index)


@pytest.mark.parametrize(("weight_decay", "momentum"), [(0, 0), (0.1, 0), (0, 0.9), (0.05, 0.8)])
@pytest.mark.slow
def test_updates_are_those_of_torchs_sgd(weight_decay, momentum):
    config = MLPConfig(layer_sizes=(3, 5, 2), activation="tanh")
    mlp, (x, y) = with_biases(config), batch(config)
    twin = torch_twin(mlp)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, weight_decay=weight_decay, momentum=momentum)
    for _ in range(5):
        optimizer.zero_grad()
        torch_loss(config, twin(torch.from_numpy(x)), y).backward()
        optimizer.step()
        _, gradients = mlp.loss_and_gradients(x, y)
        mlp.update(gradients, 0.1, weight_decay=weight_decay, momentum=momentum)
    for name, parameter in twin.named_parameters():
        np.testing.assert_allclose(mlp.parameters[name], parameter.detach().numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_it_learns_xor(activation, output):
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    out = 2 if output == "softmax" else 1
    config = MLPConfig(layer_sizes=(2, 8, out), activation=activation, output=output, initialization="xavier")
    mlp = NumpyMLP(config, rng=np.random.default_rng(0))
    target = y if output == "softmax" else y[:, None]
    for _ in range(3000):
        _, gradients = mlp.loss_and_gradients(x, target)
        mlp.update(gradients, 0.3 if output == "softmax" else 0.1, momentum=0.9)
    answer = mlp.predict_probabilities(x)
    np.testing.assert_array_equal(answer.argmax(axis=1) if output == "softmax" else answer[:, 0] > 0.5, y)
    assert mlp.loss(x, target) < 0.01


def test_without_a_nonlinearity_xor_cannot_be_learned():
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    config = MLPConfig(layer_sizes=(2, 8, 8, 1), activation="identity", output="linear")
    mlp = NumpyMLP(config, rng=np.random.default_rng(0), dtype=np.float64)
    for _ in range(2000):
        mlp.update(mlp.loss_and_gradients(x, y)[1], 0.05)
    # The best affine function of XOR's inputs is the constant 1/2 by least squares, and the network ends there.
    np.testing.assert_allclose(mlp.forward(x), 0.5, atol=1e-6)


@pytest.mark.parametrize(("initialization", "variance"), [("he", 2 / 400), ("xavier", 2 / (400 + 900))])
def test_initial_weights_have_the_variance_of_their_method_and_biases_are_zero(initialization, variance):
    config = MLPConfig(layer_sizes=(400, 900, 2), initialization=initialization)
    parameters = NumpyMLP(config, rng=np.random.default_rng(0)).parameters
    weight = parameters["layers.0.weight"]
    # 360,000 draws: the standard error of the variance is variance·√(2/360,000), 0.24 %; of the mean, std/600.
    assert weight.var() == pytest.approx(variance, rel=0.01)
    assert abs(weight.mean()) < 4 * np.sqrt(variance) / 600
    kurtosis = ((weight - weight.mean()) ** 4).mean() / weight.var() ** 2
    assert kurtosis == pytest.approx(3, abs=0.1)  # a normal distribution; a uniform one has 1.8
    assert not parameters["layers.0.bias"].any()


def test_parameters_have_the_names_and_shapes_of_a_checkpoint_and_the_given_dtype():
    for bias in (True, False):
        config = MLPConfig(layer_sizes=(3, 4, 2), bias=bias)
        mlp = NumpyMLP(config, rng=np.random.default_rng(0))
        assert {name: p.shape for name, p in mlp.parameters.items()} == config.tensor_shapes()
        assert sum(p.size for p in mlp.parameters.values()) == config.parameter_count
        x, y = batch(config)
        _, gradients = mlp.loss_and_gradients(x, y)
        mlp.update(gradients, 0.1, weight_decay=0.1, momentum=0.9)
        for array in (*gradients.values(), *mlp.parameters.values(), mlp.forward(x)):
            assert array.dtype == np.float32


def test_the_same_seed_gives_the_same_network():
    config = MLPConfig(layer_sizes=(3, 4, 2))
    first, second, third = (NumpyMLP(config, rng=np.random.default_rng(seed)).to_tensors() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["layers.0.weight"], second["layers.0.weight"])
    assert (first["layers.0.weight"] != third["layers.0.weight"]).all()


def test_tensors_go_to_torch_and_back():
    config = MLPConfig(layer_sizes=(3, 4, 2), activation="tanh")
    mlp = NumpyMLP(config, rng=np.random.default_rng(0))
    tensors = mlp.to_tensors()
    x, y = batch(config)
    out = MLP.from_tensors(config, tensors)(torch.from_numpy(x).float()).detach().numpy()
    np.testing.assert_allclose(mlp.forward(x), out, rtol=1e-5, atol=1e-6)
    restored = NumpyMLP.from_tensors(config, tensors)
    np.testing.assert_array_equal(restored.forward(x), mlp.forward(x))
    mlp.update(mlp.loss_and_gradients(x, y)[1], 1.0)  # neither the tensors nor the restored network change
    np.testing.assert_array_equal(restored.parameters["layers.0.weight"], tensors["layers.0.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"activation": "gelu"}, "'gelu'"),
        ({"activation": "leaky_relu"}, "'leaky_relu'"),
        ({"dropout": 0.2}, "dropout=0.2"),
        ({"normalization": "layer"}, "normalization='layer'"),
        ({"output": "step", "layer_sizes": (2, 3, 1)}, "step output"),
    ],
)
def test_what_it_does_not_support_is_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        NumpyMLP(MLPConfig(**{"layer_sizes": (2, 3, 2)} | fields), rng=np.random.default_rng(0))


def test_tensors_and_rows_of_another_shape_are_refused():
    config = MLPConfig(layer_sizes=(3, 4, 2))
    mlp = NumpyMLP(config, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"'layers.1.bias' of shape \(2,\) is missing"):
        NumpyMLP.from_tensors(config, {n: t for n, t in mlp.to_tensors().items() if n != "layers.1.bias"})
    with pytest.raises(ConfigError, match="'extra' does not belong"):
        NumpyMLP.from_tensors(config, mlp.to_tensors() | {"extra": np.zeros(1)})
    with pytest.raises(DataError, match=r"\(rows, 3\), got \(5, 2\)"):
        mlp.forward(np.zeros((5, 2)))


def test_the_numpy_models_need_no_torch():
    modules = "models.network.numpy_mlp, models.network.perceptron, models.network.fuse"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
