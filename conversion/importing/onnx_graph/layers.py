"""The operators that are layers of an MLP: products with matrices, activations, normalisations, dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from conversion.importing.onnx_graph.arithmetic import activated, binary, with_constant
from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.conditions import as_mask
from conversion.importing.onnx_graph.constants import axes_of
from conversion.importing.onnx_graph.contents import (
    Activation,
    Chosen,
    Codes,
    Elementwise,
    Features,
    Float64Array,
    Hidden,
    Mask,
    Moment,
    RowValue,
    Value,
)
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.layout import axis_of, row_input
from conversion.importing.onnx_graph.node import Node
from models.network.functional import SELU_ALPHA, SELU_SCALE
from models.network.sequence import SequenceLayer

_FLOATS = (1, 10, 11, 16)  # FLOAT, FLOAT16, DOUBLE, BFLOAT16
_WHOLE = (2, 3, 4, 5, 6, 7, 12, 13)
_STRING, _BOOL = 8, 9


def layer_name(tensor: str) -> str:
    """Returns the name of a layer from the name of the layer's weights: `0` for `0.weight`, else an empty text."""
    name, _, last = tensor.rpartition(".")
    return name if last in ("weight", "weight_quantized") else ""


def constant_input(node: Node, inputs: Sequence[Value | None], place: int) -> Float64Array:
    """Returns an input that is a constant of numbers, as float64.

    Raises:
        ImportRefused: The input differs from row to row, or holds no finite numbers.
    """
    value = inputs[place] if len(inputs) > place else None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise node.refused(f"takes no constant as input {place}")
    array = value.astype(np.float64)
    if not np.isfinite(array).all():
        raise node.refused("has a weight that is not a finite number")
    return array


