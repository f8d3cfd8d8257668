"""The chain of layers under construction: affine functions are composed, and become layers where another layer follows.

An MLP is a chain: each layer takes the units of the layer before, and nothing else. Two values of different places in
the chain, or of two branches, cannot be joined; such a join is refused with its node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from conversion.importing.affine_features import AffineFeature, Element, TableColumns
from conversion.importing.onnx_graph.contents import (
    Base,
    Codes,
    Condition,
    Content,
    Elementwise,
    Features,
    Float64Array,
    Hidden,
    Mask,
    Probabilities,
)
from conversion.importing.onnx_graph.node import Node
from conversion.importing.onnx_graph.scalar_function import Form, ScalarFunction
from models.network.config import LayerActivation
from models.network.layer_activations import CONSTANTS, TYPES, constants_of
from models.network.sequence import SequenceLayer

Affine = Features | Hidden

# The diagonal map between two activations is a BatchNorm; this eps changes no factor in float64 by more than 1e-12.
_LEAST_EPS = 1e-12
_MOST_CELLS = 200_000_000  # numbers of one matrix in float64: 1.6 GB


class Chain:
    """The layers behind a graph's tensors, and the columns of the table."""

    def __init__(self, table: TableColumns, *, batch: int | None = None) -> None:
        """Begins without layers.

        Args:
            table: columns of the table.
            batch: number of rows that the graph's inputs are fixed to; None for any number.
        """
        self.table = table
        self.batch = batch
        self._roots: list[Base] = []

    def numbers(self, features: Features, node: Node) -> tuple[AffineFeature, ...]:
        """Returns features as numbers.

        Raises:
            ImportRefused: A column holds categories.
        """
        if features.truncated:
            raise node.refused("cuts the numbers of a column to whole ones; as a number the column needs to stay whole")
        if all(isinstance(item, AffineFeature) for item in features.items):
            return cast(tuple[AffineFeature, ...], features.items)
        return tuple(self.table.number(item, str(node)) for item in features.items)

    def affine(self, content: Content, node: Node) -> Affine:
        """Returns a value as affine functions of features or of units; an activation becomes a layer.

        Raises:
            ImportRefused: The value has no such form.
        """
        match content:
            case Features():
                return Features(self.numbers(content, node))
            case Hidden():
                return content
            case Elementwise():
                return self._activated(content, node)
            case Codes():
                return Features((self._of_codes(content),))
            case Mask() if not content.negated and all(content.conditions):
                return Features(tuple(self._flag(conditions) for conditions in content.conditions))
            case Probabilities():
                raise node.refused(
                    f"takes the probabilities of {content.node}; an MLP has them after its last layer, and nothing more"
                )
            case _:
                raise node.refused("takes a value that is no layer's output")

    def hidden(self, content: Content, node: Node) -> Hidden:
        """Returns a value as affine functions of units; features become the first units.

        Raises:
            ImportRefused: The value has no such form.
        """
        affine = self.affine(content, node)
        if isinstance(affine, Hidden):
            return affine
        items = self.numbers(affine, node)
        root = next((root for root in self._roots if root.features == items), None)
        if root is None:
            root = Base(None, items, (), {}, len(items))
            self._roots.append(root)
        return Hidden.of(root)

    def scaled(self, content: Content, scale: Float64Array, shift: Float64Array, node: Node) -> Affine:
        """Returns `scale·value + shift`; both `(width,)`."""
        affine = self.affine(content, node)
        if isinstance(affine, Hidden):
            return affine.scaled(scale, shift)
        pairs = zip(self.numbers(affine, node), scale.tolist(), shift.tolist(), strict=True)
        return Features(tuple(item.scaled(factor, constant) for item, factor, constant in pairs))

    def linear(self, content: Content, weight: Float64Array, bias: Float64Array, node: Node, name: str = "") -> Hidden:
        """Returns the value multiplied by a matrix, plus a bias.

        Args:
            content: value with as many numbers as the matrix has rows.
            weight: `(in, out)` weights.
            bias: `(out,)` biases.
            node: node that multiplies.
            name: name of the layer; empty for none.
        """
        hidden = self.hidden(content, node)
        if weight.shape[0] != hidden.width:
            raise node.refused(f"multiplies {hidden.width} numbers by a matrix of shape {weight.shape}")
        if hidden.matrix is not None:
            hidden = Hidden.of(self.base_of(hidden))
        index, scale = hidden.parts()
        shift = bias + hidden.shift @ weight
        if hidden.is_in_order:
            matrix = weight.T * scale
        else:
            by_unit = np.zeros((hidden.base.width, weight.shape[1]))
            np.add.at(by_unit, index, weight * scale[:, None])
            matrix = by_unit.T
        return Hidden(hidden.base, shift, matrix=matrix, name=name)

    def sum_of(self, left: Content, right: Content, node: Node) -> Affine:
        """Returns the sum of two values of the same width.

        Raises:
            ImportRefused: The values are two branches.
        """
        first, second = self.affine(left, node), self.affine(right, node)
        if isinstance(first, Features) and isinstance(second, Features):
            pairs = zip(self.numbers(first, node), self.numbers(second, node), strict=True)
            return Features(tuple(_summed(one, other, node) for one, other in pairs))
        one, other = self.hidden(first, node), self.hidden(second, node)
        if one.base is not other.base:
            raise node.refused("joins two branches of the graph, as a residual connection does")
        return Hidden(one.base, one.shift + other.shift, matrix=one.dense() + other.dense(), name=one.name)

    def joined(self, contents: Sequence[Content], node: Node) -> Affine:
        """Returns values side by side.

        Raises:
            ImportRefused: The values are branches of the graph.
        """
        parts = [self.affine(content, node) for content in contents]
        if all(isinstance(part, Features) for part in parts):
            items = (self.numbers(cast(Features, part), node) for part in parts)
            return Features(tuple(item for part in items for item in part))
        hidden = [self.hidden(part, node) for part in parts]
        if any(part.base is not hidden[0].base for part in hidden):
            raise node.refused("joins two branches of the graph")
        shift = np.concatenate([part.shift for part in hidden])
        if any(part.matrix is not None for part in hidden):
            if len(shift) * hidden[0].base.width > _MOST_CELLS:
                raise node.refused("joins too many numbers")
            return Hidden(hidden[0].base, shift, matrix=np.vstack([part.dense() for part in hidden]))
        pairs = [part.parts() for part in hidden]
        index, scale = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return Hidden(hidden[0].base, shift, index=index, scale=scale)

    def base_of(self, hidden: Hidden) -> Base:
        """Returns the units after the layers that compute some affine functions."""
        if hidden.is_plain:
            return hidden.base
        if not hidden.made:
            hidden.made.append(_computed(hidden))
        return hidden.made[0]

    def add_layer(self, hidden: Hidden, layer: SequenceLayer, tensors: Mapping[str, Float64Array]) -> Hidden:
        """Returns the units after one more layer, which keeps the width.

        Args:
            hidden: input of the layer.
            layer: layer, with a name that need not be its own.
            tensors: tensors of the layer.
        """
        base = self.base_of(hidden)
        return Hidden.of(Base(base, None, (layer,), {layer.name: tensors} if tensors else {}, hidden.width))

    def _activated(self, content: Elementwise, node: Node) -> Affine:
        if not content.made:
            form = content.function.recognised()
            if form is not None and form.is_affine:
                slope, shift = form.slope_and_shift()
                width = content.width
                return self.scaled(content.argument, np.full(width, slope), np.full(width, shift), node)
            content.made.append(self._layer_of(content, form, node))
        return content.made[0]

    def _layer_of(self, content: Elementwise, form: Form | None, node: Node) -> Hidden:
        width = content.width
        if form is not None:
            argument = self.hidden(content.argument, node)
            inner = argument.scaled(np.full(width, form.in_scale), np.full(width, form.in_shift))
            layer = SequenceLayer(
                name="activation",
                kind="activation",
                activation=form.activation,
                constants=_without_defaults(form),
            )
            after = self.add_layer(inner, layer, {})
            return after.scaled(np.full(width, form.out_scale), np.full(width, form.out_shift))
        if content.before is None:
            raise node.refused_because(
                f"{content.node} ends an elementwise function that is none of Axon's activations "
                f"({', '.join(sorted(TYPES))})"
            )
        before, activation = content.before
        name = cast(LayerActivation, activation.name)
        function = ScalarFunction.identity().activated(name, activation.constants)
        inner = self.hidden(before, node)
        after = self._layer_of(Elementwise(inner, function, content.node), function.form, node)
        return after.scaled(*(np.full(width, number) for number in content.outer))

    def _of_codes(self, codes: Codes) -> AffineFeature:
        default = codes.default
        if default is None:  # other categories are refused
            default = next(iter(codes.numbers.values()), 0.0)
        weights = {
            Element(codes.column, "gap") if text is None else Element(codes.column, "category", text): number - default
            for text, number in codes.numbers.items()
        }
        return AffineFeature(constant=default, weights=weights)

    def _flag(self, conditions: frozenset[Condition]) -> AffineFeature:
        """Returns the number 1 where one of the conditions of one column holds, else 0."""
        if any(condition.kind == "unknown" for condition in conditions):
            negative = [condition for condition in self._all_of(conditions) if condition not in conditions]
            return AffineFeature(constant=1.0, weights={_element(condition): -1.0 for condition in negative})
        return AffineFeature(weights={_element(condition): 1.0 for condition in conditions})

    def _all_of(self, conditions: frozenset[Condition]) -> list[Condition]:
        column = next(iter(conditions)).column
        known = [Condition(column, "category", text) for text in self.table.values(column)]
        return [*known, Condition(column, "gap")]


