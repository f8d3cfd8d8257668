"""A node of a graph with its attributes, and the errors that name the node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from conversion.importing.imported_model import ImportRefused

_MOST_NAME = 120  # characters of a name that a message quotes


class Node:
    """A node of a graph.

    Attributes:
        op: type of the operator.
        domain: domain of the operator; empty for ONNX's own.
        inputs: names of the input tensors; empty for an input that is left out.
        outputs: names of the output tensors.
        opset: version of the operator's domain.
    """

    def __init__(self, proto: onnx.NodeProto, opset: int) -> None:
        """Reads a node.

        Args:
            proto: node of the graph.
            opset: version of the operator's domain.
        """
        self.op = proto.op_type
        self.domain = "" if proto.domain == "ai.onnx" else proto.domain
        self.inputs = tuple(proto.input)
        self.outputs = tuple(proto.output)
        self.opset = opset
        self._name = proto.name
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}

    def __str__(self) -> str:
        """Returns the operator and the name: `Gemm '/fc/Gemm'`."""
        domain = f"{self.domain}." if self.domain not in ("", "ai.onnx.ml") else ""
        name = self._name or (f"→ {self.outputs[0]}" if self.outputs else "")
        return f"{domain}{self.op} {name[:_MOST_NAME]!r}"

    def has(self, name: str) -> bool:
        """Returns True if the node has an attribute."""
        return name in self._attributes

    def get(self, name: str, default: Any = None) -> Any:
        """Returns an attribute: a number, a text, a list or an array; the default if the node has none."""
        if name not in self._attributes:
            return default
        value = onnx.helper.get_attribute_value(self._attributes[name])
        if isinstance(value, onnx.TensorProto):
            return onnx.numpy_helper.to_array(value)
        return _decoded(value)

    def floats(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Returns an attribute as float64 numbers, `(n,)`; None if the node has none."""
        value = self.get(name)
        return None if value is None else np.atleast_1d(np.asarray(value, dtype=np.float64))

    def refused(self, what: str) -> ImportRefused:
        """Returns the error that says what the node does: `node Gemm '/a' …`."""
        return self.refused_because(f"node {self} {what}")

    def refused_because(self, what: str) -> ImportRefused:
        """Returns the error with a reason, which has to name the node."""
        return ImportRefused(f"the graph is not an MLP that Axon can take: {what}.")


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple) or type(value).__name__.startswith("Repeated"):
        return [_decoded(item) for item in value]
    return value
