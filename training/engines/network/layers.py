"""The layers of several networks at once, each with its forward pass and its derivative.

Shapes: k members, b rows of a batch, w units; a layer gets (k, b, w) and remembers what its `backward` needs.
`backward` gets ∂loss/∂output, writes the gradients of the layer's own parameters, and gives ∂loss/∂input.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from models.config import NORMALIZATION_EPS, Activation
from training.engines.network.activations import BACKWARD, FORWARD
from training.engines.network.masks import Masks
from training.engines.network.parameters import Parameters
from training.engines.network.workspace import Workspace

BATCH_NORM_MOMENTUM = 0.1  # torch's default: the share of a batch in the running statistics


class Layer(Protocol):
    """One layer."""

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(k, b, w_in) → (k, b, w_out)."""

    def backward(self, gradient: Tensor) -> Tensor:
        """∂loss/∂output (k, b, w_out) → ∂loss/∂input (k, b, w_in)."""


class Linear:
    """gain·x Wᵀ + b. The gain is 1, or 1/√w_in in the NTK parametrisation (Jacot et al. 2018)."""

    def __init__(self, name: str, parameters: Parameters, work: Workspace, *, gain: float, is_first: bool) -> None:
        self._name = name
        self._weight = parameters.values[f"{name}.weight"]  # (k, w_out, w_in)
        self._weight_gradient = parameters.gradients[f"{name}.weight"]
        bias = parameters.values.get(f"{name}.bias")
        self._bias = None if bias is None else bias[:, None]  # (k, 1, w_out)
        self._bias_gradient = parameters.gradients.get(f"{name}.bias")
        self._work = work
        self._gain = gain
        self._is_first = is_first

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(k, b, w_in) → (k, b, w_out)."""
        self._x = x
        z = self._work.take(f"{self._name}.z", (x.shape[0], x.shape[1], self._weight.shape[1]))
        bias = z if self._bias is None else self._bias
        beta = 0 if self._bias is None else 1
        return torch.baddbmm(bias, x, self._weight.transpose(1, 2), beta=beta, alpha=self._gain, out=z)

    def backward(self, gradient: Tensor) -> Tensor:
        """∂loss/∂z (k, b, w_out) → ∂loss/∂x (k, b, w_in); nothing of worth where x is the data."""
        by_weight = self._weight_gradient
        torch.baddbmm(by_weight, gradient.transpose(1, 2), self._x, beta=0, alpha=self._gain, out=by_weight)
        if self._bias_gradient is not None:
            torch.sum(gradient, dim=1, out=self._bias_gradient)
        if self._is_first:
            return gradient
        by_x = self._work.take(f"{self._name}.x'", self._x.shape)
        return torch.baddbmm(by_x, gradient, self._weight, beta=0, alpha=self._gain, out=by_x)


class Normalization:
    """BatchNorm (Ioffe & Szegedy 2015) over the rows, or LayerNorm (Ba et al. 2016) over the units: γ·x̂ + β.

    Attributes:
        running_mean, running_var: (k, w) of BatchNorm, for inference.
    """

    def __init__(self, name: str, parameters: Parameters, work: Workspace, *, over_rows: bool) -> None:
        self._name = name
        self._scale = parameters.values[f"{name}.weight"][:, None]  # (k, 1, w)
        self._shift = parameters.values[f"{name}.bias"][:, None]
        self._scale_gradient = parameters.gradients[f"{name}.weight"]
        self._shift_gradient = parameters.gradients[f"{name}.bias"]
        self._work = work
        self._dim = 1 if over_rows else 2
        self._over_rows = over_rows
        k, _, w = self._scale.shape
        self.running_mean = torch.zeros(k, w, device=work.device, dtype=work.dtype)
        self.running_var = torch.ones(k, w, device=work.device, dtype=work.dtype)

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(k, b, w) → (k, b, w)."""
        if training or not self._over_rows:
            variance, mean = torch.var_mean(x, dim=self._dim, correction=0, keepdim=True)
            if self._over_rows:
                rows = x.shape[1]
                self.running_mean.lerp_(mean[:, 0], BATCH_NORM_MOMENTUM)
                self.running_var.lerp_(variance[:, 0] * (rows / max(rows - 1, 1)), BATCH_NORM_MOMENTUM)
        else:
            variance, mean = self.running_var[:, None], self.running_mean[:, None]
        self._inverse = torch.rsqrt(variance + NORMALIZATION_EPS)  # (k, 1, w) or (k, b, 1)
        self._normal = torch.sub(x, mean, out=self._work.take(f"{self._name}.x̂", x.shape)).mul_(self._inverse)
        out = self._work.take(f"{self._name}.y", x.shape)
        return torch.addcmul(self._shift, self._normal, self._scale, out=out)

    def backward(self, gradient: Tensor) -> Tensor:
        """∂loss/∂y (k, b, w) → ∂loss/∂x (k, b, w)."""
        out = self._work.take(f"{self._name}.x'", gradient.shape)
        torch.sum(gradient, dim=1, out=self._shift_gradient)
        torch.sum(torch.mul(gradient, self._normal, out=out), dim=1, out=self._scale_gradient)
        by_normal = gradient * self._scale  # ∂loss/∂x̂
        along = torch.mul(by_normal, self._normal, out=out).mean(dim=self._dim, keepdim=True)
        mean = by_normal.mean(dim=self._dim, keepdim=True)
        torch.addcmul(by_normal, self._normal, along, value=-1, out=out)
        return out.sub_(mean).mul_(self._inverse)


