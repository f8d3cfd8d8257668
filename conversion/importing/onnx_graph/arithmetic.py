"""Elementwise operators: a constant scales or shifts a value, and values of one argument make a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.conditions import equal_codes, mask_with_constant, of_masks, where_mask
from conversion.importing.onnx_graph.contents import (
    Activation,
    Codes,
    Content,
    Elementwise,
    Features,
    Float64Array,
    Hidden,
    Mask,
    Moment,
    Probabilities,
    RowValue,
    Value,
)
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.layout import row_input, taken
from conversion.importing.onnx_graph.node import Node
from conversion.importing.onnx_graph.scalar_function import BINARY, UNARY, ScalarFunction
from models.network.config import LayerActivation

_erf_of = np.vectorize(math.erf, otypes=[np.float64])  # NumPy has none
_MOST_NUMBERS = 1 << 20  # numbers of a row that a constant is spread over


def lifted(content: Content, node: Node) -> Elementwise | None:
    """Returns a value as a function of features or of units, at first the identity; None for any other value."""
    if isinstance(content, Elementwise):
        return content
    if isinstance(content, Features | Hidden):
        return Elementwise(content, ScalarFunction.identity(), str(node))
    return None


def activated(content: Content, activation: Activation, node: Node) -> Elementwise:
    """Returns the activation of a value.

    Raises:
        ImportRefused: The value is no output of a layer.
    """
    value = lifted(content, node)
    if value is None:
        raise node.refused("takes a value that is no layer's output")
    name = cast(LayerActivation, activation.name)
    form = value.function.form
    before = None if form is not None and form.is_affine else (value, activation)
    return Elementwise(value.argument, value.function.activated(name, activation.constants), str(node), before)


def with_constant(
    chain: Chain,
    value: RowValue,
    constant: NDArray[np.generic],
    scale_and_shift: Callable[[Float64Array], tuple[Float64Array, Float64Array]],
    node: Node,
) -> RowValue:
    """Returns `scale·value + shift`, where both come from a constant of the graph.

    Args:
        chain: chain of layers.
        value: tensor with rows.
        constant: array that is broadcast to the tensor.
        scale_and_shift: function from the constant to scale and shift, of its shape.
        node: node of the operator.
    """
    scale, shift = scale_and_shift(np.asarray(constant, dtype=np.float64))
    if not np.isfinite(scale).all() or not np.isfinite(shift).all():
        raise node.refused("has a constant that is not a finite number")
    content, dims, spread = broadcast(chain, value, constant.shape, node)
    if constant.size == 1 and (function := lifted(content, node)) is not None:
        changed = function.function.scaled(float(scale.ravel()[0]), float(shift.ravel()[0]))
        factor, offset = float(scale.ravel()[0]), float(shift.ravel()[0])
        outer = (function.outer[0] * factor, function.outer[1] * factor + offset)
        return RowValue(Elementwise(function.argument, changed, str(node), function.before, outer), dims)
    return RowValue(chain.scaled(content, spread(scale), spread(shift), node), dims)


def broadcast(
    chain: Chain, value: RowValue, shape: tuple[int, ...], node: Node
) -> tuple[Content, tuple[int, ...], Callable[[Float64Array], Float64Array]]:
    """Broadcasts a tensor with rows against a constant's shape.

    Returns:
        The content, the axes after the batch, and a function that spreads the constant over the numbers of a row.

    Raises:
        ImportRefused: The constant has a value for each row, or too many axes.
    """
    own = (1, *value.dims)
    try:
        common = np.broadcast_shapes(own, shape)
    except ValueError:
        raise node.refused(f"joins rows of shape {value.dims} and a constant of shape {shape}") from None
    if len(common) != len(own) or common[0] != 1 or np.prod(common) > _MOST_NUMBERS:
        raise node.refused(f"has a constant of shape {shape}, with more axes than rows of shape {value.dims}")
    index = np.broadcast_to(np.arange(value.content.width).reshape(own), common).ravel()
    content = taken(chain, value.content, index, node)
    return content, common[1:], lambda constant: np.broadcast_to(constant, common).astype(np.float64).ravel()


def binary(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    """Returns the result of an operator on two values, of which one may be a constant."""
    if len(inputs) > 2:
        raise node.refused("joins more than two values")
    left, right = inputs[0], inputs[1] if len(inputs) > 1 else None
    if isinstance(left, RowValue) and isinstance(right, np.ndarray):
        return _beside_constant(chain, node, left, right, "right")
    if isinstance(right, RowValue) and isinstance(left, np.ndarray):
        return _beside_constant(chain, node, right, left, "left")
    if isinstance(left, RowValue) and isinstance(right, RowValue):
        return _of_two(chain, node, left, right)
    raise node.refused("computes with the number of rows")


def _beside_constant(
    chain: Chain, node: Node, value: RowValue, constant: NDArray[np.generic], side: Literal["left", "right"]
) -> Value:
    content = value.content
    if isinstance(content, Moment):
        return RowValue(_moment_with_constant(node, content, constant), value.dims)
    if isinstance(content, Mask):
        return mask_with_constant(node, value, content, constant)
    if isinstance(content, Codes) and node.op == "Equal":
        return equal_codes(chain, node, value, content, constant)
    match node.op, side:
        case "Add" | "Sum", _:
            return with_constant(chain, value, constant, lambda c: (np.ones_like(c), c), node)
        case "Sub", "right":
            return with_constant(chain, value, constant, lambda c: (np.ones_like(c), -c), node)
        case "Sub", "left":
            return with_constant(chain, value, constant, lambda c: (-np.ones_like(c), c), node)
        case "Mul", _:
            return with_constant(chain, value, constant, lambda c: (c, np.zeros_like(c)), node)
        case "Div", "right":
            if not np.all(constant):
                raise node.refused("divides by 0")
            return with_constant(chain, value, constant, lambda c: (1 / c, np.zeros_like(c)), node)
        case "Less", "right" if _is_bound_of_numbers(content, constant):
            return RowValue(Mask((frozenset(),) * content.width, negated=True), value.dims)
        case _:
            return RowValue(_function_with_constant(node, content, constant, side), value.dims)


def _function_with_constant(
    node: Node, content: Content, constant: NDArray[np.generic], side: Literal["left", "right"]
) -> Elementwise:
    function = lifted(content, node)
    if constant.size != 1 or node.op not in BINARY or function is None:
        raise node.refused("is no operator that an MLP has between its layers")
    number = float(constant.ravel()[0])
    if node.op == "Max" and side in ("left", "right"):
        return activated(content, _bounded(number, np.inf), node)
    if node.op == "Min":
        return activated(content, _bounded(-np.inf, number), node)
    operator = BINARY[node.op]
    made = function.function.mapped(
        (lambda t: operator(t, number)) if side == "right" else (lambda t: operator(number, t))
    )
    return Elementwise(function.argument, made, str(node))


def _bounded(least: float, most: float) -> Activation:
    if least == 0 and most == np.inf:
        return Activation("relu")
    big = float(np.finfo(np.float32).max)
    return Activation("hardtanh", (max(least, -big), min(most, big)))


def _of_two(chain: Chain, node: Node, left: RowValue, right: RowValue) -> Value:
    first, second = left.content, right.content
    if isinstance(first, Moment) or isinstance(second, Moment):
        return RowValue(
            _of_moments(chain, node, first, second), left.dims if first.width >= second.width else right.dims
        )
    if isinstance(first, Mask) and isinstance(second, Mask):
        return of_masks(node, left, first, second)
    if left.dims != right.dims:
        raise node.refused(f"joins values of shapes {left.dims} and {right.dims}")
    one, other = _of_one_argument(first, second, node)
    if one is not None and other is not None and node.op in BINARY:
        if node.op in ("Add", "Sub") and all(_is_affine(part) for part in (one, other)):
            negative = chain.scaled(second, np.full(second.width, -1.0), np.zeros(second.width), node)
            return RowValue(chain.sum_of(first, second if node.op == "Add" else negative, node), left.dims)
        made = one.function.mapped(BINARY[node.op], other.function)
        return RowValue(Elementwise(one.argument, made, str(node)), left.dims)
    if node.op == "Add" or node.op == "Sum":
        return RowValue(chain.sum_of(first, second, node), left.dims)
    if node.op == "Sub":
        negative = chain.scaled(second, np.full(second.width, -1.0), np.zeros(second.width), node)
        return RowValue(chain.sum_of(first, negative, node), left.dims)
    raise node.refused("joins two values that both differ from row to row")


def _of_one_argument(first: Content, second: Content, node: Node) -> tuple[Elementwise | None, Elementwise | None]:
    """Returns two values as functions of one argument; None for both if the arguments differ."""
    one, other = lifted(first, node), lifted(second, node)
    if one is None or other is None:
        return None, None
    if one.argument is other.argument:
        return one, other
    return None, None


def _is_affine(value: Elementwise) -> bool:
    return value.function.form is not None and value.function.form.is_affine


def _of_moments(chain: Chain, node: Node, first: Content, second: Content) -> Moment:
    match node.op, first, second:
        case "Sub", Hidden() | Features() | Elementwise(), Moment(kind="mean"):
            units = chain.hidden(first, node)
            if units is second.of or (units.is_plain and second.of.is_plain and units.base is second.of.base):
                return Moment("centred", second.of, units.width)
            raise node.refused("subtracts the mean of other units")
        case "Mul", Moment(kind="centred"), Moment(kind="centred") if first.of is second.of:
            return Moment("squared", first.of, first.width)
        case _:
            raise node.refused("is no part of a LayerNorm that Axon knows")


def _moment_with_constant(node: Node, moment: Moment, constant: NDArray[np.generic]) -> Moment:
    number = float(constant.ravel()[0]) if constant.size == 1 else np.nan
    if node.op == "Pow" and moment.kind == "centred" and number == 2:
        return Moment("squared", moment.of, moment.width)
    if node.op == "Add" and moment.kind == "variance" and 0 < number < 1:
        return Moment("variance", moment.of, 1, moment.eps + number)
    if node.op == "Pow" and moment.kind == "variance" and number == 0.5:
        return Moment("deviation", moment.of, 1, moment.eps)
    raise node.refused("is no part of a LayerNorm that Axon knows")


def _is_bound_of_numbers(content: Content, constant: NDArray[np.generic]) -> bool:
    return (
        isinstance(content, Elementwise)
        and isinstance(content.argument, Features)
        and bool((constant.astype(np.float64) > 1e30).all())
    )


def _unary(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    if isinstance(content, Mask) and node.op == "Not":
        return RowValue(Mask(content.conditions, negated=not content.negated), value.dims)
    if isinstance(content, Moment):
        if node.op == "Sqrt" and content.kind == "variance" and content.eps:
            return RowValue(Moment("deviation", content.of, 1, content.eps), value.dims)
        raise node.refused("is no part of a LayerNorm that Axon knows")
    if isinstance(content, Probabilities) and node.op in ("Log", "Exp"):
        kinds = {("Log", "softmax"): "log_softmax", ("Exp", "log_softmax"): "softmax"}
        if (kind := kinds.get((node.op, content.kind))) is not None:
            changed = Probabilities(cast(Literal["softmax"], kind), content.logits, content.width, str(node))
            return RowValue(changed, value.dims)
    function = lifted(content, node)
    if function is None:
        raise node.refused("takes a value that is no layer's output")
    return RowValue(Elementwise(function.argument, function.function.mapped(UNARY[node.op]), str(node)), value.dims)


def _neg(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    return with_constant(chain, value, np.array(-1.0), lambda c: (c, np.zeros_like(c)), node)


def _erf(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    function = lifted(value.content, node)
    if function is None:
        raise node.refused("takes a value that is no layer's output")
    made = function.function.mapped(_erf_of)
    return RowValue(Elementwise(function.argument, made, str(node)), value.dims)


def _where(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    condition, yes, no = inputs
    if not isinstance(condition, RowValue):
        raise node.refused("chooses by a constant")
    content = condition.content
    if isinstance(content, Mask):
        return where_mask(chain, node, content, yes, no)
    test = lifted(content, node)
    sides = [_side(side, test, node) for side in (yes, no)]
    if test is None or any(side is None for side in sides):
        raise node.refused("chooses between two branches of the graph")
    made = test.function.mapped(np.where, *(side.function for side in sides if side is not None))
    return RowValue(Elementwise(test.argument, made, str(node)), condition.dims)


def _side(side: Value | None, test: Elementwise | None, node: Node) -> Elementwise | None:
    if test is None:
        return None
    if isinstance(side, np.ndarray) and side.size == 1:
        number = float(side.ravel()[0])
        return Elementwise(test.argument, test.function.mapped(lambda t: np.full(t.shape, number)), str(node))
    if isinstance(side, RowValue):
        value = lifted(side.content, node)
        return value if value is not None and value.argument is test.argument else None
    return None


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        **{("", op): binary for op in (*BINARY, "Equal", "Sum")},
        **{("", op): _unary for op in UNARY},
        ("", "Neg"): _neg,
        ("", "Erf"): _erf,
        ("", "Where"): _where,
    }
)
