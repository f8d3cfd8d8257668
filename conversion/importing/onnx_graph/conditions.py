"""Conditions on cells in a graph: gaps that are filled, categories that are compared, rows that are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from conversion.importing.affine_features import AffineFeature, RawFeature
from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.contents import Chosen, Codes, Condition, Features, Mask, RowValue, Value
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.layout import row_input
from conversion.importing.onnx_graph.node import Node


def of_masks(node: Node, value: RowValue, first: Mask, second: Mask) -> Value:
    """Returns the disjunction of two masks."""
    if node.op != "Or" or first.negated or second.negated or first.width != second.width:
        raise node.refused("joins conditions on cells in a way that Axon does not follow")
    pairs = zip(first.conditions, second.conditions, strict=True)
    return RowValue(Mask(tuple(one | other for one, other in pairs)), value.dims)


def mask_with_constant(node: Node, value: RowValue, mask: Mask, constant: NDArray[np.generic]) -> Value:
    """Returns a mask joined with constant truth values."""
    if mask.negated or constant.dtype != np.bool_ or node.op not in ("And", "Or"):
        raise node.refused("computes with a condition on cells in a way that Axon does not follow")
    flags = np.broadcast_to(constant, (1, *value.dims)).ravel().tolist()
    if node.op == "Or" and any(flags):
        raise node.refused("has a condition that always holds")
    conditions = zip(mask.conditions, flags, strict=True)
    return RowValue(
        Mask(tuple(own if flag or node.op == "Or" else frozenset() for own, flag in conditions)), value.dims
    )


def equal_codes(chain: Chain, node: Node, value: RowValue, codes: Codes, constant: NDArray[np.generic]) -> Value:
    """Returns where the number of a category equals each number of a constant."""
    asked = [float(number) for number in np.asarray(constant, dtype=np.float64).ravel()]
    conditions = []
    for number in asked:
        found = set()
        for text, code in codes.numbers.items():
            if code == number:
                kind: Literal["gap", "category"] = "gap" if text is None else "category"
                found.add(Condition(codes.column, kind, text or ""))
        if codes.default == number:
            found.add(Condition(codes.column, "unknown"))
        conditions.append(frozenset(found))
    return RowValue(Mask(tuple(conditions)), (*value.dims[:-1], len(asked)) if value.dims else ())


def where_mask(chain: Chain, node: Node, mask: Mask, yes: Value | None, no: Value | None) -> Value:
    """Returns features with filled gaps, or answers that the graph withholds from refused rows."""
    if mask.negated:
        mask, yes, no = Mask(mask.conditions), no, yes
    if not isinstance(yes, np.ndarray) or not isinstance(no, RowValue):
        raise node.refused("chooses between two branches of the graph by a condition on cells")
    content = no.content
    if isinstance(content, Features) and mask.width in (1, content.width):
        fills = np.broadcast_to(yes, (1, *no.dims)).ravel().tolist()
        conditions = mask.conditions * (content.width // mask.width)
        return RowValue(filled(chain, content, fills, conditions, node), no.dims)
    marks = yes.ravel()
    if isinstance(content, Chosen):
        _refuse_cells(chain, mask, node)  # rows that the graph answers with a label of their own
        return RowValue(content.marked([*content.marks, *marks.tolist()], node), no.dims)
    if marks.dtype.kind == "f" and np.isnan(marks.astype(np.float64)).all():
        _refuse_cells(chain, mask, node)
        return no
    raise node.refused("chooses between two values by a condition on cells")


def filled(
    chain: Chain, content: Features, fills: Sequence[object], conditions: Sequence[frozenset[Condition]], node: Node
) -> Features:
    """Returns features with values in place of gaps.

    Args:
        chain: chain of layers.
        content: features with gaps.
        fills: value of a gap of each feature.
        conditions: condition of each feature in which the value is taken; empty for never.
        node: node of the operator.

    Raises:
        ImportRefused: A condition is no gap of the feature itself.
    """
    items = []
    for item, fill, own in zip(content.items, fills, conditions, strict=True):
        column = item.column if isinstance(item, RawFeature) else item.gap
        if not own:
            items.append(item)
        elif column is None or own != {Condition(column, "gap")}:
            raise node.refused("replaces cells by another rule than that they are missing")
        elif isinstance(item, RawFeature):
            items.append(RawFeature(column=item.column, fill=fill))
        else:
            items.append(item.filled(float(cast(float, fill))))
    return Features(tuple(items), content.truncated)


def _refuse_cells(chain: Chain, mask: Mask, node: Node) -> None:
    """Records that rows with certain cells have no answer.

    Raises:
        ImportRefused: One of the cells is a known category, which Axon cannot refuse.
    """
    for conditions in mask.conditions:
        for condition in conditions:
            raw = RawFeature(column=condition.column)
            if condition.kind == "category":
                raise node.refused(
                    f"has a rule of its own for the category {condition.category!r} of column {condition.column!r}; "
                    "Axon answers all known categories by the network: leave the rule to the program that asks"
                )
            if condition.kind == "gap":
                chain.table.refuse_gaps(raw)
            elif condition.kind == "unknown":
                known = list(chain.table.values(condition.column).values())
                chain.table.categories(condition.column, known, step="the graph", refuses_unknown=True)


def _is_nan(chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value:
    value = row_input(node, inputs)
    content = value.content
    conditions: list[frozenset[Condition]] = [frozenset()] * content.width
    if isinstance(content, Features) and node.op == "IsNaN":
        items = Features(chain.numbers(content, node)).items
        gaps = [item.gap if isinstance(item, AffineFeature) else item.column for item in items]
        conditions = [frozenset() if gap is None else frozenset({Condition(gap, "gap")}) for gap in gaps]
    return RowValue(Mask(tuple(conditions)), value.dims)


def as_mask(codes: Codes) -> Mask:
    """Returns where the number of a category is not 0.

    A graph of skl2onnx finds gaps of a column of texts so: the empty text has the number 1, any other 0.
    """
    conditions = {
        Condition(codes.column, "gap") if text is None else Condition(codes.column, "category", text)
        for text, number in codes.numbers.items()
        if number
    }
    if codes.default:
        conditions.add(Condition(codes.column, "unknown"))
    return Mask((frozenset(conditions),))


OPERATORS: Mapping[tuple[str, str], Handler] = MappingProxyType({("", "IsNaN"): _is_nan, ("", "IsInf"): _is_nan})
