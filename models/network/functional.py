"""The functions of an MLP in NumPy: affine map, activations, output functions, losses, and derivatives.

Each function of an array returns the dtype of its argument, so that the same code can check a gradient in float64 and
train in float32. Each derivative is taken with respect to the argument and evaluated there; at a kink (relu and
leaky_relu at 0), the functions return the left derivative, as torch does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from models.errors import DataError
from models.network.config import LEAKY_RELU_SLOPE, Activation

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
Elementwise: TypeAlias = Callable[[FloatArray], FloatArray]

# The fixed point of Klambauer et al.: with these constants, mean 0 and variance 1 map to mean 0 and variance 1.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

# NumPy has no erf, and one function is not worth SciPy as a runtime dependency. erfc, not erf: 1 + erf(z) loses every
# digit to cancellation in the negative tail.
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def linear(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
    """Computes the affine map `x Wᵀ + b` of a Linear layer.

    Args:
        x: (rows, in_features)
        weight: (out_features, in_features)
        bias: (out_features,), or None for no bias.

    Returns:
        (rows, out_features)

    Raises:
        DataError: `x` is not a matrix with in_features columns.
    """
    if x.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise DataError(f"x must have shape (rows, {weight.shape[1]}), got {x.shape}.")
    # BLAS kernels may set the processor's "invalid" flag for numbers outside the matrices, while the product is right
    # (github.com/numpy/numpy/issues/24067). A NaN stays in the product, where callers look for it.
    with np.errstate(invalid="ignore"):
        z: FloatArray = x @ weight.T
    return z if bias is None else z + bias


def identity(z: FloatArray) -> FloatArray:
    """Returns z."""
    return z


def relu(z: FloatArray) -> FloatArray:
    """Returns max(z, 0)."""
    return np.maximum(z, 0)


def leaky_relu(z: FloatArray) -> FloatArray:
    """Returns max(z, LEAKY_RELU_SLOPE·z) (Maas, Hannun & Ng 2013, Rectifier nonlinearities improve acoustic models)."""
    return np.where(z >= 0, z, LEAKY_RELU_SLOPE * z)


def gelu(z: FloatArray) -> FloatArray:
    """Returns z·Φ(z) with the exact normal distribution Φ, not the tanh approximation (Hendrycks & Gimpel 2016)."""
    return (z * _normal_cdf(z)).astype(z.dtype)


def silu(z: FloatArray) -> FloatArray:
    """Returns z·σ(z) (Elfwing et al. 2018, Sigmoid-weighted linear units); also called swish."""
    return z * sigmoid(z)


def selu(z: FloatArray) -> FloatArray:
    """Returns λ·z where z > 0, else λ·α·(eᶻ - 1) (Klambauer et al. 2017, Self-normalizing neural networks)."""
    return np.where(z > 0, SELU_SCALE * z, SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(z, 0))).astype(z.dtype)


def mish(z: FloatArray) -> FloatArray:
    """Returns z·tanh(ln(1 + eᶻ)) (Misra 2019, Mish)."""
    return np.asarray(z * np.tanh(np.logaddexp(0, z, dtype=z.dtype)))


def tanh(z: FloatArray) -> FloatArray:
    """Returns the hyperbolic tangent of z."""
    return np.tanh(z)


def sigmoid(z: FloatArray) -> FloatArray:
    """Returns σ(z) = 1 / (1 + e⁻ᶻ)."""
    e = np.exp(-np.abs(z))  # the exponent is never positive, so exp cannot overflow
    return np.asarray(np.where(z >= 0, 1, e) / (1 + e))


def exponential(z: FloatArray) -> FloatArray:
    """Returns eᶻ; infinity where eᶻ is too large for the type of z."""
    with np.errstate(over="ignore"):
        return np.exp(z)


def step(z: FloatArray) -> FloatArray:
    """Returns the output of Rosenblatt's threshold unit: 1 where z ≥ 0, else 0; NaN where z is NaN."""
    return np.where(np.isnan(z), z, z >= 0).astype(z.dtype)


def identity_derivative(z: FloatArray) -> FloatArray:
    """Returns 1 everywhere."""
    return np.ones_like(z)


def relu_derivative(z: FloatArray) -> FloatArray:
    """Returns 1 where z > 0, else 0."""
    return (z > 0).astype(z.dtype)


def leaky_relu_derivative(z: FloatArray) -> FloatArray:
    """Returns 1 where z > 0, else LEAKY_RELU_SLOPE."""
    return np.where(z > 0, 1, LEAKY_RELU_SLOPE).astype(z.dtype)


def gelu_derivative(z: FloatArray) -> FloatArray:
    """Returns Φ(z) + z·φ(z), where φ is the normal density."""
    tail = np.minimum(np.abs(z), 40)  # φ(40) is 0 in float64 already; the bound keeps z² from overflowing
    density = np.exp(-0.5 * tail * tail) / math.sqrt(2 * math.pi)
    return (_normal_cdf(z) + z * density).astype(z.dtype)


def silu_derivative(z: FloatArray) -> FloatArray:
    """Returns σ(z)·(1 + z·(1 - σ(z)))."""
    s = sigmoid(z)
    return s * (1 + z * (1 - s))


