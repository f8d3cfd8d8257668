"""Activations as ONNX operators: a line for each activation of `models.network.config.Activation`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from conversion.exporting.graph import Graph
from models.network.config import LEAKY_RELU_SLOPE, Activation
from models.network.functional import SELU_ALPHA, SELU_SCALE
from models.network.fuse import Activate

# A function of the graph, the value before the activation, and the stage, to the value after the activation.
Operator = Callable[[Graph, str, Activate], str]


def activate(graph: Graph, x: str, stage: Activate) -> str:
    """Adds an activation, mixed with the identity as the stage says, and returns the value."""
    activated = ACTIVATIONS[stage.name](graph, x, stage)
    if stage.mix is None:
        return activated
    return graph.op("Add", x, graph.op("Mul", graph.constant(stage.mix), graph.op("Sub", activated, x)))


def _gelu(graph: Graph, x: str, _: Activate) -> str:
    erf = graph.op("Erf", graph.op("Mul", x, graph.constant(np.float32(math.sqrt(0.5)))))
    twice = graph.op("Mul", x, graph.op("Add", erf, graph.constant(np.float32(1))))
    return graph.op("Mul", twice, graph.constant(np.float32(0.5)))


# The operators Mish and Gelu exist in later opsets only; these need none of them.
ACTIVATIONS: Mapping[Activation, Operator] = MappingProxyType(
    {
        "relu": lambda graph, x, _: graph.op("Relu", x),
        "leaky_relu": lambda graph, x, _: graph.op("LeakyRelu", x, alpha=LEAKY_RELU_SLOPE),
        "gelu": _gelu,
        "silu": lambda graph, x, _: graph.op("Mul", x, graph.op("Sigmoid", x)),
        "selu": lambda graph, x, _: graph.op("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE),
        "mish": lambda graph, x, _: graph.op("Mul", x, graph.op("Tanh", graph.op("Softplus", x))),
        "tanh": lambda graph, x, _: graph.op("Tanh", x),
        "sigmoid": lambda graph, x, _: graph.op("Sigmoid", x),
        "identity": lambda graph, x, _: graph.op("Identity", x),
    }
)
