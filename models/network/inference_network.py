"""An inference network consists of the few stages to which a checkpoint is fused (`models.network.fuse`).

Its forward pass in NumPy is the reference for every engine, and exports are written from its stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.network import functional
from models.network.config import NORMALIZATION_EPS, LayerActivation, NetworkOutput
from models.network.input_stage import InputStage
from models.network.layer_activations import activate

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """The affine map `x Wᵀ + b`.

    Attributes:
        weight: (out, in) contiguous float32.
        bias: (out,) contiguous float32.
    """

    weight: Float32Array
    bias: Float32Array

    def forward(self, x: Float32Array) -> Float32Array:
        """Maps (rows, in) to (rows, out)."""
        return functional.linear(x, self.weight, self.bias).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """Layer normalisation (Ba, Kiros & Hinton 2016, Layer normalization).

    Each row is standardised with its own mean and biased variance, then multiplied by `weight` and shifted by `bias`.
    The statistics differ from row to row, so the layer cannot be folded into a Linear.

    Attributes:
        weight, bias: (width,) float32 each.
        eps: number added to the variance.
    """

    weight: Float32Array
    bias: Float32Array
    eps: float = NORMALIZATION_EPS

    def forward(self, x: Float32Array) -> Float32Array:
        """Maps (rows, width) to (rows, width)."""
        centred = x - x.mean(axis=-1, keepdims=True)  # (rows, width)
        variance = np.square(centred).mean(axis=-1, keepdims=True)  # (rows, 1)
        return np.asarray(centred / np.sqrt(variance + np.float32(self.eps)) * self.weight + self.bias)


@dataclass(frozen=True, slots=True)
class Activate:
    """An elementwise nonlinearity f.

    Attributes:
        name: name of f in the config; not `identity`.
        mix: (width,) float32 learned mix a, for x + a·(f(x) - x); None for f(x).
        constants: constants of f (`models.network.layer_activations`); empty for the defaults.
    """

    name: LayerActivation
    mix: Float32Array | None = None
    constants: tuple[float, ...] = ()

    def forward(self, x: Float32Array) -> Float32Array:
        """Maps (rows, width) to (rows, width)."""
        activated = activate(self.name, self.constants, x).astype(np.float32, copy=False)
        return activated if self.mix is None else x + self.mix * (activated - x)


Stage: TypeAlias = InputStage | Affine | Activate | LayerNorm


@dataclass(frozen=True, slots=True, eq=False)
class InferenceNetwork:
    """The fused network that an engine runs: encoded rows in, probabilities or values out.

    Attributes:
        members: stages of each member of an ensemble, in the order of the forward pass; a single network is one member.
            There is an Affine among them, and an InputStage comes first. The answer is the mean of the members'
            answers.
        weights: whole number with the weight of each member in the mean; None for equal weights.
        output: function after a member's last stage: `softmax`, `linear` (none), `exponential`, `logistic`, `step`,
            `sigmoid` or `argmax`.
        in_features: number of features of an encoded row.
        out_features: number of columns of the answer; 2 for `step` and `sigmoid`, which answer [1 - ŷ, ŷ].
        clamp: smallest and largest answer of a regression, a number each, or (out_features,) for several values; None
            for no bounds.
        origin: offset that is subtracted from the float32 answers of a regression, a number or (out_features,);
            `in_unit` adds it again.
        factor: factor of the answers of an exponential output. In the exponent, its logarithm would take digits.
    """

    members: tuple[tuple[Stage, ...], ...]
    output: NetworkOutput
    in_features: int
    out_features: int
    clamp: tuple[float, float] | tuple[Float32Array, Float32Array] | None = None
    origin: float | Float64Array = 0.0
    weights: tuple[int, ...] | None = None
    factor: float = 1.0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of all members, one member after another."""
        return tuple(stage for stages in self.members for stage in stages)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrix products for one row; elementwise operations count as 0."""
        return sum(stage.weight.size for stage in self.stages if isinstance(stage, Affine))

    @property
    def widest(self) -> int:
        """Width of a row in the widest stage of a member."""
        widths = [stage.out_features for stage in self.stages if isinstance(stage, InputStage)]
        widths += [len(stage.bias) for stage in self.stages if isinstance(stage, Affine)]
        return max(self.in_features, *widths)

    @property
    def parameter_count(self) -> int:
        """Number of values in the stages' tensors."""
        return sum(array.size for stage in self.stages for array in _arrays(stage))

    def forward(self, x: Float32Array) -> Float32Array:
        """Computes the answers to encoded rows in NumPy, as the reference for every engine.

        Args:
            x: (rows, in_features) float32

        Returns:
            (rows, out_features) float32: probabilities (softmax, step) or values minus `origin`.

        Raises:
            DataError: `x` is not a matrix with in_features columns.
        """
        answers = self.forward_members(x)
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float32)
            answer = np.asarray(np.tensordot(weights, answers, axes=1) / weights.sum())
        else:
            answer = answers[0] if len(answers) == 1 else np.asarray(answers.mean(axis=0, dtype=np.float32))
        return answer if self.clamp is None else np.clip(answer, *self.clamp, dtype=np.float32)

    def answer(self, x: Float32Array) -> Float32Array | Float64Array:
        """Computes the answers to encoded rows in the target's unit.

        Args:
            x: (rows, in_features) float32

        Returns:
            (rows, out_features) float32 as from `forward`, or float64 if there is an origin to add.

        Raises:
            DataError: as `forward` does.
        """
        return in_unit(self.forward(x), self.origin)

    def forward_members(self, x: Float32Array) -> Float32Array:
        """Computes each member's answers, (members, rows, out_features) float32, without mean and clamp."""
        return np.stack([self._answer(stages, x) for stages in self.members])

    def _answer(self, stages: tuple[Stage, ...], x: Float32Array) -> Float32Array:
        for stage in stages:
            x = stage.forward(x)
        match self.output:
            case "softmax":
                return functional.softmax(x).astype(np.float32, copy=False)
            case "step":
                fired = functional.step(x)  # (rows, 1)
                return np.concatenate([1 - fired, fired], axis=-1, dtype=np.float32)
            case "sigmoid":
                both = np.concatenate([-x, x], axis=-1)  # (rows, 2); 1 - σ(z) would lose the digits of a small share
                return functional.sigmoid(both).astype(np.float32, copy=False)
            case "argmax":
                chosen = 0 * x  # an output that is not finite gives NaN, and not a class
                np.put_along_axis(chosen, x.argmax(axis=-1, keepdims=True), 1, axis=-1)
                return chosen + 0 * x
            case "exponential":
                return np.float32(self.factor) * functional.exponential(x).astype(np.float32, copy=False)
            case "logistic":
                return functional.sigmoid(x).astype(np.float32, copy=False)
            case "linear":
                return x


def in_unit(answers: Float32Array, origin: float | Float64Array) -> Float32Array | Float64Array:
    """Converts answers of a network to the target's unit.

    Args:
        answers: (rows, out_features) float32
        origin: number, or (out_features,), to add in float64; 0 leaves the answers unchanged.
    """
    return answers.astype(np.float64) + origin if np.any(origin) else answers


def _arrays(stage: Stage) -> tuple[Float32Array, ...]:
    match stage:
        case Affine(weight, bias) | LayerNorm(weight, bias, _):
            return weight, bias
        case Activate(_, mix, _):
            return () if mix is None else (mix,)
        case InputStage():
            return stage.arrays()