def selu_derivative(z: FloatArray) -> FloatArray:
    """Returns λ where z > 0, else λ·α·eᶻ."""
    return np.where(z > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(z, 0))).astype(z.dtype)


def mish_derivative(z: FloatArray) -> FloatArray:
    """Returns t + z·(1 - t²)·σ(z), where t = tanh(ln(1 + eᶻ))."""
    t = np.tanh(np.logaddexp(0, z, dtype=z.dtype))
    return np.asarray(t + z * (1 - np.square(t)) * sigmoid(z))


def tanh_derivative(z: FloatArray) -> FloatArray:
    """Returns 1 - tanh²(z)."""
    return 1 - np.square(np.tanh(z))


def sigmoid_derivative(z: FloatArray) -> FloatArray:
    """Returns σ(z)·(1 - σ(z))."""
    s = sigmoid(z)
    return s * (1 - s)


ACTIVATIONS: Mapping[Activation, Elementwise] = MappingProxyType(
    {
        "relu": relu,
        "leaky_relu": leaky_relu,
        "gelu": gelu,
        "silu": silu,
        "selu": selu,
        "mish": mish,
        "tanh": tanh,
        "sigmoid": sigmoid,
        "identity": identity,
    }
)
DERIVATIVES: Mapping[Activation, Elementwise] = MappingProxyType(
    {
        "relu": relu_derivative,
        "leaky_relu": leaky_relu_derivative,
        "gelu": gelu_derivative,
        "silu": silu_derivative,
        "selu": selu_derivative,
        "mish": mish_derivative,
        "tanh": tanh_derivative,
        "sigmoid": sigmoid_derivative,
        "identity": identity_derivative,
    }
)


def softmax(logits: FloatArray) -> FloatArray:
    """Computes probabilities over the last axis: positive numbers with sum 1.

    Args:
        logits: (..., classes)

    Returns:
        (..., classes)
    """
    # A shift of all logits does not change softmax; with the largest logit at 0, exp cannot overflow.
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def log_softmax(logits: FloatArray) -> FloatArray:
    """Computes the logarithm of `softmax`, which stays finite where the softmax underflows to 0.

    Args:
        logits: (..., classes)

    Returns:
        (..., classes)
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def cross_entropy(logits: FloatArray, targets: IntArray) -> float:
    """Computes the mean over rows of -log softmax(logits)[target].

    Args:
        logits: (rows, classes), at least one row.
        targets: (rows,) class indices.

    Raises:
        DataError: `targets` is not one class index per row.
    """
    _check_targets(logits, targets)
    log_probabilities = log_softmax(logits)[np.arange(len(targets)), targets]  # (rows,)
    return -float(log_probabilities.mean(dtype=np.float64))


def cross_entropy_gradient(logits: FloatArray, targets: IntArray) -> FloatArray:
    """Computes ∂ cross_entropy / ∂ logits = (softmax(logits) - onehot(targets)) / rows.

    Args:
        logits: (rows, classes), at least one row.
        targets: (rows,) class indices.

    Returns:
        (rows, classes)

    Raises:
        DataError: `targets` is not one class index per row.
    """
    _check_targets(logits, targets)
    gradient = softmax(logits)
    gradient[np.arange(len(targets)), targets] -= 1
    return gradient / len(targets)


def mse(values: FloatArray, targets: FloatArray) -> float:
    """Computes the mean squared error over all elements.

    Args:
        values: (rows, out_features), at least one row.
        targets: (rows, out_features)

    Raises:
        DataError: The shapes differ, or there are no rows.
    """
    _check_same_shape(values, targets)
    return float(np.square(values - targets).mean(dtype=np.float64))


def mse_gradient(values: FloatArray, targets: FloatArray) -> FloatArray:
    """Computes ∂ mse / ∂ values = 2·(values - targets) / (rows·out_features).

    Args:
        values: (rows, out_features), at least one row.
        targets: (rows, out_features)

    Returns:
        (rows, out_features)

    Raises:
        DataError: The shapes differ, or there are no rows.
    """
    _check_same_shape(values, targets)
    return 2 * (values - targets) / values.size


def _normal_cdf(z: FloatArray) -> npt.NDArray[np.float64]:
    cdf: npt.NDArray[np.float64] = 0.5 * _erfc(z * -math.sqrt(0.5))
    return cdf


def _check_targets(logits: FloatArray, targets: IntArray) -> None:
    if logits.ndim != 2 or len(logits) == 0:
        raise DataError(f"logits must have shape (rows, classes) with at least one row, got {logits.shape}.")
    if targets.shape != logits.shape[:1]:
        raise DataError(f"targets must have shape {logits.shape[:1]}, one class a row, got {targets.shape}.")
    if not np.issubdtype(targets.dtype, np.integer):
        raise DataError(f"targets must be class indices of an integer type, got {targets.dtype}.")
    # NumPy would silently read -1 as the last class.
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise DataError(
            f"targets must be classes from 0 to {logits.shape[1] - 1}, got {targets.min()} to {targets.max()}."
        )


def _check_same_shape(values: FloatArray, targets: FloatArray) -> None:
    # (rows, 1) - (rows,) would broadcast to (rows, rows), and the loss would be wrong.
    if values.shape != targets.shape or values.size == 0:
        raise DataError(
            f"values and targets must have one shape and not be empty, got {values.shape}, {targets.shape}."
        )
