"""Layer fusion: a checkpoint becomes an inference network that gives the same answers with fewer operations.

Operations that are affine in inference are folded into the neighbouring Linear: the standardisation of the inputs, the
learned input scale, the Linear of a periodic embedding, BatchNorm with its running statistics, the scale of a
regression's target, and the temperature of a softmax. Consecutive Linears become one, and dropout is removed. The
folding is done in float64 and rounded once, to float32. The parts of the input stage that are not affine (clip, waves,
look-up) form one stage of their own before the first product.

Folding costs some precision: a folded standardisation computes `Wx/σ - Wμ/σ` where the model computed `W((x - μ)/σ)`.
A column with |μ| much greater than σ loses |μ|/σ roundings (2⁻²⁴ each) to cancellation, as many as rounding x to
float32 loses. A matrix product in less than float32 (TF32, bfloat16) would magnify that loss, so the first product has
to stay in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from models.errors import ConfigError
from models.network.architecture import Architecture
from models.network.config import OUTPUTS_OF_VALUES, LayerSpec, check_tensors
from models.network.inference_network import (
    Activate,
    Affine,
    Float32Array,
    Float64Array,
    InferenceNetwork,
    LayerNorm,
    Stage,
)
from models.network.input_stage import InputStage
from models.network.inputs import InputConfig

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def fuse(
    config: Architecture,
    tensors: Mapping[str, npt.NDArray[Any]],
    *,
    input_mean: npt.ArrayLike | None = None,
    input_std: npt.ArrayLike | None = None,
    output_mean: npt.ArrayLike = 0.0,
    output_std: npt.ArrayLike = 1.0,
    output_range: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    output_origin: float | Float64Array = 0.0,
) -> InferenceNetwork:
    """Fuses an architecture and its tensors into an inference network.

    Args:
        config: architecture of the network.
        tensors: tensors with the names and shapes of `config.tensor_shapes()`.
        input_mean: number or (in_features,) that training subtracted from the encoded row; 0 if None.
        input_std: number or (in_features,) by which training then divided the row; 1 if None.
        output_mean: number or (out_features,) to add to the values after `output_std`; linear output only.
        output_std: number or (out_features,) by which to multiply the values; regression only.
        output_range: smallest and largest value, numbers or (out_features,); required if `config.clamp` is set.
        output_origin: number or (out_features,) near `output_mean` to subtract from the values; linear output only.

    Raises:
        ConfigError: Tensors do not fit the architecture or are not finite, statistics have the wrong shape or sign,
            a classifier has target statistics, or folded weights are too large for float32.
    """
    check_tensors(config, {name: tensor.shape for name, tensor in tensors.items()})
    mean = _statistic("input_mean", 0.0 if input_mean is None else input_mean, config.in_features)
    std = _statistic("input_std", 1.0 if input_std is None else input_std, config.in_features, positive=True)
    target_mean = _statistic("output_mean", output_mean, config.out_features)
    target_std = _statistic("output_std", output_std, config.out_features, positive=True)
    if config.output != "linear" and (target_mean.any() or np.any(output_origin)):
        raise ConfigError(
            f"output_mean and output_origin shift a regression's values, and the output is {config.output}."
        )
    if config.output not in OUTPUTS_OF_VALUES and (target_std != 1).any():
        raise ConfigError(f"output_std rescales a regression's values, not a {config.output} output.")
    if config.output == "logistic" and (target_std != 1).any():
        raise ConfigError("a logistic output is a share between 0 and 1, and has no output_std.")
    if config.clamp and output_range is None:
        raise ConfigError("a network that clamps its values needs the output_range to keep them in.")
    checked = {name: _finite(name, tensor.astype(np.float64)) for name, tensor in tensors.items()}
    if config.members == 1:
        of_members = [checked]
    else:
        of_members = [{name: tensor[i] for name, tensor in checked.items()} for i in range(config.members)]
    scale, shift = target_std / config.temperature, target_mean - output_origin
    factor = 1.0
    if config.output == "exponential":
        if (target_std != target_std[0]).any():
            raise ConfigError("output_std is one number for an exponential output.")
        factor, scale = float(target_std[0]), np.ones_like(target_std)
    clamp = None
    if config.clamp and output_range is not None:
        low, high = (_statistic("output_range", bound, config.out_features) for bound in output_range)
        clamp = _float32_range(low - output_origin, high - output_origin)
    return InferenceNetwork(
        tuple(_fuse_member(config, own, mean, std, scale, shift) for own in of_members),
        config.output,
        config.in_features,
        config.n_classes or config.out_features,
        clamp=clamp,
        origin=output_origin,
        weights=config.member_weights,
        factor=factor,
    )


def _fuse_member(
    config: Architecture,
    tensors: Mapping[str, Float64Array],
    mean: Float64Array,  # (in_features,)
    std: Float64Array,  # (in_features,)
    output_scale: Float64Array,  # (out_features,)
    output_shift: Float64Array,  # (out_features,)
) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    run = _Run()
    if config.inputs is None:
        run = _Run(mean, std)
    else:
        stages.append(InputStage.from_tensors(config.inputs, tensors, mean=mean, std=std))
    is_first = True
    for layer in config.layers():
        own = {name: tensors[f"{layer.name}.{name}"] for name in (*layer.parameters, *layer.buffers)}
        match layer.kind:
            case "inputs" | "dropout":
                pass  # the first Linear takes the input stage; torch's dropout is the identity in inference
            case "linear":
                affine = _AffineMap(own["weight"], own.get("bias", np.zeros(layer.out_features)))
                if is_first and config.inputs is not None:
                    affine = affine.after_inputs(config.inputs, tensors)
                is_first = False
                run.multiply(affine)
            case "batch_norm":
                if (own["running_var"] < 0).any():
                    raise ConfigError(f"tensor '{layer.name}.running_var' holds a negative variance.")
                scale = own.get("weight", 1.0) / np.sqrt(own["running_var"] + layer.eps)  # (width,)
                run.scale(scale, own.get("bias", 0.0) - own["running_mean"] * scale)
            case "layer_norm":
                stages += run.end()
                weight = own.get("weight", np.ones(layer.out_features))
                bias = own.get("bias", np.zeros(layer.out_features))
                stages.append(LayerNorm(_round(weight), _round(bias), layer.eps))
            case "activation":
                if layer.activation == "identity":  # with any learned mix: x + a·(x - x)
                    continue
                stages += run.end()
                stages.append(_activate(layer, own))
            case _:
                assert_never(layer.kind)
    run.scale(output_scale, output_shift)
    stages += run.end()
    return tuple(stages)


def _activate(layer: LayerSpec, tensors: Mapping[str, Float64Array]) -> Activate:
    if layer.activation is None:
        raise ConfigError(f"layer {layer.name!r} names no activation.")
    mix = tensors.get("mix")
    if "weight" in tensors:  # a PReLU's slope a: max(x, 0) + a·min(x, 0) = x + (1 - a)·(relu(x) - x)
        mix = np.broadcast_to(1 - tensors["weight"], layer.out_features)
    return Activate(layer.activation, None if mix is None else _round(mix), layer.constants)


@dataclass(frozen=True, slots=True, eq=False)
class _AffineMap:
    """An affine map `x Wᵀ + b` during folding: weight (out, in) and bias (out,) in float64."""

    weight: Float64Array
    bias: Float64Array

    def after_standardization(self, mean: Float64Array, std: Float64Array) -> _AffineMap:
        """Returns the map x → self((x - mean)/std); mean and std: (in,)."""
        weight = self.weight / std
        return _AffineMap(weight, self.bias - weight @ mean)

    def after_scaled(self, scale: Float64Array, shift: Float64Array) -> _AffineMap:
        """Returns the map x → self(scale·x + shift); scale and shift: (in,)."""
        return _AffineMap(self.weight * scale, self.bias + self.weight @ shift)

    def after_inputs(self, inputs: InputConfig, tensors: Mapping[str, Float64Array]) -> _AffineMap:
        """Folds the learned scale and the Linear of the waves in, so that the map takes the output of `InputStage`."""
        weight, bias = self.weight, self.bias
        if inputs.scale:
            weight = weight * tensors["inputs.scale.weight"]
        if not inputs.periodic_width:
            return _AffineMap(weight, bias)
        n, size = len(inputs.numbers), inputs.periodic_size
        numbers, periodic, rest = np.split(weight, [n, n + n * size], axis=1)
        periodic = periodic.reshape(-1, n, size)  # (out, numbers, size)
        waves = np.einsum("ons,nsf->onf", periodic, tensors["inputs.periodic.weight"])
        bias = bias + np.einsum("ons,ns->o", periodic, tensors["inputs.periodic.bias"])
        return _AffineMap(np.concatenate([numbers, waves.reshape(len(weight), -1), rest], axis=1), bias)

    def then_scaled(self, scale: Float64Array, shift: Float64Array) -> _AffineMap:
        """Multiplies the map's outputs by scale and adds shift; both: (out,)."""
        return _AffineMap(scale[:, None] * self.weight, scale * self.bias + shift)

    def then(self, later: _AffineMap) -> _AffineMap:
        """Composes the map with a later one: W₂(W₁x + b₁) + b₂."""
        return _AffineMap(later.weight @ self.weight, later.weight @ self.bias + later.bias)

    def rounded(self) -> Affine:
        return Affine(_round(self.weight), _round(self.bias))


