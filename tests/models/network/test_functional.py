import math
from typing import get_args

import numpy as np
import pytest
import scipy.special
import torch

from models.errors import DataError
from models.network import functional as F  # noqa: N812
from models.network.config import Activation

NAMES = get_args(Activation)
TORCH = {
    "relu": torch.nn.ReLU(),
    "leaky_relu": torch.nn.LeakyReLU(),
    "gelu": torch.nn.GELU(),
    "silu": torch.nn.SiLU(),
    "selu": torch.nn.SELU(),
    "mish": torch.nn.Mish(),
    "tanh": torch.nn.Tanh(),
    "sigmoid": torch.nn.Sigmoid(),
    "identity": torch.nn.Identity(),
}
Z = np.linspace(-30, 30, 1201)  # with 0, where relu has its kink
EXTREMES = np.array([-1e30, -1e4, -100.0, -0.0, 0.0, 100.0, 1e4, 1e30])


def numerical_gradient(f, x, h=1e-6):
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        gradient[index] = (f(up) - f(down)) / (2 * h)
    return gradient


def test_every_activation_of_the_config_has_a_function_and_a_derivative():
    assert tuple(F.ACTIVATIONS) == tuple(F.DERIVATIVES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_activations_agree_with_torch(name):
    np.testing.assert_allclose(F.ACTIVATIONS[name](Z), TORCH[name](torch.from_numpy(Z)).numpy(), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree_with_autograd_also_at_the_kink(name):
    z = torch.from_numpy(Z.copy()).requires_grad_()
    TORCH[name](z).sum().backward()
    np.testing.assert_allclose(F.DERIVATIVES[name](Z), z.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_agree_with_finite_differences(name):
    z, h = np.linspace(-4, 4, 80), 1e-6  # an even number of points leaves 0 out
    numerical = (F.ACTIVATIONS[name](z + h) - F.ACTIVATIONS[name](z - h)) / (2 * h)
    np.testing.assert_allclose(F.DERIVATIVES[name](z), numerical, atol=1e-9)


def test_gelu_keeps_its_digits_in_the_negative_tail():
    z = np.array([-5.0, -10.0, -20.0, -35.0])
    np.testing.assert_allclose(F.gelu(z), z * scipy.special.ndtr(z), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_activations_keep_the_dtype_and_stay_finite_at_extremes_without_a_warning(name, dtype):
    with np.errstate(all="raise", under="ignore"):
        for function in (F.ACTIVATIONS[name], F.DERIVATIVES[name]):
            answer = function(EXTREMES.astype(dtype))
            assert answer.dtype == dtype
            assert np.isfinite(answer).all()
            assert function(np.empty((0, 3), dtype)).shape == (0, 3)


def test_step_fires_at_zero():
    z = np.array([-1e-30, -0.0, 0.0, 1e-30], np.float32)
    np.testing.assert_array_equal(F.step(z), np.array([0, 1, 1, 1], np.float32))
    assert F.step(z).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_huge_logits_is_a_distribution_in_the_same_dtype(dtype):
    logits = np.array([[1e4, 1e4 - 1, -1e4], [-1e30, 0, 1e30], [0, 0, 0]], dtype)
    with np.errstate(all="raise", under="ignore"):
        probabilities = F.softmax(logits)
        log_probabilities = F.log_softmax(logits)
    assert probabilities.dtype == log_probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities, scipy.special.softmax(logits, axis=1), rtol=1e-6)
    np.testing.assert_allclose(log_probabilities, scipy.special.log_softmax(logits, axis=1), rtol=1e-6)


def test_cross_entropy_and_its_gradient_agree_with_torch_and_with_finite_differences():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 3, (5, 4)), np.array([3, 0, 1, 1, 2])
    z = torch.from_numpy(logits.copy()).requires_grad_()
    loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(targets))
    loss.backward()
    gradient = F.cross_entropy_gradient(logits, targets)
    assert F.cross_entropy(logits, targets) == pytest.approx(loss.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, z.grad.numpy(), atol=1e-15)
    np.testing.assert_allclose(gradient, numerical_gradient(lambda a: F.cross_entropy(a, targets), logits), atol=1e-9)


def test_cross_entropy_of_equal_logits_is_the_log_of_the_number_of_classes():
    assert F.cross_entropy(np.zeros((3, 7)), np.array([0, 3, 6])) == pytest.approx(math.log(7))


def test_cross_entropy_of_a_hopeless_row_is_large_not_infinite():
    assert F.cross_entropy(np.array([[1e4, 0.0]], np.float32), np.array([1])) == 1e4


def test_mse_and_its_gradient_agree_with_torch_and_with_finite_differences():
    rng = np.random.default_rng(1)
    values, targets = rng.normal(size=(2, 6, 3))
    v = torch.from_numpy(values.copy()).requires_grad_()
    loss = torch.nn.functional.mse_loss(v, torch.from_numpy(targets))
    loss.backward()
    gradient = F.mse_gradient(values, targets)
    assert F.mse(values, targets) == pytest.approx(loss.item(), rel=1e-13)
    np.testing.assert_allclose(gradient, v.grad.numpy(), atol=1e-15)
    np.testing.assert_allclose(gradient, numerical_gradient(lambda a: F.mse(a, targets), values), atol=1e-9)


def test_gradients_keep_float32():
    z = np.ones((2, 2), np.float32)
    assert F.cross_entropy_gradient(z, np.array([0, 1])).dtype == np.float32
    assert F.mse_gradient(z, z).dtype == np.float32


def test_a_gradient_leaves_its_arguments_alone():
    logits, targets = np.zeros((2, 3)), np.array([0, 2])
    F.cross_entropy_gradient(logits, targets)
    assert not logits.any()


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "at least one row"),
        (np.zeros(2), np.zeros(2, int), "at least one row"),
        (np.zeros((2, 2)), np.zeros((2, 1), int), "one class a row"),
        (np.zeros((2, 2)), np.zeros(2), "integer"),
        (np.zeros((2, 2)), np.array([0, 2]), "0 to 1"),
        (np.zeros((2, 2)), np.array([-1, 0]), "0 to 1"),
    ],
)
@pytest.mark.parametrize("function", [F.cross_entropy, F.cross_entropy_gradient])
def test_targets_that_are_not_one_class_a_row_are_refused(function, logits, targets, message):
    with pytest.raises(DataError, match=message):
        function(logits, targets)


@pytest.mark.parametrize("function", [F.mse, F.mse_gradient])
def test_mse_refuses_shapes_that_would_broadcast(function):
    with pytest.raises(DataError, match=r"\(3, 1\), \(3,\)"):
        function(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(DataError, match="not be empty"):
        function(np.zeros((0, 1)), np.zeros((0, 1)))


def test_linear_is_torchs_linear_and_refuses_another_width():
    rng = np.random.default_rng(2)
    x, weight, bias = rng.normal(size=(5, 3)), rng.normal(size=(2, 3)), rng.normal(size=2)
    expected = torch.nn.functional.linear(*map(torch.from_numpy, (x, weight, bias))).numpy()
    np.testing.assert_allclose(F.linear(x, weight, bias), expected, rtol=1e-12)
    np.testing.assert_allclose(F.linear(x, weight), expected - bias, atol=1e-12)
    with pytest.raises(DataError, match=r"\(rows, 3\), got \(5, 2\)"):
        F.linear(x[:, :2], weight)
    with pytest.raises(DataError, match=r"\(rows, 3\), got \(3,\)"):
        F.linear(x[0], weight)
