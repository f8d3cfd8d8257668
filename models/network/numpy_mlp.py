"""The MLP from scratch: forward, backward by the chain rule and one step of gradient descent, in NumPy alone.

A small, readable twin of the PyTorch module, with the same architecture, tensor names and numbers. Backpropagation
follows Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors.

Shapes: `rows` samples; layer i maps n_i features to n_{i+1}; W_i is (n_{i+1}, n_i), b_i is (n_{i+1},).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError
from models.network import functional
from models.network.config import Activation, Initialization, MLPConfig, check_tensors
from models.network.functional import FloatArray

SUPPORTED_ACTIVATIONS: tuple[Activation, ...] = ("relu", "tanh", "sigmoid", "identity")


class NumpyMLP:
    """An MLP with a softmax output trained on cross-entropy, or a linear output trained on squared error.

    Attributes:
        config: architecture of the network.
        parameters: learned arrays by checkpoint name: `layers.{i}.weight` (n_{i+1}, n_i), `layers.{i}.bias` (n_{i+1},).
    """

    def __init__(self, config: MLPConfig, *, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> None:
        """Builds the network, with weights drawn from `rng` as `config.initialization` says and biases of zero.

        Args:
            config: architecture of the network; the hidden layers may be Linear → relu, tanh, sigmoid or identity.
            rng: random generator of the initial weights.
            dtype: element type of parameters, activations and gradients; float64 to check gradients.

        Raises:
            ConfigError: The architecture needs a feature that only the PyTorch module has; the message names it.
        """
        _check_supported(config)
        self.config = config
        self._dtype = np.dtype(dtype)
        self._velocity: dict[str, FloatArray] = {}
        self.parameters: dict[str, FloatArray] = {}
        for i, (n_in, n_out) in enumerate(itertools.pairwise(config.layer_sizes)):
            std = _initial_std(config.initialization, n_in, n_out)
            self.parameters[f"layers.{i}.weight"] = rng.normal(0, std, (n_out, n_in)).astype(self._dtype)
            if config.bias:
                self.parameters[f"layers.{i}.bias"] = np.zeros(n_out, self._dtype)

    def forward(self, x: FloatArray) -> FloatArray:
        """Computes logits (before the softmax) or values.

        Args:
            x: (rows, in_features)

        Returns:
            (rows, out_features)

        Raises:
            DataError: `x` does not have that shape.
        """
        _, z = self._forward(x)
        return z[-1]

    def predict_probabilities(self, x: FloatArray) -> FloatArray:
        """Computes class probabilities, or the values of a linear output.

        Args:
            x: (rows, in_features)

        Returns:
            (rows, out_features)

        Raises:
            DataError: `x` does not have that shape.
        """
        out = self.forward(x)
        if self.config.output != "softmax":
            return out
        return functional.softmax(out / out.dtype.type(self.config.temperature))

    def loss(self, x: FloatArray, y: npt.NDArray[Any]) -> float:
        """Computes the mean cross-entropy (softmax output) or the mean squared error (linear output).

        Args:
            x: (rows, in_features), at least one row.
            y: (rows,) class indices, or (rows, out_features) values.

        Raises:
            DataError: `x` or `y` does not have that shape, or `y` has an index of no class.
        """
        out = self.forward(x)
        if self.config.output == "softmax":
            return functional.cross_entropy(out, y)
        return functional.mse(out, y.astype(self._dtype))

    def loss_and_gradients(self, x: FloatArray, y: npt.NDArray[Any]) -> tuple[float, dict[str, FloatArray]]:
        """Computes the loss and the gradient of the loss with respect to each parameter, by the parameter's name.

        Args:
            x: (rows, in_features), at least one row.
            y: (rows,) class indices, or (rows, out_features) values.

        Raises:
            DataError: The same cases as in `loss`.
        """
        h, z = self._forward(x)
        # delta is ∂loss/∂z_i, (rows, n_{i+1}), from the last layer back to the first.
        if self.config.output == "softmax":
            loss = functional.cross_entropy(z[-1], y)
            delta = functional.cross_entropy_gradient(z[-1], y)
        else:
            targets = y.astype(self._dtype)
            loss = functional.mse(z[-1], targets)
            delta = functional.mse_gradient(z[-1], targets)

        derivative = functional.DERIVATIVES[self.config.activation]
        gradients: dict[str, FloatArray] = {}
        for i in reversed(range(len(z))):
            # z_i = h_i W_iᵀ + b_i: each row adds delta times its input to a weight's gradient, and delta to a bias's.
            gradients[f"layers.{i}.weight"] = delta.T @ h[i]  # (n_{i+1}, rows) @ (rows, n_i)
            if self.config.bias:
                gradients[f"layers.{i}.bias"] = delta.sum(axis=0)  # (n_{i+1},)
            if i > 0:
                # h_i = f(z_{i-1}): first back through W_i to h_i, then through the activation to z_{i-1}.
                upstream = delta @ self.parameters[f"layers.{i}.weight"]  # (rows, n_{i+1}) @ (n_{i+1}, n_i)
                delta = upstream * derivative(z[i - 1])  # (rows, n_i)
        return loss, gradients

    def update(
        self,
        gradients: Mapping[str, FloatArray],
        learning_rate: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        decays_biases: bool = True,
    ) -> None:
        """Takes one step of stochastic gradient descent, as `torch.optim.SGD` does: v ← μv + (g + λw), w ← w - ηv.

        Args:
            gradients: gradient of each parameter, from `loss_and_gradients`.
            learning_rate: step size η.
            weight_decay: L2 penalty λ.
            momentum: share μ of the previous velocity that is kept (Polyak 1964); the velocity starts at zero.
            decays_biases: False for a penalty on weights only.
        """
        for name, parameter in self.parameters.items():
            penalty = weight_decay if decays_biases or name.endswith(".weight") else 0.0
            step = gradients[name] + penalty * parameter
            if momentum:
                step = self._velocity[name] = momentum * self._velocity.get(name, np.zeros_like(step)) + step
            parameter -= learning_rate * step

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies the parameters to float32, with the names and shapes of `config.tensor_shapes()`."""
        return {name: parameter.astype(np.float32) for name, parameter in self.parameters.items()}

    @classmethod
    def from_tensors(
        cls, config: MLPConfig, tensors: Mapping[str, npt.NDArray[Any]], *, dtype: npt.DTypeLike = np.float32
    ) -> NumpyMLP:
        """Builds a network with copies of given weights.

        Raises:
            ConfigError: The architecture is not supported, or a tensor does not fit it.
        """
        check_tensors(config, {name: tensor.shape for name, tensor in tensors.items()})
        mlp = cls(config, rng=np.random.default_rng(0), dtype=dtype)  # the next line replaces these weights
        mlp.parameters = {name: tensors[name].astype(mlp._dtype) for name in mlp.parameters}
        return mlp

    def _forward(self, x: FloatArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Computes h_i (rows, n_i) and z_i = h_i W_iᵀ + b_i (rows, n_{i+1}) of each layer; backward needs both."""
        activation = functional.ACTIVATIONS[self.config.activation]
        h: list[FloatArray] = [np.asarray(x, dtype=self._dtype)]
        z: list[FloatArray] = []
        for i in range(len(self.config.layer_sizes) - 1):
            if i > 0:
                h.append(activation(z[-1]))
            weight, bias = self.parameters[f"layers.{i}.weight"], self.parameters.get(f"layers.{i}.bias")
            z.append(functional.linear(h[-1], weight, bias))
        return h, z


def _initial_std(initialization: Initialization, fan_in: int, fan_out: int) -> float:
    """Returns the standard deviation of the initial weights with which signals keep their variance through the layers.

    `he` is √(2/fan_in), for relu (He et al. 2015, Delving deep into rectifiers); `xavier` is √(2/(fan_in + fan_out)),
    for tanh (Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks).
    """
    return math.sqrt(2 / fan_in if initialization == "he" else 2 / (fan_in + fan_out))


def _check_supported(config: MLPConfig) -> None:
    if config.activation not in SUPPORTED_ACTIVATIONS:
        raise ConfigError(
            f"the NumPy MLP supports the activations {', '.join(SUPPORTED_ACTIVATIONS)}, got {config.activation!r}."
        )
    if config.dropout > 0:
        raise ConfigError(f"the NumPy MLP has no dropout, got dropout={config.dropout!r}.")
    if config.normalization != "none":
        raise ConfigError(f"the NumPy MLP has no normalization, got normalization={config.normalization!r}.")
    for name, absent in (("inputs", None), ("learned_activation", False), ("members", 1)):
        if getattr(config, name) != absent:
            raise ConfigError(f"the NumPy MLP has no {name}: use the PyTorch module.")
    if config.output == "step":
        raise ConfigError("the NumPy MLP cannot train a step output, whose derivative is 0; use the Perceptron.")
    if config.output in ("exponential", "logistic"):
        raise ConfigError(f"the NumPy MLP has no {config.output} output: use the PyTorch module.")