class _Run:
    """The affine operations since the last stage of another type, during folding.

    Args:
        mean, std: (width,) standardisation of the rows, the first operation of all; None for no standardisation.
    """

    def __init__(self, mean: Float64Array | None = None, std: Float64Array | None = None) -> None:
        self._maps: list[_AffineMap] = []
        self._standardization = None if mean is None or std is None else (mean, std)
        self._lead: tuple[Float64Array, Float64Array] | None = None  # scale and shift, (width,), before the first map

    def multiply(self, affine: _AffineMap) -> None:
        """Adds a Linear."""
        if self._lead is not None:
            affine = affine.after_scaled(*self._lead)
        if self._standardization is not None:
            affine = affine.after_standardization(*self._standardization)
        self._lead = self._standardization = None
        self._maps.append(affine)

    def scale(self, scale: Float64Array, shift: Float64Array) -> None:
        """Adds an elementwise `scale·x + shift`; both: (width,)."""
        if self._maps:
            self._maps[-1] = self._maps[-1].then_scaled(scale, shift)
        elif self._lead is not None:
            self._lead = (self._lead[0] * scale, self._lead[1] * scale + shift)
        elif (scale != 1).any() or shift.any():
            self._lead = (scale, shift)

    def end(self) -> list[Affine]:
        """Returns the fewest stages for the operations, and starts anew."""
        if self._standardization is not None and self._lead is None:
            mean, std = self._standardization
            if mean.any() or (std != 1).any():
                self._lead = np.ones_like(mean), np.zeros_like(mean)
        if self._lead is not None:  # no Linear follows, as after a BatchNorm before an activation
            scale, shift = self._lead
            self._lead = None
            self.multiply(_AffineMap(np.diag(scale), shift))
        maps, self._maps, self._standardization = self._maps, [], None
        return _collapse(maps)


