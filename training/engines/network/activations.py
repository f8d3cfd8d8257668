"""Activations and derivatives as calls that write into allocated memory: torch's kernels, and a kernel for mish."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.network.config import LEAKY_RELU_SLOPE, Activation
from models.network.functional import SELU_ALPHA, SELU_SCALE

aten = torch.ops.aten

Forward = Callable[[Tensor, Tensor], object]  # (z, out)
Backward = Callable[[Tensor, Tensor, Tensor, Tensor], object]  # (∂loss/∂f, z, f(z), out)

# The code below squares e^z, and float32 overflows at e^88; above this z, mish is the identity to the last bit.
_MISH_LINEAR = 20.0


def _mish(z: Tensor, out: Tensor) -> None:
    """Computes z·tanh(ln(1 + e)) = z·n/(n + 2) with e = eᶻ and n = e·(e + 2): one exponential in place of three."""
    e = torch.exp(torch.clamp_max(z, _MISH_LINEAR))
    n = torch.addcmul(2 * e, e, e)
    torch.div(n, n + 2, out=out)
    out.mul_(z)


def _mish_backward(gradient: Tensor, z: Tensor, f: Tensor, out: Tensor) -> None:
    """Multiplies the gradient by the slope, w + z·e·(e + 1)·(1 - w)² with w = n/(n + 2)."""
    e = torch.exp(torch.clamp_max(z, _MISH_LINEAR))
    n = torch.addcmul(2 * e, e, e).add_(2)  # n + 2
    rest = 2 / n  # 1 - w
    slope = torch.addcmul(e, e, e).mul_(z).mul_(rest).mul_(rest).sub_(rest).add_(1)
    torch.mul(gradient, slope, out=out)


FORWARD: Mapping[Activation, Forward] = {
    "relu": lambda z, out: torch.clamp_min(z, 0, out=out),
    "leaky_relu": lambda z, out: aten.leaky_relu.out(z, LEAKY_RELU_SLOPE, out=out),
    "gelu": lambda z, out: aten.gelu.out(z, out=out),
    "silu": lambda z, out: aten.silu.out(z, out=out),
    "selu": lambda z, out: aten.elu.out(z, SELU_ALPHA, SELU_SCALE, 1.0, out=out),
    "mish": _mish,
    "tanh": lambda z, out: torch.tanh(z, out=out),
    "sigmoid": lambda z, out: torch.sigmoid(z, out=out),
    "identity": lambda z, out: out.copy_(z),
}
BACKWARD: Mapping[Activation, Backward] = {
    "relu": lambda g, z, f, out: aten.threshold_backward.grad_input(g, z, 0, grad_input=out),
    "leaky_relu": lambda g, z, f, out: aten.leaky_relu_backward.grad_input(
        g, z, LEAKY_RELU_SLOPE, False, grad_input=out
    ),
    "gelu": lambda g, z, f, out: aten.gelu_backward.grad_input(g, z, grad_input=out),
    "silu": lambda g, z, f, out: aten.silu_backward.grad_input(g, z, grad_input=out),
    "selu": lambda g, z, f, out: aten.elu_backward.grad_input(g, SELU_ALPHA, SELU_SCALE, 1.0, False, z, grad_input=out),
    "mish": _mish_backward,
    "tanh": lambda g, z, f, out: aten.tanh_backward.grad_input(g, f, grad_input=out),
    "sigmoid": lambda g, z, f, out: aten.sigmoid_backward.grad_input(g, f, grad_input=out),
    "identity": lambda g, z, f, out: out.copy_(g),
}
