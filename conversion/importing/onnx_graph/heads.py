"""The operators after the last layer: probabilities, the chosen class, and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.contents import (
    Chosen,
    Content,
    Elementwise,
    Float64Array,
    Hidden,
    Mapped,
    Probabilities,
    RowValue,
    Value,
)
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.layout import axis_of, row_input
from conversion.importing.onnx_graph.node import Node
from models.columns.labels import Label

_ROUNDING = 1e-12  # relative difference of two weights that are one
_MOST_CELLS = 1 << 24  # numbers of two heads that are compared: 128 MB


def scores_of(chain: Chain, value: RowValue, node: Node) -> Hidden | Probabilities:
    """Returns the scores of classes, or the probabilities."""
    if isinstance(value.content, Probabilities):
        return value.content
    return two_classes(chain, value.content, node) or chain.hidden(value.content, node)


def two_classes(chain: Chain, content: Content, node: Node) -> Probabilities | None:
    """Returns the probabilities of two classes, if a value is σ(-z) and σ(z); None otherwise.

    `axon export` writes the head of one logit so.
    """
    if not isinstance(content, Elementwise) or content.width != 2:
        return None
    form = content.function.recognised()
    inner = None if form is None else form.as_sigmoid()
    if inner is None:
        return None
    pair = chain.hidden(content.argument, node).scaled(np.full(2, inner[0]), np.full(2, inner[1]))
    second = pair.taken(np.array([1]))
    first, opposite = pair.taken(np.array([0])), second.scaled(np.full(1, -1.0), np.zeros(1))
    if not (np.array_equal(first.dense(), opposite.dense()) and np.array_equal(first.shift, opposite.shift)):
        return None
    return Probabilities("sigmoid", second, 2, str(node))


def is_same_decision(one: Hidden | Probabilities, other: Hidden | Probabilities) -> bool:
    """Returns True if two heads prefer the same class in every row.

    Scores that differ by a positive factor, or by the same number for all classes, prefer the same class.

    Args:
        one: scores or probabilities of classes.
        other: scores or probabilities of classes.
    """
    first, second = (head.logits if isinstance(head, Probabilities) else head for head in (one, other))
    is_one_kind = isinstance(one, Probabilities) == isinstance(other, Probabilities) and one.width == other.width
    if first is second and is_one_kind:
        return True
    if first.base is not second.base or one.width != other.width or _cells(first) + _cells(second) > _MOST_CELLS:
        return False
    left, right = _preferences(one), _preferences(other)
    bound = _ROUNDING * np.maximum(np.abs(left), np.abs(right)).max(axis=0)
    return bool((np.abs(left - right) <= bound).all())


def _cells(scores: Hidden) -> int:
    return scores.width * scores.base.width


def _preferences(head: Hidden | Probabilities) -> Float64Array:
    """Returns weights and shifts of the scores without what all classes share, in one unit: (classes, units + 1)."""
    scores = head.logits if isinstance(head, Probabilities) else head
    table = np.column_stack([scores.dense(), scores.shift])
    if scores.width == 1:  # the logit of the second class
        table = np.vstack([-table, table])
    table = table - table.mean(axis=0)
    size = float(np.abs(table).max(initial=0.0))
    return np.asarray(table / size if size else table, dtype=np.float64)


def _softmax(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    axis = int(node.get("axis", 1 if node.opset < 13 else -1))
    if axis_of(node, value, axis) != len(value.dims) or not value.is_matrix:
        raise node.refused("takes the softmax along another axis than the classes")
    kind: Literal["softmax", "log_softmax"] = "softmax" if node.op == "Softmax" else "log_softmax"
    logits = chain.hidden(value.content, node)
    return RowValue(Probabilities(kind, logits, logits.width, str(node)), value.dims)


def _arg_max(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    is_last = axis_of(node, value, int(node.get("axis", 0))) == len(value.dims) and value.is_matrix
    if not is_last or node.get("select_last_index", 0):
        raise node.refused("chooses something else than the first of the greatest scores")
    chosen = Chosen(scores_of(chain, value, node), node.inputs[0])
    return RowValue(chosen, (*value.dims[:-1], 1) if node.get("keepdims", 1) else value.dims[:-1])


def labels_of(node: Node, *names: str) -> tuple[Label, ...] | None:
    """Returns the labels that one of a node's attributes lists; None for none."""
    given = next((node.get(name) for name in names if node.get(name)), None)
    return None if given is None else tuple(given)


def _zip_map(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    labels = labels_of(node, "classlabels_int64s", "classlabels_strings")
    scores = scores_of(chain, value, node)
    if labels is None or len(labels) != scores.width:
        raise node.refused(f"has {len(labels or ())} labels for {scores.width} classes")
    return replace(value, content=Mapped(scores, labels, node.inputs[0]))


def _normalizer(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    if isinstance(value.content, Probabilities) and value.content.kind != "log_softmax" and node.get("norm") == "L1":
        return value  # the sum is 1 already
    raise node.refused("divides a row by its norm; one-vs-rest probabilities of several classes are of this kind")


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType(
    {
        ("", "Softmax"): _softmax,
        ("", "LogSoftmax"): _softmax,
        ("", "ArgMax"): _arg_max,
        ("ai.onnx.ml", "ZipMap"): _zip_map,
        ("ai.onnx.ml", "Normalizer"): _normalizer,
    }
)
