"""Activations as modules of torch: a line for each activation of `models.network.config.LayerActivation`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from models.network.config import LayerActivation
from models.network.inference_network import Activate
from models.network.layer_activations import constants_of

# Functions from an activation's constants to the source of the module.
ACTIVATIONS: Mapping[LayerActivation, Callable[..., str]] = MappingProxyType(
    {
        "relu": lambda: "nn.ReLU()",
        "leaky_relu": lambda slope: f"nn.LeakyReLU({slope!r})",
        "gelu": lambda: "nn.GELU()",
        "silu": lambda: "nn.SiLU()",
        "selu": lambda: "nn.SELU()",
        "mish": lambda: "nn.Mish()",
        "tanh": lambda: "nn.Tanh()",
        "sigmoid": lambda: "nn.Sigmoid()",
        "identity": lambda: "nn.Identity()",
        "elu": lambda alpha: f"nn.ELU({alpha!r})",
        "celu": lambda alpha: f"nn.CELU({alpha!r})",
        "softplus": lambda beta: f"nn.Softplus({beta!r})",
        "hardtanh": lambda least, most: f"nn.Hardtanh({least!r}, {most!r})",
        "hardswish": lambda: "nn.Hardswish()",
        "hardsigmoid": lambda slope, shift: f"HardSigmoid({slope!r}, {shift!r})",
        "softsign": lambda: "nn.Softsign()",
        "logsigmoid": lambda: "nn.LogSigmoid()",
        "gelu_tanh": lambda: 'nn.GELU("tanh")',
    }
)
OWN_MODULES = ("HardSigmoid",)  # of `standalone.torch_modules`: torch's has no slope and no shift


def activation_source(stage: Activate) -> str:
    """Returns the source of an activation's module, without the mix."""
    return ACTIVATIONS[stage.name](*constants_of(stage.name, stage.constants))
