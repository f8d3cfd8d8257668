"""The type of the functions that follow one operator of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.contents import Value
from conversion.importing.onnx_graph.node import Node


class Handler(Protocol):
    """A function that follows one operator."""

    def __call__(self, chain: Chain, node: Node, inputs: Sequence[Value | None]) -> Value | tuple[Value, ...]:
        """Returns the outputs of a node; raises `ImportRefused` for what no MLP does."""
