"""The walk through a graph: each node that an output needs is followed once, in order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from conversion.importing.affine_features import RawFeature
from conversion.importing.imported_model import ImportRefused
from conversion.importing.onnx_graph import arithmetic, conditions, heads, layers, layout, table_steps
from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.constants import array_of, as_value, constant, folded, is_folded, shape_result
from conversion.importing.onnx_graph.contents import Dimensions, Features, Hidden, RowValue, Value
from conversion.importing.onnx_graph.handler import Handler
from conversion.importing.onnx_graph.node import Node

_OPERATORS: Mapping[tuple[str, str], Handler] = {
    **arithmetic.OPERATORS,
    **conditions.OPERATORS,
    **layout.OPERATORS,
    **heads.OPERATORS,
    **table_steps.OPERATORS,
    **layers.OPERATORS,  # whose Div comes before that of arithmetic
}


# Beside eight numbers for each one in the file: a hostile file must not make the memory full.
_FREE_NUMBERS = 50_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphInput:
    """An input of a graph.

    Attributes:
        name: name of the tensor.
        element: type of an element, a number of `onnx.TensorProto.DataType`.
        dims: lengths of the axes after the batch.
        batch: number of rows that the input is fixed to; None for any number.
        columns: names of the table's columns, in row-major order.
    """

    name: str
    element: int
    dims: tuple[int, ...]
    batch: int | None
    columns: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Number of columns."""
        return math.prod(self.dims)


class GraphWalk:
    """The values of a graph's tensors, computed for the outputs that are asked for.

    Attributes:
        graph: graph of the model.
        chain: layers and columns found so far.
    """

    def __init__(self, model: onnx.ModelProto, inputs: Sequence[GraphInput], chain: Chain) -> None:
        """Prepares the walk.

        Args:
            model: checked model, without functions.
            inputs: inputs of the graph, with the names of their columns.
            chain: layers and columns, to begin with.
        """
        self.graph = model.graph
        self.chain = chain
        self._opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
        self._values: dict[str, Value | ImportRefused] = {
            tensor.name: array_of(tensor) for tensor in model.graph.initializer
        }
        for given in inputs:
            items = tuple(RawFeature(column=column) for column in given.columns)
            self._values[given.name] = RowValue(Features(items), given.dims)
        self._left = 8 * model.ByteSize() // 4 + _FREE_NUMBERS

    def needed(self, outputs: Sequence[str]) -> list[onnx.NodeProto]:
        """Returns the nodes that some tensors depend on, in the order of the graph."""
        wanted, nodes = set(outputs), []
        for node in reversed(self.graph.node):
            if wanted & set(node.output):
                wanted |= set(node.input)
                nodes.append(node)
        return nodes[::-1]

    def value(self, output: str) -> Value:
        """Returns the value of a tensor.

        Raises:
            ImportRefused: A node on the way is no part of an MLP.
        """
        for proto in self.needed([output]):
            if all(name in self._values for name in proto.output if name):
                continue
            node = Node(proto, self._opsets.get("" if proto.domain == "ai.onnx" else proto.domain, 1))
            try:
                made = self._followed(node, proto)
            except ImportRefused as refused:
                for name in proto.output:
                    self._values[name] = refused
                raise
            self._left -= sum(map(_size, made))
            if self._left < 0:
                raise node.refused("makes more numbers than the file can mean")
            for name, value in zip(proto.output, made, strict=False):
                if name:
                    self._values[name] = value
        if output not in self._values:
            raise ImportRefused(f"the output {output!r:.120} is made by no node of the graph.")
        return self._known(output)

    def _known(self, name: str) -> Value:
        value = self._values[name]
        if isinstance(value, ImportRefused):
            raise value
        return value

    def _followed(self, node: Node, proto: onnx.NodeProto) -> Sequence[Value]:
        inputs: list[Value | None] = []
        for name in node.inputs:
            if name and name not in self._values:
                raise node.refused(f"takes {name!r:.120}, which no node before makes")
            inputs.append(self._known(name) if name else None)
        try:
            return self._outputs(node, proto, inputs)
        except ImportRefused:
            raise
        except (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise node.refused(f"cannot be read ({type(error).__name__}: {error!s:.200})") from error

    def _outputs(self, node: Node, proto: onnx.NodeProto, inputs: list[Value | None]) -> Sequence[Value]:
        if (node.domain, node.op) == ("", "Constant"):
            return (constant(node),)
        given = [value for value in inputs if value is not None]
        if is_folded(node) and given and all(isinstance(value, np.ndarray) for value in given):
            arrays = [value if isinstance(value, np.ndarray) else None for value in inputs]
            return folded(node, proto, arrays)
        if node.op in ("Shape", "Size") and node.domain == "" and isinstance(inputs[0], RowValue):
            return (_shape(node, inputs[0]),)
        if any(isinstance(value, Dimensions) for value in inputs) and not isinstance(inputs[0], RowValue):
            return (shape_result(node, inputs),)
        handler = _OPERATORS.get((node.domain, node.op))
        if handler is None:
            raise node.refused(_unknown(node))
        made = handler(self.chain, node, inputs)
        return made if isinstance(made, tuple) else (made,)


def _size(value: Value) -> int:
    """Returns how many numbers a value holds in memory."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, Dimensions):
        return len(value.numbers)
    content = value.content
    return content.matrix.size if isinstance(content, Hidden) and content.matrix is not None else content.width


def _shape(node: Node, value: RowValue) -> Value:
    if node.op == "Size":
        raise node.refused("computes with the number of rows")
    numbers: tuple[int | None, ...] = (None, *value.dims)
    return as_value(Dimensions(numbers[slice(node.get("start"), node.get("end"))]))


_REASONS: Mapping[str, str] = {
    "Conv": "is a convolution",
    "Attention": "is attention",
    "MultiHeadAttention": "is attention",
    "LSTM": "is recurrent",
    "GRU": "is recurrent",
    "RNN": "is recurrent",
    "TreeEnsembleClassifier": "is an ensemble of trees",
    "TreeEnsembleRegressor": "is an ensemble of trees",
    "TreeEnsemble": "is an ensemble of trees",
    "SVMClassifier": "is a support vector machine",
    "SVMRegressor": "is a support vector machine",
    "If": "chooses a part of the graph by the row",
    "Loop": "is a loop",
    "Scan": "is a loop",
    "QuantizeLinear": "rounds the units of a layer to few bits, which Axon does not",
    "DynamicQuantizeLinear": "rounds the units of a layer to few bits, which Axon does not",
}


def _unknown(node: Node) -> str:
    if node.domain not in ("", "ai.onnx.ml"):
        return f"is an operator of the domain {node.domain!r:.120}, which Axon does not know"
    return _REASONS.get(node.op, "is an operator that no MLP has")
