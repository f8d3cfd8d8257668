"""A builder for ONNX graphs: operations by name, with constants and equal operations shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class Graph:
    """A graph under construction. A value is the name of a tensor of the graph."""

    def __init__(self, taken: Sequence[str]) -> None:
        """Makes an empty graph.

        Args:
            taken: names of the graph's inputs, which no other value may have.
        """
        self._taken = frozenset(taken)
        self._prefix = "axon/"
        while any(name.startswith(self._prefix) for name in taken):
            self._prefix = f"_{self._prefix}"
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._values: dict[tuple[Any, ...], str] = {}

    def free_name(self, name: str) -> str:
        """Returns the name of an output: the given one, or with the prefix `predicted_` if that is taken."""
        while name in self._taken:
            name = f"predicted_{name}"
        return name

    def op(self, type_: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any) -> str:
        """Adds an operation with one output, or finds an equal one, and returns the value.

        Args:
            type_: type of the ONNX operator.
            inputs: values that the operator takes.
            domain: domain of the operator; empty for ONNX's own.
            output: name of the value; None for a name made from the type.
            attributes: attributes of the operator.
        """
        key = (type_, inputs, domain, output, tuple((name, _frozen(value)) for name, value in attributes.items()))
        if key not in self._values:
            name = f"{self._prefix}{type_.lower()}_{len(self.nodes)}" if output is None else output
            self.nodes.append(helper.make_node(type_, inputs, [name], domain=domain, **attributes))
            self._values[key] = name
        return self._values[key]

    def constant(self, array: NDArray[Any] | np.generic) -> str:
        """Adds a constant tensor, or finds an equal one, and returns the value."""
        array = np.asarray(array)
        texts = array.dtype.kind in "OU"
        content = "\0".join(array.ravel().tolist()).encode() if texts else array.tobytes()
        key = (str(array.dtype), array.shape, content)
        if key not in self._constants:
            name = f"{self._prefix}constant_{len(self.initializers)}"
            given = array.astype(object) if texts else array
            self.initializers.append(numpy_helper.from_array(given, name))
            self._constants[key] = name
        return self._constants[key]

    def concat(self, values: list[str]) -> str:
        """Joins matrices (rows, …) side by side."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=1)

    def any_of_row(self, flags: str) -> str:
        """Returns for each row whether a flag is set: (rows, k) booleans become (rows, 1)."""
        numbers = self.op("Cast", flags, to=onnx.TensorProto.FLOAT)
        return self.op("Cast", self.op("ReduceMax", numbers, axes=[1], keepdims=1), to=onnx.TensorProto.BOOL)

    def any_of(self, flags: list[str]) -> str:
        """Returns the disjunction of one or more (rows, 1) booleans."""
        value = flags[0]
        for other in flags[1:]:
            value = self.op("Or", value, other)
        return value

    def not_finite(self, values: str) -> str:
        """Returns for each row whether a number is NaN or infinite: (rows, k) float32 become (rows, 1) booleans."""
        return self.any_of_row(self.op("Or", self.op("IsNaN", values), self.op("IsInf", values)))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
