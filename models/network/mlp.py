"""The PyTorch MLP: the module that training fits, built from an `MLPConfig`.

Shapes: x (rows, in_features) → what the inputs ask for → Linear → normalisation → activation → dropout, for each
hidden layer → Linear → logits or values (rows, out_features). It is one network: an ensemble is several of these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
    """x + a·(f(x) - x) with an a for each unit, which begins at 1: the activation itself."""

    def __init__(self, activation: nn.Module, width: int) -> None:
        super().__init__()
        self.activation = activation
        self.mix = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(rows, width) → (rows, width)."""
        return torch.lerp(x, self.activation(x), self.mix)


class MLP(nn.Module):
    """A multi-layer perceptron as a PyTorch module; its submodules are named as `config.layers()` names them.

    Attributes:
        config: the architecture.
        inputs: what comes before the first Linear, or None.
        layers: the Linear layers, one more than there are hidden layers.
        norms: BatchNorm1d or LayerNorm of each hidden layer; empty without normalisation.
        activations: of each hidden layer its own module, so that a hook or a summary sees each by itself.
        dropouts: of each hidden layer; empty without dropout.
    """

    def __init__(self, config: MLPConfig, *, generator: torch.Generator | None = None) -> None:
        """Builds the module on the CPU: weights drawn as `config.initialization` says, biases zero.

        Args:
            config: the architecture.
            generator: the source of the initial weights; torch's global one if None, and only then touched.

        Raises:
            ConfigError: an ensemble.
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
            match spec.type:
                case "Linear":
                    self.layers.append(_linear(spec.in_features, spec.out_features, config, generator))
                case "BatchNorm1d" | "LayerNorm":
                    self.norms.append(_NORMALIZATIONS[config.normalization](spec.out_features))
                case "Dropout":
                    self.dropouts.append(nn.Dropout(config.dropout))
                case "SmoothClip" | "PeriodicEmbedding" | "Embedding" | "Scale":
                    pass  # the inputs'
                case _:
                    activation = _ACTIVATIONS[config.activation]()
                    mixed = LearnedActivation(activation, spec.out_features) if config.learned_activation else None
                    self.activations.append(mixed or activation)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (before the softmax or the step) or values.

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
        """`forward` with the output function applied; in `eval()` mode, the model's answer.

        Args:
            x: (rows, in_features)

        Returns:
            softmax: class probabilities (rows, out_features); step: [1 - ŷ, ŷ] (rows, 2); linear: the values
            themselves (rows, out_features), standardised as the network was trained and not clamped.
        """
        out: Tensor = self(x)
        match self.config.output:
            case "softmax":
                return torch.softmax(out / self.config.temperature, dim=-1)
            case "step":
                fired = (out >= 0).to(out.dtype)
                return torch.cat([1 - fired, fired], dim=-1)
            case _:
                return out

    def to_tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """Parameters and running statistics under the names of `config.tensor_shapes()`: contiguous copies on the CPU.

        BatchNorm's `num_batches_tracked` stays behind: nothing reads it, the running averages being exponential.
        """
        state = self.state_dict()
        return {
            name: state[name].to("cpu", torch.float32).numpy().astype(np.float32, order="C")  # astype copies
            for name in self.config.tensor_shapes()
        }

    def load_tensors(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes over what `to_tensors` gave, in place: dtype and device of the module stay as they are.

        Raises:
            ConfigError: tensors that do not fit the architecture; named. Nothing has changed then.
        """
        check_tensors(self.config, {name: tensor.shape for name, tensor in tensors.items()})
        state = self.state_dict()  # detached, but the same memory as the parameters
        for name, tensor in tensors.items():
            state[name].copy_(torch.tensor(tensor))

    @classmethod
    def from_tensors(cls, config: MLPConfig, tensors: Mapping[str, npt.NDArray[Any]]) -> MLP:
        """A module on the CPU with given weights.

        Raises:
            ConfigError: tensors that do not fit the architecture; named.
        """
        check_tensors(config, {name: tensor.shape for name, tensor in tensors.items()})  # before memory is taken
        mlp = cls(config, generator=torch.Generator())  # its own, so that torch's global one is not advanced
        mlp.load_tensors(tensors)
        return mlp


def _linear(in_features: int, out_features: int, config: MLPConfig, generator: torch.Generator | None) -> nn.Linear:
    # Born without memory: nn.Linear would otherwise first draw weights of its own from torch's global generator.
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