def _without_defaults(form: Form) -> tuple[float, ...]:
    defaults = tuple(CONSTANTS.get(form.activation, {}).values())
    given = constants_of(form.activation, form.constants)
    return () if given == defaults else given


def _element(condition: Condition) -> Element:
    if condition.kind == "gap":
        return Element(condition.column, "gap")
    return Element(condition.column, "category", condition.category)


def _summed(one: AffineFeature, other: AffineFeature, node: Node) -> AffineFeature:
    gap = one.gap or other.gap
    if {one.gap, other.gap} - {None, gap}:
        raise node.refused("adds two columns whose gaps are not filled")
    weights = dict(one.weights)
    for element, weight in other.weights.items():
        weights[element] = weights.get(element, 0.0) + weight
    return AffineFeature(constant=one.constant + other.constant, weights=weights, gap=gap)


def _computed(hidden: Hidden) -> Base:
    base = hidden.base
    last = base.layers[-1] if base.layers else None
    if hidden.is_in_order:
        scale = hidden.parts()[1]
        if last is not None and last.kind == "layer_norm" and not last.affine:
            layer = SequenceLayer(name=last.name, kind="layer_norm", eps=last.eps)
            tensors = {layer.name: {"weight": scale, "bias": hidden.shift}}
            return Base(base.parent, None, (*base.layers[:-1], layer), tensors, base.width)
        if base.features is None:
            layer = SequenceLayer(name="scaling", kind="batch_norm", eps=_LEAST_EPS)
            zeros, ones = np.zeros(base.width), np.ones(base.width)
            tensors = {layer.name: {"weight": scale, "bias": hidden.shift, "running_mean": zeros, "running_var": ones}}
            return Base(base, None, (layer,), tensors, base.width)
    layer = SequenceLayer(name=hidden.name or "linear", kind="linear", out_features=hidden.width)
    tensors = {layer.name: {"weight": hidden.dense(), "bias": hidden.shift}}
    return Base(base, None, (layer,), tensors, hidden.width)
