"""Tensors that do not depend on the row: constants are computed at once, shapes as far as the number of rows allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from conversion.importing.onnx_graph.contents import Dimensions, Value
from conversion.importing.onnx_graph.node import Node

Array = NDArray[np.generic]

_MOST_ELEMENTS = 1 << 28  # of a computed constant; 1 GiB of float32
_FOLDED = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "ArrayFeatureExtractor",
        "BitShift",
        "Cast",
        "CastLike",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "DequantizeLinear",
        "Div",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Gemm",
        "Greater",
        "Identity",
        "LabelEncoder",
        "Less",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pow",
        "Range",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)


def is_folded(node: Node) -> bool:
    """Returns True if an operator is computed where all its inputs are constants."""
    return node.op in _FOLDED and node.domain in ("", "ai.onnx.ml")


def folded(node: Node, proto: onnx.NodeProto, inputs: Sequence[Array | None]) -> tuple[Array, ...]:
    """Returns the outputs of a node whose inputs are constants.

    Args:
        node: node of the graph.
        proto: the same node as a message.
        inputs: input arrays; None for an input that is left out.

    Raises:
        ImportRefused: The result would be too large, or the operator does not take the inputs.
    """
    if _size(node, inputs) > _MOST_ELEMENTS:
        raise node.refused("computes a constant that is too large")
    names = [name for name, array in zip(proto.input, inputs, strict=True) if array is not None]
    given = {name: array for name, array in zip(proto.input, inputs, strict=True) if array is not None}
    infos = [helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names)]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    graph = helper.make_graph([proto], "constant", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(proto.domain, node.opset)])
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, given)
    return tuple(np.asarray(result) for result in results)


def constant(node: Node) -> Array:
    """Returns the value of a node of the operator Constant."""
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings"):
        if node.has(name):
            value = node.get(name)
            if name.startswith("value_f"):
                return np.asarray(value, dtype=np.float32)
            if name.startswith("value_i"):
                return np.asarray(value, dtype=np.int64)
            return np.asarray(value)
    raise node.refused("has a value of a kind that Axon does not read")


def array_of(tensor: onnx.TensorProto) -> Array:
    """Returns a tensor as an array; texts as Python strings."""
    array = numpy_helper.to_array(tensor)
    if array.dtype == object:
        flat = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel()]
        return np.array(flat, dtype=object).reshape(array.shape)
    return array


def _size(node: Node, inputs: Sequence[Array | None]) -> int:
    """Returns a bound of the number of elements of a node's result."""
    arrays = [array for array in inputs if array is not None]
    sizes = [array.size for array in arrays]
    match node.op:
        case "Expand" | "ConstantOfShape":
            shape = [int(number) for number in arrays[-1].ravel()]
            return math.prod(max(number, 1) for number in shape) * (max(sizes[:-1], default=1))
        case "Tile":
            return sizes[0] * math.prod(max(int(number), 1) for number in arrays[1].ravel())
        case "Range":
            start, limit, delta = (float(array.ravel()[0]) for array in arrays)
            return int(abs((limit - start) / delta)) if delta else _MOST_ELEMENTS + 1
        case "MatMul" | "Gemm" | "Gather" | "ArrayFeatureExtractor":
            return sizes[0] * sizes[1] if node.op not in ("MatMul", "Gemm") else _product_size(arrays)
        case "Concat" | "Split":
            return sum(sizes)
        case _:
            shapes = [array.shape for array in arrays]
            return math.prod(max(lengths) for lengths in _aligned(shapes)) if shapes else 1


def _aligned(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    return [list(lengths) for lengths in zip(*padded, strict=True)]


def _product_size(arrays: Sequence[Array]) -> int:
    first, second = arrays[0], arrays[1]
    return (first.size // max(first.shape[-1] if first.ndim else 1, 1)) * max(second.shape[-1] if second.ndim else 1, 1)


def shape_result(node: Node, inputs: Sequence[Value | None]) -> Value:
    """Returns the result of an operator on numbers of a shape.

    Args:
        node: node of the graph.
        inputs: inputs, of which one at least is `Dimensions`.

    Raises:
        ImportRefused: The operator is none that is known for shapes.
    """
    first = inputs[0]
    numbers = first.numbers if isinstance(first, Dimensions) else ()
    match node.op:
        case "Cast" | "Identity" | "Reshape":
            return Dimensions(numbers)
        case "Unsqueeze":
            return Dimensions(numbers)
        case "Squeeze":
            return Dimensions(numbers, is_scalar=len(numbers) == 1)
        case "Gather":
            places = np.asarray(inputs[1])
            taken = tuple(numbers[int(place)] for place in places.ravel())
            return as_value(Dimensions(taken, is_scalar=places.ndim == 0))
        case "Slice":
            return as_value(Dimensions(numbers[slice_of(node, inputs)]))
        case "Concat":
            joined: list[int | None] = []
            for part in inputs:
                joined += part.numbers if isinstance(part, Dimensions) else _whole_numbers(node, part)
            return as_value(Dimensions(tuple(joined)))
        case _:
            raise node.refused("computes with the number of rows")


def as_value(dimensions: Dimensions) -> Value:
    """Returns numbers of a shape as a constant, unless the number of rows is one of the numbers."""
    if any(number is None for number in dimensions.numbers):
        return dimensions
    array = np.array(dimensions.numbers, dtype=np.int64)
    return array.reshape(()) if dimensions.is_scalar else array


def target_shape(node: Node, shape: Value | None) -> list[int | None]:
    """Returns the shape that a Reshape asks for; None stands for the number of rows."""
    if isinstance(shape, Dimensions):
        return list(shape.numbers)
    return list(_whole_numbers(node, shape))


def slice_of(node: Node, inputs: Sequence[Value | None], axis: int = 0) -> slice:
    """Returns the part of an axis that a Slice takes.

    Raises:
        ImportRefused: The slice has another axis, or limits that are not constant.
    """
    if node.opset < 10:
        starts, ends, axes = node.get("starts"), node.get("ends"), node.get("axes", [0])
        steps = [1]
    else:
        given = [None if value is None else _whole_numbers(node, value) for value in (*inputs[1:], None, None, None)]
        starts, ends, axes, steps = given[0], given[1], given[2] or [0], given[3] or [1]
    if not starts or not ends or [len(starts), len(ends), len(axes), len(steps)] != [1, 1, 1, 1] or not steps[0]:
        raise node.refused("slices along several axes")
    if axes[0] != axis:
        raise node.refused(f"slices along axis {axes[0]}")
    stop = int(ends[0])
    return slice(int(starts[0]), None if steps[0] < 0 and stop < -(2**31) else stop, int(steps[0]))


def axes_of(node: Node, inputs: Sequence[Value | None], place: int = 1) -> list[int] | None:
    """Returns the axes of a node, from its attribute or from an input; None for none given."""
    if node.has("axes"):
        return [int(axis) for axis in node.get("axes")]
    if len(inputs) > place and inputs[place] is not None:
        return [int(axis) for axis in _whole_numbers(node, inputs[place])]
    return None


def _whole_numbers(node: Node, value: Value | None) -> list[int]:
    if not isinstance(value, np.ndarray):
        raise node.refused("takes numbers that are not constant")
    return [int(number) for number in value.ravel()]
