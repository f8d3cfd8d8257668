"""The stages of a fused network as ONNX operators: encoded rows in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import assert_never

import numpy as np
from onnx import TensorProto

from conversion.exporting.graph import Graph
from conversion.exporting.onnx_activations import activate
from models.network.config import NetworkOutput
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm, Stage
from models.network.input_stage import InputStage
from models.network.inputs import FAR


def add_network(graph: Graph, network: InferenceNetwork, x: str) -> str:
    """Adds the forward pass of all members and the (weighted) mean of their answers.

    Args:
        graph: graph to add to.
        network: fused network.
        x: encoded rows, (rows, in_features) float32.

    Returns:
        Answers, (rows, out_features) float32, not yet clamped.
    """
    answers = []
    for stages in network.members:
        value = x
        for stage in stages:
            value = _add_stage(graph, stage, value)
        answers.append(OUTPUTS[network.output](graph, value, network.out_features))
    if network.weights is not None:
        shares = (graph.constant(np.float32(weight / sum(network.weights))) for weight in network.weights)
        answer = graph.op("Sum", *(graph.op("Mul", *pair) for pair in zip(answers, shares, strict=True)))
    else:
        answer = answers[0] if len(answers) == 1 else graph.op("Mean", *answers)
    return answer if network.factor == 1 else graph.op("Mul", answer, graph.constant(np.float32(network.factor)))


def _add_stage(graph: Graph, stage: Stage, x: str) -> str:
    match stage:
        case InputStage():
            return _add_inputs(graph, stage, x)
        case Affine():
            return graph.op("Gemm", x, graph.constant(stage.weight), graph.constant(stage.bias), transB=1)
        case Activate():
            return activate(graph, x, stage)
        case LayerNorm():
            return _add_layer_norm(graph, stage, x)
        case _:
            assert_never(stage)


def _add_layer_norm(graph: Graph, stage: LayerNorm, x: str) -> str:
    centred = graph.op("Sub", x, graph.op("ReduceMean", x, axes=[1], keepdims=1))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=[1], keepdims=1)
    deviation = graph.op("Sqrt", graph.op("Add", variance, graph.constant(np.float32(stage.eps))))
    scaled = graph.op("Mul", graph.op("Div", centred, deviation), graph.constant(stage.weight))
    return graph.op("Add", scaled, graph.constant(stage.bias))


def _add_inputs(graph: Graph, stage: InputStage, x: str) -> str:
    inputs = stage.inputs
    parts = []
    if inputs.numbers:
        numbers = _add_numbers(graph, stage, _columns(graph, x, inputs.numbers))
        parts.append(numbers)
        if stage.frequency.size:
            angles = graph.op("Unsqueeze", numbers, axes=[2])  # (rows, numbers, 1)
            angles = graph.op("Mul", angles, graph.constant(stage.frequency))  # (rows, numbers, frequencies)
            angles = graph.op("Add", angles, graph.constant(stage.phase))
            parts.append(graph.op("Flatten", graph.op("Cos", angles), axis=1))
    if inputs.flags:
        parts.append(_columns(graph, x, inputs.flags))
    if inputs.indices:
        indices = graph.op("Cast", _columns(graph, x, inputs.indices), to=TensorProto.INT64)
        places = graph.op("Add", indices, graph.constant(np.array(inputs.table_offsets(), dtype=np.int64)))
        embedded = graph.op("Gather", graph.constant(stage.table), places, axis=0)  # (rows, indices, embedding_size)
        parts.append(graph.op("Flatten", embedded, axis=1))
    return graph.concat(parts)


def _add_numbers(graph: Graph, stage: InputStage, numbers: str) -> str:
    """Standardises and clips the numbers of rows, (rows, numbers)."""
    shifted = graph.op("Sub", numbers, graph.constant(stage.shift))
    scaled = graph.op("Div", shifted, graph.constant(stage.divisor))
    bounds = (graph.constant(np.float32(-FAR)), graph.constant(np.float32(FAR)))
    bounded = graph.op("Clip", scaled, *bounds)
    if stage.inputs.clip is None:
        return bounded
    ratio = graph.op("Div", bounded, graph.constant(np.float32(stage.inputs.clip)))
    square = graph.op("Add", graph.op("Mul", ratio, ratio), graph.constant(np.float32(1)))
    return graph.op("Div", bounded, graph.op("Sqrt", square))


def _columns(graph: Graph, x: str, positions: tuple[int, ...]) -> str:
    return graph.op("Gather", x, graph.constant(np.array(positions, dtype=np.int64)), axis=1)


def _step(graph: Graph, z: str, _: int) -> str:
    fired = graph.op("Cast", graph.op("GreaterOrEqual", z, graph.constant(np.float32(0))), to=TensorProto.FLOAT)
    return graph.concat([graph.op("Sub", graph.constant(np.float32(1)), fired), fired])


def _argmax(graph: Graph, z: str, classes: int) -> str:
    best = graph.op("ArgMax", z, axis=1, keepdims=1)
    flags = graph.op("Cast", graph.op("Equal", best, graph.constant(np.arange(classes))), to=TensorProto.FLOAT)
    # An output that is not finite gives NaN, and not a class.
    return graph.op("Add", flags, graph.op("Mul", z, graph.constant(np.float32(0))))


def _sigmoid(graph: Graph, z: str, _: int) -> str:
    return graph.op("Sigmoid", graph.concat([graph.op("Neg", z), z]))


# Functions from the value after a member's last stage, and the number of answers, to the member's answers.
OUTPUTS: Mapping[NetworkOutput, Callable[[Graph, str, int], str]] = MappingProxyType(
    {
        "softmax": lambda graph, z, _: graph.op("Softmax", z, axis=1),
        "linear": lambda graph, z, _: z,
        "exponential": lambda graph, z, _: graph.op("Exp", z),
        "logistic": lambda graph, z, _: graph.op("Sigmoid", z),
        "step": _step,
        "sigmoid": _sigmoid,
        "argmax": _argmax,
    }
)
