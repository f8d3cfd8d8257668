"""Operators that move the numbers of a row: reshapes, slices, and joins of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.constants import axes_of, slice_of, target_shape
from conversion.importing.onnx_graph.contents import (
    Chosen,
    Codes,
    Content,
    Elementwise,
    Features,
    Hidden,
    IntArray,
    Mask,
    Probabilities,
    RowValue,
    Value,
)
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.node import Node

_MOST_TAKEN = 1 << 20  # numbers of a row


def row_input(node: Node, inputs: Sequence[Value | None], place: int = 0) -> RowValue:
    """Returns an input that differs from row to row.

    Raises:
        ImportRefused: The input is a constant or is left out.
    """
    value = inputs[place] if len(inputs) > place else None
    if not isinstance(value, RowValue):
        raise node.refused("takes a constant where the rows are expected")
    return value


def axis_of(node: Node, value: RowValue, axis: int) -> int:
    """Returns an axis counted from the batch, 0.

    Raises:
        ImportRefused: The value has no such axis.
    """
    rank = 1 + len(value.dims)
    if not -rank <= axis < rank:
        raise node.refused(f"has axis {axis}, where the tensor has {rank} axes")
    return axis % rank


def taken(chain: Chain, content: Content, index: IntArray, node: Node) -> Content:
    """Returns the numbers of a row at some places."""
    if len(index) > _MOST_TAKEN:
        raise node.refused("takes too many columns")
    if np.array_equal(index, np.arange(content.width)):
        return content
    match content:
        case Features() | Hidden() | Mask():
            return content.taken(index)
        case _:
            return chain.affine(content, node).taken(index)


def _reshape(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    shape = node.get("shape") if node.has("shape") else target_shape(node, inputs[1] if len(inputs) > 1 else None)
    return _reshaped(node, value, list(shape), chain.batch)


def _reshaped(node: Node, value: RowValue, shape: list[int | None], batch: int | None) -> RowValue:
    """Returns the numbers in another shape that has the rows first."""
    width = math.prod(value.dims)
    if not shape or shape[0] not in (None, 0, -1, batch):
        raise node.refused(f"reshapes rows to {tuple(shape)}, which depends on how many rows there are")
    rest = list(shape[1:])
    for place, length in enumerate(rest):
        if length == 0 and not node.get("allowzero", 0) and place < len(value.dims):
            rest[place] = value.dims[place]
    known = math.prod(length for length in rest if length is not None and length > 0)
    unknown = [place for place, length in enumerate(rest) if length is None or length < 0]
    if len(unknown) == 1 and shape[0] != -1 and known and width % known == 0:
        rest[unknown[0]] = width // known
    dims = tuple(length for length in rest if length is not None)
    if len(dims) != len(rest) or math.prod(dims) != width or any(length < 0 for length in dims):
        raise node.refused(f"reshapes the {width} numbers of a row to {tuple(shape)}, which mixes rows")
    return replace(value, dims=dims)


def _flatten(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if axis_of(node, value, int(node.get("axis", 1))) != 1 and node.get("axis", 1) != len(value.dims) + 1:
        raise node.refused("flattens other axes than those of a row")
    return replace(value, dims=(math.prod(value.dims),))


def _squeeze(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    axes = axes_of(node, inputs)
    if axes is None:
        return replace(value, dims=tuple(length for length in value.dims if length != 1))
    places = {axis_of(node, value, axis) for axis in axes}
    if 0 in places or any(value.dims[place - 1] != 1 for place in places):
        raise node.refused("removes an axis that is not of length 1")
    return replace(value, dims=tuple(length for place, length in enumerate(value.dims, 1) if place not in places))


def _unsqueeze(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    axes = axes_of(node, inputs) or []
    rank = 1 + len(value.dims) + len(axes)
    places = sorted(axis % rank for axis in axes if -rank <= axis < rank)
    if len(places) != len(axes) or 0 in places:
        raise node.refused("puts an axis before the rows")
    dims = list(value.dims)
    for place in places:
        dims.insert(place - 1, 1)
    return replace(value, dims=tuple(dims))


def _transpose(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    order = node.get("perm") or list(range(len(value.dims), -1, -1))
    if order[0] != 0 or sorted(order) != list(range(1 + len(value.dims))):
        raise node.refused("moves the axis of the rows")
    places = np.arange(value.content.width).reshape(value.dims).transpose([axis - 1 for axis in order[1:]])
    return RowValue(taken(chain, value.content, places.ravel(), node), places.shape)


def _concat(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    values = [row_input(node, inputs, place) for place in range(len(inputs))]
    first = values[0]
    axis = axis_of(node, first, int(node.get("axis", 1)))
    if sum(value.content.width for value in values) > _MOST_TAKEN:
        raise node.refused("joins too many columns")
    if axis == 0 or axis != len(first.dims) or not all(value.is_matrix for value in values):
        raise node.refused("joins rows, or other axes than the columns")
    dims = (*first.dims[:-1], sum(value.dims[-1] for value in values))
    contents = [value.content for value in values]
    if len(contents) == 1:
        return first
    if all(isinstance(content, Features) and not content.truncated for content in contents):
        items = tuple(item for content in contents if isinstance(content, Features) for item in content.items)
        return RowValue(Features(items), dims)
    if all(isinstance(content, Mask) and not content.negated for content in contents):
        conditions = (content.conditions for content in contents if isinstance(content, Mask))
        return RowValue(Mask(tuple(one for part in conditions for one in part)), dims)
    if (pair := _two_classes(chain, contents, node)) is not None:
        return RowValue(pair, dims)
    return RowValue(chain.joined(contents, node), dims)


def _two_classes(chain: Chain, contents: Sequence[Content], node: Node) -> Probabilities | None:
    """Returns the probabilities 1 - σ(z) and σ(z) of two classes, if these are the values that are joined."""
    if len(contents) != 2 or any(content.width != 1 for content in contents):
        return None
    first, second = contents
    if not isinstance(first, Elementwise) or not isinstance(second, Elementwise):
        return None
    if first.argument is not second.argument:
        return None
    signs = []  # scale and shift of z in the probability of each class: 1 - σ(z) is σ(-z)
    for content in (first, second):
        form = content.function.recognised()
        inner = None if form is None else form.as_sigmoid()
        if inner is None:
            return None
        signs.append(inner)
    if not np.allclose(signs[0], [-number for number in signs[1]], rtol=1e-9, atol=0):
        return None
    scale, shift = (np.full(1, number) for number in signs[1])
    logits = chain.hidden(chain.scaled(second.argument, scale, shift, node), node)
    return Probabilities("sigmoid", logits, 2, str(node))


def _gather(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value, places = inputs[0], inputs[1]
    if isinstance(value, np.ndarray) and isinstance(places, RowValue):
        return _looked_up(node, value, places)
    if not isinstance(value, RowValue) or not isinstance(places, np.ndarray):
        raise node.refused("looks up rows of a table, as an embedding does")
    axis = axis_of(node, value, int(node.get("axis", 0)))
    return _taken_along(chain, node, value, axis, places.astype(np.int64))


def _taken_along(chain: Chain, node: Node, value: RowValue, axis: int, places: IntArray) -> RowValue:
    if axis == 0:
        raise node.refused("takes some of the rows")
    length = value.dims[axis - 1]
    if places.size and not (-length <= places.min() and places.max() < length):
        raise node.refused(f"takes column {int(np.abs(places).max())} of {length}")
    numbers = np.arange(value.content.width).reshape(value.dims).take(places % length, axis=axis - 1)
    return RowValue(taken(chain, value.content, numbers.ravel(), node), numbers.shape)


def _looked_up(node: Node, table: np.ndarray[tuple[int, ...], np.dtype[np.generic]], places: RowValue) -> RowValue:
    """Returns the labels of chosen classes, or the numbers of categories."""
    content = places.content
    flat = table.ravel()
    if isinstance(content, Chosen):
        classes = content.scores.width
        if len(flat) < classes or (table.ndim > 1 and max(table.shape) != table.size):
            raise node.refused(f"has {len(flat)} labels for {classes} classes")
        labels = flat.tolist()
        marks = [labels[int(mark)] for mark in content.marks if -len(labels) <= int(mark) < len(labels)]
        return replace(places, content=replace(content, labels=tuple(labels[:classes])).marked(marks, node))
    if isinstance(content, Codes) and table.ndim == 1 and table.dtype.kind in "fiu":
        length = len(flat)
        codes = [*content.numbers.values(), *([] if content.default is None else [content.default])]
        if any(code != int(code) or not -length <= code < length for code in codes):
            raise node.refused("looks up a number outside its table")
        numbers = {text: float(flat[int(code)]) for text, code in content.numbers.items()}
        default = None if content.default is None else float(flat[int(content.default)])
        return replace(places, content=replace(content, numbers=numbers, default=default))
    raise node.refused("looks up rows of a table, as an embedding does")


def _array_feature_extractor(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value, places = inputs[0], inputs[1]
    if isinstance(value, np.ndarray) and isinstance(places, RowValue):
        return _looked_up(node, value, places)
    if not isinstance(value, RowValue) or not isinstance(places, np.ndarray):
        raise node.refused("takes columns that differ from row to row")
    return _taken_along(chain, node, value, len(value.dims), places.astype(np.int64).ravel())


def _slice(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    for axis in range(1, len(value.dims) + 1):
        for counted in (axis, axis - 1 - len(value.dims)):
            try:
                part = slice_of(node, inputs, counted)
            except ValueError:
                continue
            return _taken_along(chain, node, value, axis, np.arange(value.dims[axis - 1])[part])
    raise node.refused("takes some of the rows, or slices along several axes")


def _split(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    value = row_input(node, inputs)
    axis = axis_of(node, value, int(node.get("axis", 0)))
    if axis == 0:
        raise node.refused("splits the rows")
    length, count = value.dims[axis - 1], len(node.outputs)
    given = node.get("split") if node.has("split") else inputs[1] if len(inputs) > 1 else None
    if given is None:
        size = -(-length // count)
        given = [min(size, length - size * i) for i in range(count)]
    sizes = [int(size) for size in np.asarray(given).ravel()]
    if len(sizes) != count or sum(sizes) != length or min(sizes) < 0:
        raise node.refused(f"splits {length} columns into {sizes}")
    starts = np.cumsum([0, *sizes])
    return tuple(_taken_along(chain, node, value, axis, np.arange(start, end)) for start, end in pairwise(starts))


def _feature_vectorizer(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    values = [row_input(node, inputs, place) for place in range(len(inputs))]
    return RowValue.flat(chain.joined([value.content for value in values], node))


def _identity(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    return row_input(node, inputs)


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        ("", "Reshape"): _reshape,
        ("", "Flatten"): _flatten,
        ("", "Squeeze"): _squeeze,
        ("", "Unsqueeze"): _unsqueeze,
        ("", "Transpose"): _transpose,
        ("", "Concat"): _concat,
        ("", "Gather"): _gather,
        ("", "Slice"): _slice,
        ("", "Split"): _split,
        ("", "Identity"): _identity,
        ("ai.onnx.ml", "ArrayFeatureExtractor"): _array_feature_extractor,
        ("ai.onnx.ml", "FeatureVectorizer"): _feature_vectorizer,
    }
)
