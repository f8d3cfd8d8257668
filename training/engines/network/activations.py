"""Activations and derivatives as calls that write into allocated memory: torch's kernels, and a kernel for mish."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from models.network.config import LEAKY_RELU_SLOPE, Activation
from models.network.functional import SELU_ALPHA, SELU_SCALE
from training.engines.network.host_calls import exp_, expm1_, tanh

aten = torch.ops.aten

# (z, out, kept): in training, `kept` is memory with the shape of z; else it is None. For the activations of `KEEPING`,
# the backward call gets it unchanged.
KEEPING = frozenset[Activation]({"mish"})
Forward = Callable[[Tensor, Tensor, Tensor | None], object]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], object]  # (∂loss/∂f, z, f(z), kept, out)

# The code below squares e^z, and float32 overflows at e^88; above this z, mish is the identity to the last bit.
_MISH_LINEAR = 20.0


def _mish(z: Tensor, out: Tensor, kept: Tensor | None) -> None:
    """Computes z·tanh(ln(1 + e)) = z·n/(n + 2) with e = eᶻ and n = e·(e + 2): one exponential in place of three.

    In training, the slope is kept, since it needs the same terms: 1 - 2r + 4z·e(e + 1)·r² with r = 1/(n + 2).
    """
    e = exp_(torch.clamp_max(z, _MISH_LINEAR, out=out))
    product = torch.addcmul(e, e, e, out=kept)  # e(e + 1)
    n = e.add_(product)
    r = torch.add(n, 2).reciprocal_()
    torch.mul(n, r, out=out).mul_(z)
    if kept is not None:
        torch.addcmul(torch.rsub(r, 1, alpha=2), product.mul_(r).mul_(z), r, value=4, out=kept)


def _selu(z: Tensor, out: Tensor, kept: Tensor | None) -> None:
    """Computes λ·(max(z, 0) + α·(e^min(z, 0) - 1)), with `kept` as scratch memory."""
    negative = expm1_(torch.clamp_max(z, 0, out=kept))
    torch.clamp_min(z, 0, out=out).add_(negative, alpha=SELU_ALPHA).mul_(SELU_SCALE)


def _out(function: Callable[..., object], *arguments: object) -> Forward:
    """Returns a forward call of a function of torch with `out`."""
    return lambda z, out, kept: function(z, *arguments, out=out)


FORWARD: Mapping[Activation, Forward] = {
    "relu": _out(torch.clamp_min, 0),
    "leaky_relu": _out(aten.leaky_relu.out, LEAKY_RELU_SLOPE),
    "gelu": _out(aten.gelu.out),
    "silu": _out(aten.silu.out),
    "selu": _selu,
    "mish": _mish,
    "tanh": lambda z, out, kept: tanh(z, out),
    "sigmoid": _out(torch.sigmoid),
    "identity": lambda z, out, kept: out.copy_(z),
}
BACKWARD: Mapping[Activation, Backward] = {
    "relu": lambda g, z, f, kept, out: aten.threshold_backward.grad_input(g, z, 0, grad_input=out),
    "leaky_relu": lambda g, z, f, kept, out: aten.leaky_relu_backward.grad_input(
        g, z, LEAKY_RELU_SLOPE, False, grad_input=out
    ),
    "gelu": lambda g, z, f, kept, out: aten.gelu_backward.grad_input(g, z, grad_input=out),
    "silu": lambda g, z, f, kept, out: aten.silu_backward.grad_input(g, z, grad_input=out),
    # From f(z), where the slope is f + λα below 0: from z it would take another exponential.
    "selu": lambda g, z, f, kept, out: aten.elu_backward.grad_input(
        g, SELU_ALPHA, SELU_SCALE, 1.0, True, f, grad_input=out
    ),
    "mish": lambda g, z, f, kept, out: torch.mul(g, kept, out=out),
    "tanh": lambda g, z, f, kept, out: aten.tanh_backward.grad_input(g, f, grad_input=out),
    "sigmoid": lambda g, z, f, kept, out: aten.sigmoid_backward.grad_input(g, f, grad_input=out),
    "identity": lambda g, z, f, kept, out: out.copy_(g),
}
