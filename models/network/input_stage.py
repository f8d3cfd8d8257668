"""The input stage of an inference network: clip, waves and look-up, which no Linear can take over.

An encoded row (`models.columns.encoding`) becomes, in this order:

    numbers, standardised and clipped | cos(2πfx + φ) of each number | flags | for each index its row of the table

The affine rest of the network's inputs is folded into the first Linear (`models.network.fuse`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError, DataError
from models.network.inputs import FAR, InputConfig

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class InputStage:
    """The tensors and the forward pass of an input stage.

    The standardisation cannot be folded into the Linear, because the clip comes between. It is computed as
    (x - shift)/divisor, so no digits cancel.

    Attributes:
        inputs: description of the input stage.
        shift, divisor: (numbers,) each; a number becomes (x - shift)/divisor and is then clipped.
        frequency, phase: (numbers, frequencies) each, in radians; no columns if there are no waves.
        table: (table_rows, embedding_size) embeddings of the indices.
    """

    inputs: InputConfig
    shift: Float32Array
    divisor: Float32Array
    frequency: Float32Array
    phase: Float32Array
    table: Float32Array

    @property
    def out_features(self) -> int:
        """Width of the stage's output."""
        inputs = self.inputs
        return len(self.shift) + self.frequency.size + len(inputs.flags) + len(inputs.indices) * inputs.embedding_size

    def arrays(self) -> tuple[Float32Array, ...]:
        """Returns the tensors of the stage."""
        return self.shift, self.divisor, self.frequency, self.phase, self.table

    def forward(self, x: Float32Array) -> Float32Array:
        """Maps (rows, row_width) to (rows, out_features).

        Raises:
            DataError: `x` is not a matrix with row_width columns.
        """
        inputs = self.inputs
        if x.ndim != 2 or x.shape[1] != inputs.row_width:
            raise DataError(f"x must have shape (rows, {inputs.row_width}), got {x.shape}.")
        with np.errstate(over="ignore"):  # a value far outside the range of training; FAR bounds the result
            numbers = (x[:, inputs.numbers] - self.shift) / self.divisor  # (rows, numbers)
        numbers = np.clip(numbers, -FAR, FAR)
        if inputs.clip is not None:
            numbers = numbers / np.sqrt(1 + np.square(numbers / np.float32(inputs.clip)))
        waves = np.cos(numbers[:, :, None] * self.frequency + self.phase)  # (rows, numbers, frequencies)
        places = x[:, inputs.indices].astype(np.int64) + np.array(inputs.table_offsets(), dtype=np.int64)
        embedded = self.table[places]  # (rows, indices, embedding_size)
        flat = (numbers, waves.reshape(len(x), -1), x[:, inputs.flags], embedded.reshape(len(x), -1))
        return np.concatenate(flat, axis=1, dtype=np.float32)

    @classmethod
    def from_tensors(
        cls, inputs: InputConfig, tensors: Mapping[str, Float64Array], *, mean: Float64Array, std: Float64Array
    ) -> InputStage:
        """Builds the stage of one member.

        Args:
            inputs: description of the input stage.
            tensors: tensors of the member by name; only the input stage's are used.
            mean: (row_width,) numbers to subtract from the row's features.
            std: (row_width,) numbers by which to divide the features after that.

        Raises:
            ConfigError: A flag or an index has statistics, or float32 cannot hold a number.
        """
        rest = [*inputs.flags, *inputs.indices]
        if mean[rest].any() or (std[rest] != 1).any():
            raise ConfigError("input_mean and input_std are of numbers, not of flags and indices.")
        numbers = list(inputs.numbers)
        none = np.zeros((len(numbers), 0))
        return cls(
            inputs,
            _round(mean[numbers]),
            _round(std[numbers], least=float(np.finfo(np.float32).tiny)),
            _round(2 * math.pi * tensors.get("inputs.periodic.frequency", none)),
            _round(tensors.get("inputs.periodic.phase", none)),
            _round(tensors.get("inputs.embedding.weight", np.zeros((0, inputs.embedding_size)))),
        )


def _round(array: Float64Array, *, least: float = -math.inf) -> Float32Array:
    with np.errstate(over="ignore"):  # an overflow is refused below, so NumPy need not warn
        rounded = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(rounded).all() or (rounded < least).any():
        raise ConfigError("what the inputs hold is too large or too small for float32.")
    return rounded
