"""The layers of several networks at once, each with forward pass and derivative.

Shapes: k members, b rows of a batch, w units. `forward` takes (k, b, w) and keeps the tensors that `backward` needs.
`backward` takes ∂loss/∂output, writes the gradients of the layer's own parameters, and returns ∂loss/∂input.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from models.network.config import NORMALIZATION_EPS, Activation
from training.engines.network.activations import BACKWARD, FORWARD, KEEPING
from training.engines.network.masks import Masks
from training.engines.network.parameters import Parameters
from training.engines.network.workspace import Workspace

BATCH_NORM_MOMENTUM = 0.1  # torch's default: weight of a batch in the running statistics


class Layer(Protocol):
    """The interface of a layer."""

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w_in) → (k, b, w_out)."""

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂output (k, b, w_out) → ∂loss/∂input (k, b, w_in)."""


class Linear:
    """A Linear layer: scale·x Wᵀ + b. The scale is 1, or 1/√w_in in the NTK parametrisation (Jacot et al. 2018)."""

    def __init__(self, name: str, parameters: Parameters, work: Workspace, *, scale: float, is_first: bool) -> None:
        self._weight = parameters.values[f"{name}.weight"]  # (k, w_out, w_in)
        self._transposed = self._weight.transpose(1, 2)
        self._weight_gradient = parameters.gradients[f"{name}.weight"]
        bias = parameters.values.get(f"{name}.bias")
        self._bias = None if bias is None else bias[:, None]  # (k, 1, w_out)
        self._bias_gradient = parameters.gradients.get(f"{name}.bias")
        self._z, self._by_x = work.buffer(), work.first
        self._scale = scale
        self._is_first = is_first

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w_in) → (k, b, w_out)."""
        self._x = x
        z = self._z.of((x.shape[0], x.shape[1], self._weight.shape[1]))
        bias = z if self._bias is None else self._bias
        beta = 0 if self._bias is None else 1
        return torch.baddbmm(bias, x, self._transposed, beta=beta, alpha=self._scale, out=z)

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂z (k, b, w_out) → ∂loss/∂x (k, b, w_in); not ∂loss/∂x if x is the data."""
        by_weight = self._weight_gradient
        torch.baddbmm(by_weight, gradient.transpose(1, 2), self._x, beta=0, alpha=self._scale, out=by_weight)
        if self._bias_gradient is not None:
            torch.sum(gradient, dim=1, out=self._bias_gradient)
        if self._is_first:
            return gradient
        by_x = self._by_x.of(self._x.shape)
        return torch.baddbmm(by_x, gradient, self._weight, beta=0, alpha=self._scale, out=by_x)


class BFloat16Linear(Linear):
    """A Linear layer with bfloat16 matrix products in training; weights, sums and inference stay float32.

    Micikevicius et al. 2018, Mixed precision training. Useful on processors that multiply bfloat16 faster.
    """

    def __init__(self, name: str, parameters: Parameters, work: Workspace, *, scale: float, is_first: bool) -> None:
        super().__init__(name, parameters, work, scale=scale, is_first=is_first)
        bf16 = Workspace(work.device, torch.bfloat16)
        self._bf16_weight = bf16.buffer().of(self._weight.shape)
        self._bf16_x, self._bf16_z, self._bf16_gradient = bf16.buffer(), bf16.buffer(), bf16.buffer()

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w_in) → (k, b, w_out)."""
        if not training:
            return super().forward(x, training=training)
        self._x = self._bf16_x.of(x.shape).copy_(x)
        weight = self._bf16_weight.copy_(self._weight)
        shape = (x.shape[0], x.shape[1], self._weight.shape[1])
        product = torch.bmm(self._x, weight.transpose(1, 2), out=self._bf16_z.of(shape))
        z = torch.mul(product, self._scale, out=self._z.of(shape))
        return z if self._bias is None else z.add_(self._bias)

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂z (k, b, w_out) → ∂loss/∂x (k, b, w_in); not ∂loss/∂x if x is the data."""
        if self._bias_gradient is not None:
            torch.sum(gradient, dim=1, out=self._bias_gradient)
        bf16 = torch.mul(gradient, self._scale, out=self._bf16_gradient.of(gradient.shape))
        self._weight_gradient.copy_(torch.bmm(bf16.transpose(1, 2), self._x))
        if self._is_first:
            return gradient
        return self._by_x.of(self._x.shape).copy_(torch.bmm(bf16, self._bf16_weight))


class BatchNorm:
    """Batch normalisation: γ·x̂ + β, with x̂ standardised over the rows (Ioffe & Szegedy 2015).

    A batch of one row is normalised as in inference. torch's own kernel computes it, with the units of all members as
    channels.

    Attributes:
        running_mean, running_var: (k, w) statistics for inference.
    """

    def __init__(self, name: str, parameters: Parameters, work: Workspace) -> None:
        self._weight = parameters.values[f"{name}.weight"]  # (k, w)
        self._bias = parameters.values[f"{name}.bias"]
        self._weight_gradient = parameters.gradients[f"{name}.weight"]
        self._bias_gradient = parameters.gradients[f"{name}.bias"]
        self.running_mean = torch.zeros(self._weight.shape, device=work.device, dtype=work.dtype)
        self.running_var = torch.ones_like(self.running_mean)
        self._running = self.running_mean.view(-1), self.running_var.view(-1)

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w) → (k, b, w)."""
        self._x = _as_channels(x)
        self._by_batch = training and x.shape[1] > 1
        self._scale = self._weight.reshape(-1)
        out, self._mean, self._inverse = torch.native_batch_norm(
            self._x,
            self._scale,
            self._bias.reshape(-1),
            *self._running,
            self._by_batch,
            BATCH_NORM_MOMENTUM,
            NORMALIZATION_EPS,
        )
        return _as_members(out, x.shape)

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂y (k, b, w) → ∂loss/∂x (k, b, w)."""
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            _as_channels(gradient),
            self._x,
            self._scale,
            *self._running,
            self._mean,
            self._inverse,
            self._by_batch,
            NORMALIZATION_EPS,
            [True, True, True],
        )
        self._weight_gradient.copy_(by_weight.view_as(self._weight))
        self._bias_gradient.copy_(by_bias.view_as(self._bias))
        return _as_members(by_x, gradient.shape)


class LayerNorm:
    """Layer normalisation: γ·x̂ + β, with each row of x̂ standardised over the units (Ba, Kiros & Hinton 2016)."""

    def __init__(self, name: str, parameters: Parameters, work: Workspace) -> None:
        self._weight = parameters.values[f"{name}.weight"][:, None]  # (k, 1, w)
        self._bias = parameters.values[f"{name}.bias"][:, None]
        self._weight_gradient = parameters.gradients[f"{name}.weight"]
        self._bias_gradient = parameters.gradients[f"{name}.bias"]
        self._y = work.buffer()

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w) → (k, b, w)."""
        self._x = x
        width = [x.shape[-1]]
        self._normal, self._mean, self._inverse = torch.native_layer_norm(x, width, None, None, NORMALIZATION_EPS)
        return torch.addcmul(self._bias, self._normal, self._weight, out=self._y.of(x.shape))

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂y (k, b, w) → ∂loss/∂x (k, b, w)."""
        torch.sum(gradient, dim=1, out=self._bias_gradient)
        torch.sum(self._normal.mul_(gradient), dim=1, out=self._weight_gradient)
        by_normal = gradient * self._weight  # ∂loss/∂x̂
        width = [gradient.shape[-1]]
        by_x: Tensor = torch.ops.aten.native_layer_norm_backward(
            by_normal, self._x, width, self._mean, self._inverse, None, None, [True, False, False]
        )[0]
        return by_x


class Activated:
    """An activation: f(z), or z + a·(f(z) - z) with a learned a for each unit."""

    def __init__(self, name: str, activation: Activation, parameters: Parameters, work: Workspace) -> None:
        self._forward, self._backward = FORWARD[activation], BACKWARD[activation]
        mix = parameters.values.get(f"{name}.mix")
        self._mix = None if mix is None else mix[:, None]  # (k, 1, w)
        self._mix_gradient = parameters.gradients.get(f"{name}.mix")
        self._activated, self._y, self._by_z = work.buffer(), work.buffer(), work.second
        self._kept = work.buffer() if activation in KEEPING else work.second

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w) → (k, b, w)."""
        self._z = x
        self._f = self._activated.of(x.shape)
        self._forward(x, self._f, self._kept.of(x.shape) if training else None)
        if self._mix is None:
            return self._f
        return torch.lerp(x, self._f, self._mix, out=self._y.of(x.shape))

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivatives: ∂loss/∂y (k, b, w) → ∂loss/∂z (k, b, w)."""
        out = self._by_z.of(gradient.shape)
        self._backward(gradient, self._z, self._f, self._kept.of(gradient.shape), out)
        if self._mix is None or self._mix_gradient is None:
            return out
        torch.lerp(gradient, out, self._mix, out=out)
        torch.sum(torch.sub(self._f, self._z, out=self._f).mul_(gradient), dim=1, out=self._mix_gradient)
        return out


class Dropout:
    """Dropout: sets each unit to 0 with a probability and scales the others up (Srivastava et al. 2014)."""

    def __init__(self, masks: Masks, work: Workspace, *, is_in_place: bool) -> None:
        """Allocates the memory of the layer.

        Args:
            masks: source of the dropout masks.
            work: source of buffers.
            is_in_place: True to overwrite the input, which no other layer may need.
        """
        self._masks, self._is_in_place = masks, is_in_place
        self._drawn, self._y = work.buffer(), work.buffer()
        self._mask: Tensor | None = None

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Computes the output: (k, b, w) → (k, b, w)."""
        self._mask = None
        if not training or not self._masks.drops:
            return x
        self._mask = self._masks.draw(self._drawn.of(x.shape))
        return torch.mul(x, self._mask, out=x if self._is_in_place else self._y.of(x.shape))

    def backward(self, gradient: Tensor) -> Tensor:
        """Computes the derivative in place: ∂loss/∂y (k, b, w) → ∂loss/∂x (k, b, w)."""
        return gradient if self._mask is None else gradient.mul_(self._mask)


def _as_channels(x: Tensor) -> Tensor:
    """Reshapes (k, b, w) to (b, k·w): a view for one member, a copy for several."""
    members, rows, _ = x.shape
    return x.view(rows, -1) if members == 1 else x.transpose(0, 1).reshape(rows, -1)


def _as_members(x: Tensor, shape: torch.Size) -> Tensor:
    """Reshapes (b, k·w) to (k, b, w): a view for one member, a copy for several."""
    members, rows, width = shape
    return x.view(shape) if members == 1 else x.view(rows, members, width).transpose(0, 1).contiguous()