def _gemm(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if node.get("transA", 0) or len(value.dims) != 1:
        raise node.refused("multiplies rows that are turned round")
    weight = constant_input(node, inputs, 1)
    if weight.ndim != 2:
        raise node.refused(f"has weights of shape {weight.shape}")
    weight = weight.T if node.get("transB", 0) else weight
    bias = np.zeros(weight.shape[1])
    if len(inputs) > 2 and inputs[2] is not None:
        given = constant_input(node, inputs, 2)
        if given.ndim > 1 and given.shape[0] != 1:
            raise node.refused("has a bias for each row")
        bias = np.broadcast_to(given.reshape(-1), (weight.shape[1],)) * float(node.get("beta", 1.0))
    weight = weight * float(node.get("alpha", 1.0))
    return RowValue.flat(chain.linear(value.content, weight, bias, node, layer_name(node.inputs[1])))


def _matmul(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    if len(inputs) == 2 and all(isinstance(value, RowValue) for value in inputs):
        raise node.refused("multiplies two values that both differ from row to row, as attention does")
    value = row_input(node, inputs)
    weight = constant_input(node, inputs, 1)
    if not value.is_matrix or weight.ndim not in (1, 2):
        raise node.refused(f"multiplies rows of shape {value.dims} by weights of shape {weight.shape}")
    matrix = weight if weight.ndim == 2 else weight[:, None]
    content = chain.linear(value.content, matrix, np.zeros(matrix.shape[1]), node, layer_name(node.inputs[1]))
    dims = value.dims[:-1] + (weight.shape[1:] if weight.ndim == 2 else ())
    return RowValue(content, dims)


def _batch_normalization(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if node.get("training_mode", 0):
        raise node.refused("is in training mode: export the model in evaluation mode (model.eval())")
    weight, bias, mean, variance = (constant_input(node, inputs, place).ravel() for place in (1, 2, 3, 4))
    if len(value.dims) != 1 or any(array.shape != (value.content.width,) for array in (weight, bias, mean, variance)):
        raise node.refused(f"normalises rows of shape {value.dims} by {len(weight)} channels")
    if (variance < 0).any():
        raise node.refused("has a negative variance")
    eps = float(node.get("epsilon", 1e-5))
    affine = chain.affine(value.content, node)
    if isinstance(affine, Features) or not 0 < eps < 1:
        scale = weight / np.sqrt(variance + eps)
        return RowValue.flat(chain.scaled(affine, scale, bias - mean * scale, node))
    layer = SequenceLayer(name=layer_name(node.inputs[1]) or "batch_norm", kind="batch_norm", eps=eps)
    tensors = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    return RowValue.flat(chain.add_layer(affine, layer, tensors))


def _layer_normalization(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if axis_of(node, value, int(node.get("axis", -1))) != len(value.dims) or not value.is_matrix:
        raise node.refused("normalises other axes than the units")
    width = value.content.width
    given = [
        constant_input(node, inputs, place) for place in (1, 2) if len(inputs) > place and inputs[place] is not None
    ]
    weight, bias = (np.broadcast_to(array.ravel(), (width,)) for array in (*given, np.zeros(1))[:2])
    name = layer_name(node.inputs[1]) or "layer_norm"
    hidden = chain.hidden(value.content, node)
    layer = SequenceLayer(name=name, kind="layer_norm", eps=float(node.get("epsilon", 1e-5)))
    return RowValue(chain.add_layer(hidden, layer, {"weight": weight, "bias": bias}), value.dims)


def _reduce_mean(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    axes = axes_of(node, inputs)
    is_last = axes is not None and len(axes) == 1 and axis_of(node, value, axes[0]) == len(value.dims)
    if not is_last or not node.get("keepdims", 1) or not value.is_matrix:
        raise node.refused("averages over something else than the units of a layer")
    dims = (*value.dims[:-1], 1)
    if isinstance(content, Moment) and content.kind == "squared":
        return RowValue(Moment("variance", content.of, 1), dims)
    is_function = isinstance(content, Elementwise) and content.function.recognised() is not None
    if isinstance(content, Hidden | Features) or is_function:
        return RowValue(Moment("mean", chain.hidden(content, node), 1), dims)
    raise node.refused("averages the units of a layer, which only a LayerNorm may do")


def _divided(chain: Chain, node: Node, moment: Moment, by: Moment) -> Hidden:
    """Returns the normalised units, if the division is the last step of a LayerNorm."""
    if moment.kind != "centred" or by.kind != "deviation" or moment.of is not by.of:
        raise node.refused("is no part of a LayerNorm that Axon knows")
    layer = SequenceLayer(name="layer_norm", kind="layer_norm", affine=False, bias=True, eps=by.eps)
    return chain.add_layer(moment.of, layer, {})


def _div(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    left, right = inputs[0], inputs[1]
    if not isinstance(left, RowValue) or not isinstance(right, RowValue):
        return binary(chain, node, inputs)
    if isinstance(left.content, Moment) and isinstance(right.content, Moment):
        return RowValue(_divided(chain, node, left.content, right.content), left.dims)
    return binary(chain, node, inputs)


def _reduce_max(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    axes = axes_of(node, inputs)
    if not isinstance(content, Mask) or content.negated or axes not in ([1], [-1]) or len(value.dims) != 1:
        raise node.refused("takes the greatest number of a row")
    one = frozenset(condition for conditions in content.conditions for condition in conditions)
    return RowValue(Mask((one,)), (1,) if node.get("keepdims", 1) else ())


def _activation(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    get = node.get
    match node.op:
        case "LeakyRelu":
            activation = Activation("leaky_relu", (float(get("alpha", 0.01)),))
        case "Elu":
            activation = Activation("elu", (float(get("alpha", 1.0)),))
        case "Celu":
            activation = Activation("celu", (float(get("alpha", 1.0)),))
        case "HardSigmoid":
            activation = Activation("hardsigmoid", (float(get("alpha", 0.2)), float(get("beta", 0.5))))
        case "Gelu":
            activation = Activation("gelu_tanh" if get("approximate", "none") == "tanh" else "gelu")
        case "Clip":
            return _clip(chain, node, inputs, value)
        case "Selu":
            return _selu(node, value)
        case "Swish":
            return _swish(chain, node, value, float(get("alpha", 1.0)))
        case _:
            activation = Activation(_PLAIN[node.op])
    if activation.name in ("elu", "celu") and activation.constants[0] <= 0:
        raise node.refused(f"has α = {activation.constants[0]:g}, which must be above 0")
    return RowValue(activated(value.content, activation, node), value.dims)


_PLAIN: Mapping[str, str] = MappingProxyType(
    {
        "Relu": "relu",
        "Sigmoid": "sigmoid",
        "Tanh": "tanh",
        "Softplus": "softplus",
        "Softsign": "softsign",
        "Mish": "mish",
        "HardSwish": "hardswish",
    }
)


def _clip(chain: Chain, node: Node, inputs: Sequence[Value | None], value: RowValue) -> Value:
    big = float(np.finfo(np.float32).max)
    bounds: list[float] = []
    for place, (name, default) in enumerate((("min", -big), ("max", big)), 1):
        given: Any = node.get(name, default)
        if len(inputs) > place and inputs[place] is not None:
            array = constant_input(node, inputs, place)
            if array.size != 1:
                raise node.refused("has bounds of its own for each unit")
            given = array.ravel()[0]
        bounds.append(min(max(float(given), -big), big))
    if bounds[0] > bounds[1]:
        raise node.refused(f"has the bounds {bounds[0]:g} and {bounds[1]:g}, in the wrong order")
    return RowValue(activated(value.content, Activation("hardtanh", (bounds[0], bounds[1])), node), value.dims)


def _selu(node: Node, value: RowValue) -> Value:
    alpha, gamma = float(node.get("alpha", SELU_ALPHA)), float(node.get("gamma", SELU_SCALE))
    if abs(alpha - SELU_ALPHA) < 1e-6 and abs(gamma - SELU_SCALE) < 1e-6:
        return RowValue(activated(value.content, Activation("selu"), node), value.dims)
    if alpha <= 0:
        raise node.refused(f"has α = {alpha:g}, which must be above 0")
    elu = activated(value.content, Activation("elu", (alpha,)), node)
    return RowValue(Elementwise(elu.argument, elu.function.scaled(gamma, 0.0), str(node), None), value.dims)


def _swish(chain: Chain, node: Node, value: RowValue, alpha: float) -> Value:
    """Returns x·σ(αx) = silu(αx)/α."""
    if not alpha:
        raise node.refused("has α = 0")
    factor = np.full(value.content.width, alpha)
    scaled = chain.scaled(value.content, factor, np.zeros(value.content.width), node)
    silu = activated(scaled, Activation("silu"), node)
    return RowValue(chain.scaled(silu, 1 / factor, np.zeros(value.content.width), node), value.dims)


def _prelu(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    slope = constant_input(node, inputs, 1).ravel()
    width = value.content.width
    if slope.size not in (1, width):
        raise node.refused(f"has {slope.size} slopes for {width} units")
    if slope.size == 1 and not layer_name(node.inputs[1]):
        return RowValue(activated(value.content, Activation("leaky_relu", (float(slope[0]),)), node), value.dims)
    hidden = chain.hidden(value.content, node)
    layer = SequenceLayer(name=layer_name(node.inputs[1]) or "prelu", kind="prelu", shared=slope.size == 1 != width)
    return RowValue(chain.add_layer(hidden, layer, {"weight": slope}), value.dims)


def _dropout(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    training = inputs[2] if len(inputs) > 2 else None
    if training is not None and not (isinstance(training, np.ndarray) and not training.any()):
        raise node.refused("drops units in training mode: export the model in evaluation mode (model.eval())")
    return row_input(node, inputs)


def _cast(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content, to = value.content, int(node.get("to", 1))
    if isinstance(content, Chosen) and content.labels is not None:
        return RowValue(_cast_labels(node, content, to), value.dims)
    if isinstance(content, Chosen | Mask) or (isinstance(content, Codes) and to in (*_FLOATS, *_WHOLE)):
        return value
    if isinstance(content, Codes) and to == _BOOL:
        return RowValue(as_mask(content), value.dims)
    if isinstance(content, Features) and to in _WHOLE:
        return RowValue(Features(content.items, truncated=True), value.dims)
    if to not in _FLOATS and not (isinstance(content, Features) and to == _STRING):
        raise node.refused("changes numbers to another type")
    return value


def _cast_labels(node: Node, chosen: Chosen, to: int) -> Chosen:
    labels = chosen.labels or ()
    try:
        if to in _WHOLE:
            return replace(chosen, labels=tuple(int(label) for label in labels))
        if to in _FLOATS:
            return replace(chosen, labels=tuple(float(label) for label in labels))
    except ValueError:
        raise node.refused("changes labels that are texts to numbers") from None
    return chosen


def _scaled_tanh(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    """Returns α·tanh(βx)."""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    value = with_constant(chain, row_input(node, inputs), np.array(beta), lambda c: (c, np.zeros_like(c)), node)
    tanh = RowValue(activated(value.content, Activation("tanh"), node), value.dims)
    return with_constant(chain, tanh, np.array(alpha), lambda c: (c, np.zeros_like(c)), node)


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        **{("", op): _activation for op in (*_PLAIN, "LeakyRelu", "Elu", "Celu", "Selu", "Swish", "Gelu", "Clip")},
        ("", "HardSigmoid"): _activation,
        ("", "ScaledTanh"): _scaled_tanh,
        ("", "PRelu"): _prelu,
        ("", "Gemm"): _gemm,
        ("", "MatMul"): _matmul,
        ("", "BatchNormalization"): _batch_normalization,
        ("", "LayerNormalization"): _layer_normalization,
        ("", "ReduceMean"): _reduce_mean,
        ("", "ReduceMax"): _reduce_max,
        ("", "Div"): _div,
        ("", "Dropout"): _dropout,
        ("", "Cast"): _cast,
    }
)
