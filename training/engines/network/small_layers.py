"""The layers of small networks in NumPy, bound to one batch size.

A call of torch costs two to three microseconds before it computes anything, a call of NumPy about one. For 64 units and
32 rows, that is more than the arithmetic. These layers compute what those of
`layers.py` compute, on the same parameters. Each owns the arrays of its results and knows its input from the start, so
that a pass looks up no shape and allocates nothing.

Shapes: k members, b rows of a batch, w units.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.network.config import NORMALIZATION_EPS
from training.engines.network.layers import BATCH_NORM_MOMENTUM, BatchNorm, Layer
from training.engines.network.masks import HostMasks
from training.engines.network.parameters import Parameters

Array = NDArray[np.floating[Any]]


class SmallLayer(Protocol):
    """The interface of a layer that is bound to its input.

    Attributes:
        out: (k, b, w_out) output, which each `forward` overwrites.
    """

    out: Array

    def forward(self) -> None:
        """Computes the output from the input, (k, b, w_in)."""

    def backward(self, gradient: Array) -> Array:
        """Computes the derivatives, and may overwrite `gradient`: ∂loss/∂out (k, b, w_out) → ∂loss/∂input."""


class SmallLinear:
    """A Linear layer: scale·x Wᵀ + b."""

    def __init__(self, name: str, x: Array, parameters: Parameters, *, scale: float, is_first: bool) -> None:
        weight = parameters.values[f"{name}.weight"].numpy()  # (k, w_out, w_in)
        bias = parameters.values.get(f"{name}.bias")
        self._x, self._weight, self._transposed = x, weight, weight.transpose(0, 2, 1)
        self._bias = None if bias is None else bias.numpy()[:, None]  # (k, 1, w_out)
        self._weight_gradient = parameters.gradients[f"{name}.weight"].numpy()
        self._bias_gradient = None
        if bias is not None:
            self._bias_gradient = parameters.gradients[f"{name}.bias"].numpy()[:, None]
        self._scale, self._is_first = scale, is_first
        self._ones = np.ones((1, x.shape[1]), x.dtype)
        self._by_x = np.empty_like(x)
        self.out = np.empty((*x.shape[:2], weight.shape[1]), x.dtype)

    def forward(self) -> None:
        """Computes the output."""
        np.matmul(self._x, self._transposed, out=self.out)
        if self._scale != 1:
            np.multiply(self.out, self._scale, out=self.out)
        if self._bias is not None:
            np.add(self.out, self._bias, out=self.out)

    def backward(self, gradient: Array) -> Array:
        """Computes the derivatives; not ∂loss/∂x if x is the data."""
        if self._bias_gradient is not None:
            np.matmul(self._ones, gradient, out=self._bias_gradient)  # sum over the rows, faster than np.sum
        np.matmul(gradient.transpose(0, 2, 1), self._x, out=self._weight_gradient)
        if self._scale != 1:
            np.multiply(self._weight_gradient, self._scale, out=self._weight_gradient)
        if self._is_first:
            return gradient
        np.matmul(gradient, self._weight, out=self._by_x)
        if self._scale != 1:
            np.multiply(self._by_x, self._scale, out=self._by_x)
        return self._by_x


class SmallBatchNorm:
    """Batch normalisation over two rows or more: y = γ·x̂ + β with x̂ = (x - mean)/√(variance + ε)."""

    def __init__(self, name: str, x: Array, parameters: Parameters, norm: BatchNorm) -> None:
        """Binds the layer to its input and its parameters.

        Args:
            name: name of the layer.
            x: (k, b, w) input, with b > 1.
            parameters: parameters of the networks.
            norm: layer that owns the running statistics.
        """
        self._x = x
        self._gamma, self._beta = (parameters.values[f"{name}.{kind}"].numpy()[:, None] for kind in ("weight", "bias"))
        self._gamma_gradient, self._beta_gradient = (
            parameters.gradients[f"{name}.{kind}"].numpy()[:, None] for kind in ("weight", "bias")
        )
        self._running_mean = norm.running_mean.numpy()[:, None]  # (k, 1, w)
        self._running_var = norm.running_var.numpy()[:, None]
        rows = x.shape[1]
        self._ones, self._averages = np.ones((1, rows), x.dtype), np.full((1, rows), 1 / rows, x.dtype)
        self._rows, self._unbiased = rows, BATCH_NORM_MOMENTUM * rows / (rows - 1)
        self._mean, self._inverse, self._of_unit = (np.empty_like(self._gamma) for _ in range(3))
        self._normal, self._work = np.empty_like(x), np.empty_like(x)
        self.out = np.empty_like(x)

    def forward(self) -> None:
        """Computes the output, and moves the running statistics."""
        mean, inverse, normal = self._mean, self._inverse, self._normal
        np.matmul(self._averages, self._x, out=mean)
        np.subtract(self._x, mean, out=normal)
        np.multiply(normal, normal, out=self._work)
        np.matmul(self._averages, self._work, out=inverse)  # the variance, for now
        self._move(self._running_mean, mean, BATCH_NORM_MOMENTUM)
        self._move(self._running_var, inverse, self._unbiased)
        np.add(inverse, NORMALIZATION_EPS, out=inverse)
        np.sqrt(inverse, out=inverse)
        np.reciprocal(inverse, out=inverse)
        np.multiply(normal, inverse, out=normal)
        np.multiply(normal, self._gamma, out=self.out)
        np.add(self.out, self._beta, out=self.out)

    def backward(self, gradient: Array) -> Array:
        """Computes the derivatives: ∂loss/∂x = γ/√(variance + ε) · (g - mean(g) - x̂·mean(g·x̂)) for g = ∂loss/∂y."""
        work, of_unit = self._work, self._of_unit
        np.matmul(self._ones, gradient, out=self._beta_gradient)
        np.multiply(gradient, self._normal, out=work)
        np.matmul(self._ones, work, out=self._gamma_gradient)
        np.multiply(self._gamma_gradient, 1 / self._rows, out=of_unit)
        np.multiply(self._normal, of_unit, out=work)
        np.subtract(gradient, work, out=gradient)
        np.multiply(self._beta_gradient, 1 / self._rows, out=of_unit)
        np.subtract(gradient, of_unit, out=gradient)
        np.multiply(self._gamma, self._inverse, out=of_unit)
        np.multiply(gradient, of_unit, out=gradient)
        return gradient

    def _move(self, running: Array, value: Array, weight: float) -> None:
        """Moves a running statistic towards the batch's value."""
        np.multiply(running, 1 - BATCH_NORM_MOMENTUM, out=running)
        np.multiply(value, weight, out=self._of_unit)
        np.add(running, self._of_unit, out=running)


