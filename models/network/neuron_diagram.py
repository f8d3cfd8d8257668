"""A Mermaid diagram of a network, neuron by neuron: an arrow for each weight, a dotted arrow for each bias."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt

from models.errors import ConfigError
from models.network.architecture import Architecture
from models.network.config import MLPConfig
from models.network.sequence import SequenceConfig

MAX_ARROWS = 500  # Mermaid's own limit, `maxEdges`


def neuron_diagram(
    config: Architecture, *, title: str | None = None, tensors: Mapping[str, npt.NDArray[Any]] | None = None
) -> str:
    """Draws a network as a Mermaid flowchart with one arrow for each parameter; no newline at the end.

    Args:
        config: architecture of Linear layers with activations between them.
        title: heading of the diagram.
        tensors: parameters by checkpoint name, to write on the arrows; None for arrows without numbers.

    Raises:
        ConfigError: The architecture has parameters other than weights and biases, or too many for a diagram.
    """
    if isinstance(config, SequenceConfig):
        raise ConfigError(
            "an imported network is not drawn neuron by neuron: --format mermaid draws it layer by layer."
        )
    _check(config)
    heading = [] if title is None else ["---", f"title: {json.dumps(title)}", "---"]
    return "\n".join(
        [*heading, "flowchart LR", *_neurons(config, is_stored=tensors is not None), *_arrows(config, tensors)]
    )


def _check(config: MLPConfig) -> None:
    shape = "-".join(map(str, config.layer_sizes))
    extras = [
        name
        for name, is_there in (
            ("an input stage", config.inputs is not None),
            (f"{config.normalization} normalization", config.normalization != "none"),
            ("learned activations", config.learned_activation),
            (f"{config.members} members", config.members > 1),
        )
        if is_there
    ]
    if extras:
        raise ConfigError(
            f"this network has {' and '.join(extras)}, which a drawing of weights and biases leaves out: "
            "--format mermaid draws it layer by layer."
        )
    if config.parameter_count > MAX_ARROWS:
        raise ConfigError(
            f"{shape} has {config.parameter_count:,} parameters, and Mermaid draws at most {MAX_ARROWS} arrows: "
            "--format mermaid draws it layer by layer."
        )


def _output(config: MLPConfig) -> str:
    return config.output if config.temperature == 1 else f"{config.output} of z / {config.temperature:.3g}"


def _neurons(config: MLPConfig, *, is_stored: bool) -> Iterator[str]:
    """Yields a subgraph of neurons for each layer, and the constant 1 that the layer's biases multiply.

    Args:
        config: architecture of the network.
        is_stored: True for the network of a model, whose inputs are encoded cells, such as standardised numbers.
    """
    last = len(config.layer_sizes) - 1
    for layer, size in enumerate(config.layer_sizes):
        inner = f"output, {_output(config)}" if layer == last else f"hidden, {config.activation}"
        role = inner if layer else "inputs, as encoded" if is_stored else "inputs"
        yield f'    subgraph layer{layer}["{role}"]'
        yield from (f'        {_id(layer, i)}(("{_name(layer, i, last)}"))' for i in range(size))
        yield "    end"
        if layer and config.bias:
            yield f'    one{layer}["1"]'


def _arrows(config: MLPConfig, tensors: Mapping[str, npt.NDArray[Any]] | None) -> Iterator[str]:
    for layer, (n_in, n_out) in enumerate(itertools.pairwise(config.layer_sizes)):
        weight = None if tensors is None else tensors[f"layers.{layer}.weight"]  # (n_out, n_in)
        for j, i in itertools.product(range(n_out), range(n_in)):
            value = "" if weight is None else f"|{weight[j, i]:.3g}|"
            yield f"    {_id(layer, i)} -->{value} {_id(layer + 1, j)}"
        if config.bias:
            bias = None if tensors is None else tensors[f"layers.{layer}.bias"]  # (n_out,)
            for j in range(n_out):
                value = "" if bias is None else f"|{bias[j]:.3g}|"
                yield f"    one{layer + 1} -.->{value} {_id(layer + 1, j)}"


def _id(layer: int, neuron: int) -> str:
    return f"n{layer}_{neuron + 1}"


def _name(layer: int, neuron: int, last: int) -> str:
    """Names a neuron: x1 is the first input, y1 the first output, h1.2 the second neuron of the first hidden layer."""
    if layer == 0:
        return f"x{neuron + 1}"
    return f"y{neuron + 1}" if layer == last else f"h{layer}.{neuron + 1}"
