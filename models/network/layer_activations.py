"""All activations that a layer can have, in NumPy: those of training, and those that come with foreign models.

Some have constants, such as the slope of a leaky ReLU. A layer without constants has torch's defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from models.errors import ConfigError
from models.network.config import ACTIVATION_TYPES, LEAKY_RELU_SLOPE, LayerActivation
from models.network.functional import ACTIVATIONS, Elementwise, FloatArray

# Names and default values of each activation's constants; an activation that is not listed has none.
CONSTANTS: Mapping[LayerActivation, Mapping[str, float]] = MappingProxyType(
    {
        "leaky_relu": {"slope": LEAKY_RELU_SLOPE},
        "elu": {"alpha": 1.0},
        "celu": {"alpha": 1.0},
        "softplus": {"beta": 1.0},
        "hardtanh": {"least": -1.0, "most": 1.0},
        "hardsigmoid": {"slope": 1 / 6, "shift": 0.5},
    }
)
_OWN_TYPES: Mapping[LayerActivation, str] = dict(ACTIVATION_TYPES.items())
TYPES: Mapping[LayerActivation, str] = MappingProxyType(
    {
        **_OWN_TYPES,
        "elu": "ELU",
        "celu": "CELU",
        "softplus": "Softplus",
        "hardtanh": "Hardtanh",
        "hardswish": "Hardswish",
        "hardsigmoid": "Hardsigmoid",
        "softsign": "Softsign",
        "logsigmoid": "LogSigmoid",
        "gelu_tanh": "GELU",
    }
)
_POSITIVE = {"elu", "celu", "softplus"}  # the constant of these is a divisor, or a bound that must not change its side


def leaky_relu(z: FloatArray, slope: float) -> FloatArray:
    """Returns z where z ≥ 0, else slope·z."""
    return np.where(z >= 0, z, z.dtype.type(slope) * z)


def elu(z: FloatArray, alpha: float) -> FloatArray:
    """Returns z where z > 0, else α·(eᶻ - 1) (Clevert et al. 2015, Fast and accurate deep network learning by ELUs)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))).astype(z.dtype)


def celu(z: FloatArray, alpha: float) -> FloatArray:
    """Returns max(z, 0) + min(0, α·(e^(z/α) - 1)) (Barron 2017, Continuously differentiable ELUs)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / alpha)).astype(z.dtype)


def softplus(z: FloatArray, beta: float) -> FloatArray:
    """Returns ln(1 + e^(βz))/β."""
    return np.asarray(np.logaddexp(0, beta * z, dtype=z.dtype) / z.dtype.type(beta))


def hardtanh(z: FloatArray, least: float, most: float) -> FloatArray:
    """Returns z, kept within the range from `least` to `most`."""
    return np.asarray(np.clip(z, z.dtype.type(least), z.dtype.type(most)))


def hardswish(z: FloatArray) -> FloatArray:
    """Returns z·min(max(z + 3, 0), 6)/6 (Howard et al. 2019, Searching for MobileNetV3)."""
    return np.asarray(z * np.clip(z + 3, 0, 6) / 6)


def hardsigmoid(z: FloatArray, slope: float, shift: float) -> FloatArray:
    """Returns slope·z + shift, kept within 0 to 1."""
    return np.asarray(np.clip(z.dtype.type(slope) * z + z.dtype.type(shift), 0, 1))


def softsign(z: FloatArray) -> FloatArray:
    """Returns z/(1 + |z|)."""
    return np.asarray(z / (1 + np.abs(z)))


def logsigmoid(z: FloatArray) -> FloatArray:
    """Returns ln σ(z)."""
    return np.asarray(-np.logaddexp(0, -z, dtype=z.dtype))


def gelu_tanh(z: FloatArray) -> FloatArray:
    """Returns the approximation of GELU by tanh (Hendrycks & Gimpel 2016)."""
    bounded = np.clip(z, -1e4, 1e4)  # beyond, tanh is ±1, and z³ could overflow
    inner = np.sqrt(2 / np.pi) * (bounded + 0.044715 * bounded**3)
    return np.asarray(0.5 * z * (1 + np.tanh(inner)), dtype=z.dtype)


_WITHOUT_CONSTANTS: Mapping[str, Elementwise] = MappingProxyType(
    {
        **{name: function for name, function in ACTIVATIONS.items() if name not in CONSTANTS},
        "hardswish": hardswish,
        "softsign": softsign,
        "logsigmoid": logsigmoid,
        "gelu_tanh": gelu_tanh,
    }
)
_WITH_CONSTANTS: Mapping[str, Callable[..., FloatArray]] = MappingProxyType(
    {
        "leaky_relu": leaky_relu,
        "elu": elu,
        "celu": celu,
        "softplus": softplus,
        "hardtanh": hardtanh,
        "hardsigmoid": hardsigmoid,
    }
)


def activate(name: LayerActivation, constants: tuple[float, ...], z: FloatArray) -> FloatArray:
    """Computes an activation; the result has the dtype of `z`.

    Args:
        name: name of the activation.
        constants: constants in the order of `CONSTANTS`; empty for the defaults.
        z: array of any shape.
    """
    if name in CONSTANTS:
        return _WITH_CONSTANTS[name](z, *constants_of(name, constants))
    return _WITHOUT_CONSTANTS[name](z)


def constants_of(name: LayerActivation, constants: tuple[float, ...]) -> tuple[float, ...]:
    """Returns the constants of an activation: the given ones, or the defaults if none are given.

    Raises:
        ConfigError: The number of constants is not the activation's, or a value is out of range.
    """
    known = CONSTANTS.get(name, {})
    if not constants:
        return tuple(known.values())
    if len(constants) != len(known):
        raise ConfigError(f"activation {name} has {len(known)} constants, got {constants!r:.200}.")
    if name in _POSITIVE and constants[0] <= 0:
        raise ConfigError(f"activation {name}: {next(iter(known))} must be above 0, got {constants[0]!r}.")
    if name == "hardtanh" and constants[0] > constants[1]:
        raise ConfigError(f"activation hardtanh: least must not be above most, got {constants!r}.")
    return constants
