"""Activations as ONNX operators: a line for each activation of `models.network.config.LayerActivation`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from conversion.exporting.graph import Graph
from models.network.config import LayerActivation
from models.network.functional import SELU_ALPHA, SELU_SCALE
from models.network.inference_network import Activate
from models.network.layer_activations import constants_of

# A function of the graph, the value before the activation, and the activation's constants.
Operator = Callable[..., str]


def activate(graph: Graph, x: str, stage: Activate) -> str:
    """Adds an activation, mixed with the identity as the stage says, and returns the value."""
    activated = ACTIVATIONS[stage.name](graph, x, *constants_of(stage.name, stage.constants))
    if stage.mix is None:
        return activated
    return graph.op("Add", x, graph.op("Mul", graph.constant(stage.mix), graph.op("Sub", activated, x)))


def _number(graph: Graph, value: float) -> str:
    return graph.constant(np.float32(value))


def _gelu(graph: Graph, x: str) -> str:
    erf = graph.op("Erf", graph.op("Mul", x, _number(graph, math.sqrt(0.5))))
    return _half_of(graph, x, erf)


def _gelu_tanh(graph: Graph, x: str) -> str:
    bounded = _hardtanh(graph, x, -1e4, 1e4)  # beyond, tanh is ±1, and x³ could overflow
    cube = graph.op("Mul", graph.op("Mul", bounded, bounded), bounded)
    inner = graph.op("Add", bounded, graph.op("Mul", cube, _number(graph, 0.044715)))
    return _half_of(graph, x, graph.op("Tanh", graph.op("Mul", inner, _number(graph, math.sqrt(2 / math.pi)))))


def _half_of(graph: Graph, x: str, share: str) -> str:
    """Returns x·(1 + share)/2."""
    twice = graph.op("Mul", x, graph.op("Add", share, _number(graph, 1)))
    return graph.op("Mul", twice, _number(graph, 0.5))


def _softplus(graph: Graph, x: str, beta: float) -> str:
    if beta == 1:
        return graph.op("Softplus", x)
    inner = graph.op("Softplus", graph.op("Mul", x, _number(graph, beta)))
    return graph.op("Div", inner, _number(graph, beta))


def _hardtanh(graph: Graph, x: str, least: float, most: float) -> str:
    return graph.op("Clip", x, _number(graph, least), _number(graph, most))


def _hardswish(graph: Graph, x: str) -> str:
    bounded = _hardtanh(graph, graph.op("Add", x, _number(graph, 3)), 0, 6)
    return graph.op("Div", graph.op("Mul", x, bounded), _number(graph, 6))


# The operators Mish, HardSwish and Gelu exist in later opsets only; these functions need none of them.
ACTIVATIONS: Mapping[LayerActivation, Operator] = MappingProxyType(
    {
        "relu": lambda graph, x: graph.op("Relu", x),
        "leaky_relu": lambda graph, x, slope: graph.op("LeakyRelu", x, alpha=slope),
        "gelu": _gelu,
        "silu": lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
        "selu": lambda graph, x: graph.op("Selu", x, alpha=SELU_ALPHA, gamma=SELU_SCALE),
        "mish": lambda graph, x: graph.op("Mul", x, graph.op("Tanh", graph.op("Softplus", x))),
        "tanh": lambda graph, x: graph.op("Tanh", x),
        "sigmoid": lambda graph, x: graph.op("Sigmoid", x),
        "identity": lambda graph, x: graph.op("Identity", x),
        "elu": lambda graph, x, alpha: graph.op("Elu", x, alpha=alpha),
        "celu": lambda graph, x, alpha: graph.op("Celu", x, alpha=alpha),
        "softplus": _softplus,
        "hardtanh": _hardtanh,
        "hardswish": _hardswish,
        "hardsigmoid": lambda graph, x, slope, shift: graph.op("HardSigmoid", x, alpha=slope, beta=shift),
        "softsign": lambda graph, x: graph.op("Softsign", x),
        "logsigmoid": lambda graph, x: graph.op("Neg", graph.op("Softplus", graph.op("Neg", x))),
        "gelu_tanh": _gelu_tanh,
    }
)