class Activated:
    """f(z), or z + a·(f(z) - z) with a learned a for each unit."""

    def __init__(self, name: str, activation: Activation, parameters: Parameters, work: Workspace) -> None:
        self._name = name
        self._forward, self._backward = FORWARD[activation], BACKWARD[activation]
        mix = parameters.values.get(f"{name}.mix")
        self._mix = None if mix is None else mix[:, None]  # (k, 1, w)
        self._mix_gradient = parameters.gradients.get(f"{name}.mix")
        self._work = work

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(k, b, w) → (k, b, w)."""
        self._z = x
        self._f = self._work.take(f"{self._name}.f", x.shape)
        self._forward(x, self._f)
        if self._mix is None:
            return self._f
        return torch.lerp(x, self._f, self._mix, out=self._work.take(f"{self._name}.y", x.shape))

    def backward(self, gradient: Tensor) -> Tensor:
        """∂loss/∂y (k, b, w) → ∂loss/∂z (k, b, w)."""
        out = self._work.take(f"{self._name}.z'", gradient.shape)
        self._backward(gradient, self._z, self._f, out)
        if self._mix is None or self._mix_gradient is None:
            return out
        torch.lerp(gradient, out, self._mix, out=out)
        torch.sum(torch.sub(self._f, self._z, out=self._f).mul_(gradient), dim=1, out=self._mix_gradient)
        return out


class Dropout:
    """Each unit dropped with a probability, the others scaled up (Srivastava et al. 2014)."""

    def __init__(self, name: str, masks: Masks, work: Workspace) -> None:
        self._name = name
        self._masks = masks
        self._work = work
        self._mask: Tensor | None = None

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """(k, b, w) → (k, b, w), in place."""
        self._mask = None
        if not training or not self._masks.drops:
            return x
        self._mask = self._masks.draw(self._work.take(f"{self._name}.mask", x.shape))
        return torch.mul(x, self._mask, out=self._work.take(f"{self._name}.y", x.shape))

    def backward(self, gradient: Tensor) -> Tensor:
        """∂loss/∂y (k, b, w) → ∂loss/∂x (k, b, w), in place."""
        return gradient if self._mask is None else gradient.mul_(self._mask)