def _collapse(run: Sequence[_AffineMap]) -> list[Affine]:
    """Merges neighbouring affine maps into the stages with the fewest multiply-adds.

    Neighbours can always be merged, but a merged stage may cost more: a bottleneck such as 784-10-784 costs 15,680
    multiply-adds per row in two stages and 614,656 in one. With widths n_0 … n_k, a stage from n_i to n_j costs
    n_i·n_j, so the best partition is a shortest path from 0 to k. If several paths are shortest, the one with the
    fewest stages is used.
    """
    if not run:  # an activation directly after LayerNorm, which ended the run
        return []
    widths = [run[0].weight.shape[1], *(affine.weight.shape[0] for affine in run)]
    best = [(0, 0, 0)]  # by j: multiply-adds up to n_j, stages up to n_j, start of the last of these stages
    for j in range(1, len(widths)):
        best.append(min((best[i][0] + widths[i] * widths[j], best[i][1] + 1, i) for i in range(j)))
    stages: list[Affine] = []
    end = len(run)
    while end > 0:
        start = best[end][2]
        stages.append(reduce(_AffineMap.then, run[start:end]).rounded())
        end = start
    return stages[::-1]


def _round(array: Float64Array) -> Float32Array:
    with np.errstate(over="ignore"):  # an overflow is refused below, so NumPy need not warn
        rounded = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(rounded).all():
        raise ConfigError("the folded weights are too large for float32.")
    return rounded


def _finite(name: str, array: Float64Array) -> Float64Array:
    if not np.isfinite(array).all():
        raise ConfigError(f"tensor {name!r} holds values that are not finite numbers.")
    return array


def _float32_range(low: Float64Array, high: Float64Array) -> tuple[float, float] | tuple[Float32Array, Float32Array]:
    """Cuts a range, (out_features,) each, down to that of float32: torch refuses larger bounds, which bound nothing.

    The range of one value is returned as numbers, which kernels take without an array.
    """
    low, high = np.maximum(low, -_FLOAT32_MAX), np.minimum(high, _FLOAT32_MAX)
    return (float(low[0]), float(high[0])) if len(low) == 1 else (low.astype(np.float32), high.astype(np.float32))


def _statistic(name: str, value: npt.ArrayLike, width: int, *, positive: bool = False) -> Float64Array:
    """Broadcasts a number or (width,) to (width,) float64."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in {(), (width,)}:
        raise ConfigError(f"{name} must be a number or have shape {(width,)}, got {array.shape}.")
    if not np.isfinite(array).all() or (positive and (array <= 0).any()):
        raise ConfigError(f"{name} must be {'positive' if positive else 'finite'}, got {value!r}.")
    return np.broadcast_to(array, (width,))
