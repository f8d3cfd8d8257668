"""Activations as modules of torch: a line for each activation of `models.network.config.Activation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.network.config import LEAKY_RELU_SLOPE, Activation
from models.network.fuse import Activate

# Functions from a stage to the source of its module.
ACTIVATIONS: Mapping[Activation, Callable[[Activate], str]] = MappingProxyType(
    {
        "relu": lambda _: "nn.ReLU()",
        "leaky_relu": lambda _: f"nn.LeakyReLU({LEAKY_RELU_SLOPE!r})",
        "gelu": lambda _: "nn.GELU()",
        "silu": lambda _: "nn.SiLU()",
        "selu": lambda _: "nn.SELU()",
        "mish": lambda _: "nn.Mish()",
        "tanh": lambda _: "nn.Tanh()",
        "sigmoid": lambda _: "nn.Sigmoid()",
        "identity": lambda _: "nn.Identity()",
    }
)