class SmallReLU:
    """max(x, 0), in place."""

    def __init__(self, x: Array) -> None:
        self.out = x
        self._is_positive = np.empty(x.shape, np.bool_)

    def forward(self) -> None:
        """Computes the output."""
        np.maximum(self.out, 0, out=self.out)

    def backward(self, gradient: Array) -> Array:
        """Computes the derivative, in place."""
        np.greater(self.out, 0, out=self._is_positive)
        np.multiply(gradient, self._is_positive, out=gradient)
        return gradient


class SmallDropout:
    """Dropout, in place."""

    def __init__(self, x: Array, masks: HostMasks) -> None:
        self.out = x
        self._masks, self._mask = masks, np.empty_like(x)
        self._drops = False

    def forward(self) -> None:
        """Computes the output."""
        self._drops = self._masks.drops
        if self._drops:
            self._masks.fill(self._mask)
            np.multiply(self.out, self._mask, out=self.out)

    def backward(self, gradient: Array) -> Array:
        """Computes the derivative, in place."""
        if self._drops:
            np.multiply(gradient, self._mask, out=gradient)
        return gradient


class OfTorch:
    """A layer of `layers.py` over the same memory, for what this module does not have."""

    def __init__(self, layer: Layer, x: Array) -> None:
        self._layer, self._x = layer, torch.from_numpy(x)
        self.out = np.empty_like(x)

    def forward(self) -> None:
        """Computes the output."""
        np.copyto(self.out, self._layer.forward(self._x, training=True).numpy())

    def backward(self, gradient: Array) -> Array:
        """Computes the derivatives."""
        by_x: Array = self._layer.backward(torch.from_numpy(gradient)).numpy()
        return by_x
