"""The steps of a network that are more than one line of NumPy."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.network.functional import sigmoid
from models.network.inputs import FAR

Array = NDArray[np.float32]


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Standardises each row with its own mean and variance, then scales and shifts: (rows, width) to the same."""
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(eps)) * weight + bias)


def standardised(x: Array, shift: Array, divisor: Array, clip: float | None) -> Array:
    """Standardises and smoothly clips numbers: (rows, numbers) to the same."""
    numbers = np.clip((x - shift) / divisor, -FAR, FAR)
    return np.asarray(numbers if clip is None else numbers / np.sqrt(1 + np.square(numbers / np.float32(clip))))


def waves(x: Array, frequency: Array, phase: Array) -> Array:
    """Returns cos(fx + φ) of each number x for each of its frequencies f: (rows, numbers · frequencies)."""
    return np.asarray(np.cos(x[:, :, None] * frequency + phase).reshape(len(x), -1))


def embeddings(x: Array, table: Array, offsets: Sequence[int]) -> Array:
    """Looks each index up in its part of a table: (rows, indices) to (rows, indices · embedding size)."""
    return np.asarray(table[x.astype(np.int64) + np.array(offsets)].reshape(len(x), -1))


def both_classes(fired: Array) -> Array:
    """Returns 1 - ŷ and ŷ of a threshold unit's answers: (rows, 1) to (rows, 2)."""
    return np.hstack([1 - fired, fired])


def two_shares(z: Array) -> Array:
    """Returns 1 - σ(z) and σ(z): (rows, 1) to (rows, 2)."""
    return np.asarray(sigmoid(np.hstack([-z, z])), dtype=np.float32)


def chosen(z: Array) -> Array:
    """Returns 1 for the largest output and 0 for the others: (rows, classes) to the same.

    An output that is not finite gives NaN, and not a class.
    """
    flags = 0 * z
    np.put_along_axis(flags, z.argmax(axis=1, keepdims=True), 1, axis=1)
    return flags + 0 * z


def unpack(text: str, shapes: Mapping[str, tuple[int, ...]], members: int) -> list[dict[str, Array]]:
    """Returns the tensors of each member.

    Args:
        text: float32 values of all tensors, one member after another, little-endian, in base64.
        shapes: shape of each tensor of a member, by name.
        members: number of networks in the ensemble.
    """
    values = np.frombuffer(base64.b64decode(text), dtype="<f4")
    tensors: list[dict[str, Array]] = [{} for _ in range(members)]
    at = 0
    for tensor in tensors:
        for name, shape in shapes.items():
            tensor[name] = values[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
    return tensors
