"""One MLP as a PyTorch module, built from an `MLPConfig`.

Training draws its initial weights with this module and fits them in a batched network of its own
(`training.engines.network.network`), whose gradients the tests compare with this module's. Some studies train the
module directly. An ensemble is several modules.

Shapes: x (rows, in_features) → input stage → for each hidden layer: Linear → normalisation → activation → dropout →
last Linear → logits or values (rows, out_features).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.network.config import (
    LEAKY_RELU_SLOPE,
    NORMALIZATION_EPS,
    Activation,
    MLPConfig,
    Normalization,
    check_tensors,
)
from models.network.input_layer import InputLayer

_ACTIVATIONS: Mapping[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAKY_RELU_SLOPE),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "mish": nn.Mish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
_NORMALIZATIONS: Mapping[Normalization, Callable[[int], nn.Module]] = {
    "batch": lambda width: nn.BatchNorm1d(width, eps=NORMALIZATION_EPS),
    "layer": lambda width: nn.LayerNorm(width, eps=NORMALIZATION_EPS),
}


class LearnedActivation(nn.Module):
    """The mix x + a·(f(x) - x) of an activation f with the identity, with a learned a for each unit, initially 1."""

    def __init__(self, activation: nn.Module, width: int) -> None:
        super().__init__()
        self.activation = activation
        self.mix = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (rows, width) to (rows, width)."""
        return torch.lerp(x, self.activation(x), self.mix)


class MLP(nn.Module):
    """A multi-layer perceptron as a PyTorch module, with the submodule names of `config.layers()`.

    Attributes:
        config: architecture of the network.
        inputs: input stage before the first Linear, or None.
        layers: Linear layers, one more than there are hidden layers.
        norms: BatchNorm1d or LayerNorm of each hidden layer; empty without normalisation.
        activations: activation of each hidden layer; separate modules, so that a hook or a summary can address each.
        dropouts: dropout of each hidden layer; empty without dropout.
    """

    def __init__(self, config: MLPConfig, *, generator: torch.Generator | None = None) -> None:
        """Builds the module on the CPU, with weights drawn as `config.initialization` says and biases of zero.

        Args:
            config: architecture of the network.
            generator: random generator of the initial weights; torch's global generator if None, else that is not used.

        Raises:
            ConfigError: The architecture is an ensemble.
        """
        super().__init__()
        if config.members != 1:
            raise ConfigError(f"a module is one network, and the architecture has {config.members} members.")
        self.config = config
        self.inputs = None if config.inputs is None else InputLayer(config.inputs, generator=generator)
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.activations = nn.ModuleList()
        self.dropouts = nn.ModuleList()
        for spec in config.layers():
            match spec.kind:
                case "inputs":
                    pass  # `self.inputs` holds all of them
                case "linear":
                    self.layers.append(_linear(spec.in_features, spec.out_features, config, generator))
                case "batch_norm" | "layer_norm":
                    self.norms.append(_NORMALIZATIONS[config.normalization](spec.out_features))
                case "activation":
                    activation = _ACTIVATIONS[config.activation]()
                    mixed = LearnedActivation(activation, spec.out_features) if config.learned_activation else None
                    self.activations.append(mixed or activation)
                case "dropout":
                    self.dropouts.append(nn.Dropout(config.dropout))
                case _:
                    assert_never(spec.kind)

    def forward(self, x: Tensor) -> Tensor:
        """Computes logits (before the softmax or the step) or values.

        Args:
            x: (rows, in_features)

        Returns:
            (rows, out_features)
        """
        if self.inputs is not None:
            x = self.inputs(x)
        layers, norms, dropouts = iter(self.layers), iter(self.norms), iter(self.dropouts)
        normalized, dropped = len(self.norms) > 0, len(self.dropouts) > 0
        for activation in self.activations:
            x = next(layers)(x)
            if normalized:
                x = next(norms)(x)
            x = activation(x)
            if dropped:
                x = next(dropouts)(x)
        out: Tensor = next(layers)(x)
        return out

    def predict_probabilities(self, x: Tensor) -> Tensor:
        """Computes `forward` and the output function; in `eval()` mode, the model's answer.

        Args:
            x: (rows, in_features)

        Returns:
            softmax: class probabilities (rows, out_features); step: [1 - ŷ, ŷ] (rows, 2); linear, exponential
            and logistic: values (rows, out_features), in the unit of training and not clamped.
        """
        out: Tensor = self(x)
        match self.config.output:
            case "softmax":
                return torch.softmax(out / self.config.temperature, dim=-1)
            case "step":
                fired = (out >= 0).to(out.dtype)
                return torch.cat([1 - fired, fired], dim=-1)
            case "exponential":
                return torch.exp(out)
            case "logistic":
                return torch.sigmoid(out)
            case _:
                return out

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies parameters and running statistics to contiguous CPU arrays, named as in `config.tensor_shapes()`.

        BatchNorm's `num_batches_tracked` is left out: nothing reads it, because the running averages are exponential.
        """
        state = self.state_dict()
        return {
            name: state[name].to("cpu", torch.float32).numpy().astype(np.float32, order="C")  # astype copies
            for name in self.config.tensor_shapes()
        }

    def load_tensors(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Loads the tensors of `to_tensors` in place, without changing the module's dtype and device.

        Raises:
            ConfigError: A tensor does not fit the architecture; the message names the tensor. The module is unchanged.
        """
        check_tensors(self.config, {name: tensor.shape for name, tensor in tensors.items()})
        state = self.state_dict()  # detached, but the same memory as the parameters
        for name, tensor in tensors.items():
            state[name].copy_(torch.tensor(tensor))

    @classmethod
    def from_tensors(cls, config: MLPConfig, tensors: Mapping[str, npt.NDArray[Any]]) -> MLP:
        """Builds a module on the CPU with given weights.

        Raises:
            ConfigError: A tensor does not fit the architecture; the message names the tensor.
        """
        check_tensors(config, {name: tensor.shape for name, tensor in tensors.items()})  # before memory is allocated
        mlp = cls(config, generator=torch.Generator())  # a new one, so that torch's global generator does not advance
        mlp.load_tensors(tensors)
        return mlp


def _linear(in_features: int, out_features: int, config: MLPConfig, generator: torch.Generator | None) -> nn.Linear:
    # Created without memory: nn.Linear would otherwise draw initial weights from torch's global generator.
    with torch.device("meta"):
        layer = nn.Linear(in_features, out_features, bias=config.bias)
    layer.to_empty(device="cpu")
    if config.initialization == "he":  # He et al. 2015, Delving deep into rectifiers
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    else:  # Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks
        nn.init.xavier_normal_(layer.weight, generator=generator)
    if config.bias:
        nn.init.zeros_(layer.bias)
    return layer
