"""All activations that a layer can have, in torch and in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from models.network.config import LayerActivation
from models.network.layer_activations import CONSTANTS, constants_of

InPlace = Callable[[torch.Tensor], object]


def _softplus(x: torch.Tensor, beta: float) -> None:
    torch.ops.aten.softplus.out(x, beta, 20.0, out=x)  # above 20/beta, float32 has no digit for the difference to x


def _hardsigmoid(x: torch.Tensor, slope: float, shift: float) -> None:
    x.mul_(slope).add_(shift).clamp_(0, 1)


def _softsign(x: torch.Tensor) -> None:
    x.div_(x.abs().add_(1))


def _logsigmoid(x: torch.Tensor) -> None:
    x.copy_(functional.logsigmoid(x))


# Each takes a tensor, which the function changes, and the constants of `models.network.layer_activations`.
ACTIVATIONS: dict[LayerActivation, Callable[..., object]] = {
    "relu": torch.relu_,
    "leaky_relu": functional.leaky_relu_,
    "gelu": torch.ops.aten.gelu_.default,
    "silu": partial(functional.silu, inplace=True),
    "selu": torch.selu_,
    "mish": partial(functional.mish, inplace=True),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "identity": lambda x: x,
    "elu": functional.elu_,
    "celu": torch.celu_,
    "softplus": _softplus,
    "hardtanh": functional.hardtanh_,
    "hardswish": partial(functional.hardswish, inplace=True),
    "hardsigmoid": _hardsigmoid,
    "softsign": _softsign,
    "logsigmoid": _logsigmoid,
    "gelu_tanh": partial(torch.ops.aten.gelu_.default, approximate="tanh"),
}


def in_place(name: LayerActivation, constants: tuple[float, ...] = ()) -> InPlace:
    """Returns the function that applies an activation to a tensor in place.

    Args:
        name: name of the activation.
        constants: constants of the activation; empty for the defaults.
    """
    function = ACTIVATIONS[name]
    if name not in CONSTANTS:
        return function
    values = constants_of(name, constants)
    return lambda x: function(x, *values)
