"""A model's summary: layers, shapes, parameter counts and multiply-adds, as data, text, JSON and Mermaid diagram."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import ConfigError
from models.network.architecture import Architecture
from models.network.config import NetworkOutput

BYTES_PER_NUMBER = 4  # a checkpoint holds float32

_PARTS_OF_INPUTS = ("inputs.clip", "inputs.periodic", "inputs.embedding")
_INPUT = "node_input"
ANY_BATCH = -1  # the batch dimension of a shape that holds for every batch size


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSummary:
    """The summary of one layer.

    Attributes:
        name: prefix of the layer's tensor names in a checkpoint, such as `layers.0`.
        type: name for people: `Linear`, `BatchNorm1d`, `ReLU`, …
        input_shape: (batch, in_features); a batch of -1 stands for any batch size.
        output_shape: (batch, out_features)
        params: number of learned values.
        trainable_params: number of learned values that training changes; today all of them.
        buffers: number of values that are kept but not learned (BatchNorm's running statistics).
        multiply_adds: multiply-adds of the matrix product for one row.
    """

    name: str
    type: str
    input_shape: tuple[int, int]
    output_shape: tuple[int, int]
    params: int
    trainable_params: int
    buffers: int
    multiply_adds: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain JSON types."""
        return {
            "name": self.name,
            "type": self.type,
            "input_shape": list(self.input_shape),
            "output_shape": list(self.output_shape),
            "params": self.params,
            "trainable_params": self.trainable_params,
            "buffers": self.buffers,
            "multiply_adds": self.multiply_adds,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The summary of a model: one entry per layer, in the order of the forward pass, and the totals.

    Attributes:
        layers: one entry per layer.
        in_features: number of features of an encoded row.
        output: function after the last layer: `softmax`, `linear` (none), `exponential`, `logistic`, `step`, `sigmoid`
            or `argmax`.
        title: name of the model, or None.
        members: number of networks in the ensemble; the figures of a layer are totals over all members.
        temperature: divisor of the logits before a softmax.
        member_weights: weight of each member in the answer; None for equal weights.
    """

    layers: tuple[LayerSummary, ...]
    in_features: int
    output: NetworkOutput
    title: str | None = None
    members: int = 1
    temperature: float = 1.0
    member_weights: tuple[int, ...] | None = None

    @property
    def total_params(self) -> int:
        """Number of learned values."""
        return sum(layer.params for layer in self.layers)

    @property
    def trainable_params(self) -> int:
        """Number of learned values that training changes."""
        return sum(layer.trainable_params for layer in self.layers)

    @property
    def non_trainable_params(self) -> int:
        """Number of learned values that training does not change; buffers do not count."""
        return self.total_params - self.trainable_params

    @property
    def buffers(self) -> int:
        """Number of values that are kept but not learned."""
        return sum(layer.buffers for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrix products for one row; elementwise operations count as 0."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def parameter_bytes(self) -> int:
        """Size of the parameters in float32, in bytes."""
        return BYTES_PER_NUMBER * self.total_params

    @property
    def total_bytes(self) -> int:
        """Size of parameters and buffers in float32, the tensors of a checkpoint, in bytes."""
        return BYTES_PER_NUMBER * (self.total_params + self.buffers)

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain JSON types."""
        weights = {} if self.member_weights is None else {"member_weights": list(self.member_weights)}
        return {
            "title": self.title,
            "layers": [layer.to_dict() for layer in self.layers],
            "output": self.output,
            "members": self.members,
            **weights,
            "temperature": self.temperature,
            "total_params": self.total_params,
            "trainable_params": self.trainable_params,
            "non_trainable_params": self.non_trainable_params,
            "buffers": self.buffers,
            "multiply_adds": self.multiply_adds,
            "parameter_bytes": self.parameter_bytes,
            "bytes": self.total_bytes,
        }

    def to_text(self, width: int | None = None) -> str:
        """Returns an aligned table and the totals, for a terminal; no newline at the end.

        Args:
            width: characters of a line, or None for a file. If the table is wider, each layer's shapes get a line of
                their own.
        """
        header = ("Layer", "Type", "Input shape", "Output shape", "Params", "Multiply-adds")
        rows = [
            (
                layer.name,
                layer.type,
                _shape(layer.input_shape),
                _shape(layer.output_shape),
                f"{layer.params:,}",
                f"{layer.multiply_adds:,}",
            )
            for layer in self.layers
        ]
        table = _aligned([header, *rows], right=(4, 5))
        if width is not None and max(map(len, table)) > width:
            table = self._narrow_table()
        members = [("Members", f"{self.members:,}")] if self.members > 1 else []
        if self.member_weights is not None:
            runs = ((weight, len(list(run))) for weight, run in itertools.groupby(self.member_weights))
            members.append(("Weights of members", ", ".join(f"{count} × {weight}" for weight, count in runs)))
        temperature = [("Temperature", f"{self.temperature:.3g}")] if self.temperature != 1 else []
        totals = _aligned(
            [
                ("Output", self.output),
                *temperature,
                *members,
                ("Total params", f"{self.total_params:,}"),
                ("Trainable params", f"{self.trainable_params:,}"),
                ("Non-trainable params", f"{self.non_trainable_params:,}"),
                ("Buffers", f"{self.buffers:,}"),
                ("Multiply-adds a row", f"{self.multiply_adds:,}"),
                ("Bytes (float32)", f"{self.total_bytes:,}"),
            ],
            right=(1,),
        )
        rule = "─" * max(map(len, table))
        title = [] if self.title is None else [self.title]
        return "\n".join([*title, table[0], rule, *table[1:], rule, *totals])

    def _narrow_table(self) -> list[str]:
        header = ("Layer", "Type", "Params", "Multiply-adds")
        rows = [(layer.name, layer.type, f"{layer.params:,}", f"{layer.multiply_adds:,}") for layer in self.layers]
        head, *lines = _aligned([header, *rows], right=(2, 3))
        shapes = [f"    {_shape(layer.input_shape)} → {_shape(layer.output_shape)}" for layer in self.layers]
        return [head, *(line for pair in zip(lines, shapes, strict=True) for line in pair)]

    def to_mermaid(self) -> str:
        """Returns a Mermaid flowchart from input to output; no newline at the end.

        The parts of an input stage are beside each other: each reads its own features of the row.
        """
        # A JSON string is also a YAML string, so no model name can end the title early or add a line.
        title = [] if self.title is None else ["---", f"title: {json.dumps(self.title)}", "---"]
        ids = [_INPUT, *(_node(layer.name) for layer in self.layers), "node_output"]
        last = self.layers[-1].output_shape
        first = (self.layers[0].input_shape[0], self.in_features)
        labels = [
            f'(["input<br/>{_shape(first)}"])',
            *(f'["{_label(layer)}"]' for layer in self.layers),
            f'(["{self.output}<br/>{_shape(last)}"])',
        ]
        nodes = [f"    {node}{label}" for node, label in zip(ids, labels, strict=True)]
        stage = [layer for layer in self.layers if layer.name in _PARTS_OF_INPUTS]
        first_of_all = self.layers[len(stage)]
        pairs = [*_arrows_of_inputs(stage, first_of_all), *itertools.pairwise(ids[1 + len(stage) :])]
        return "\n".join([*title, "flowchart TD", *nodes, *(f"    {a} --> {b}" for a, b in pairs)])


def _arrows_of_inputs(stage: Sequence[LayerSummary], joined: LayerSummary) -> Iterator[tuple[str, str]]:
    """Yields the arrows from the input to the first layer that reads the features of all parts of an input stage.

    Args:
        stage: parts of the input stage that read a part of the row: clip, periodic embedding and embedding.
        joined: layer after these.
    """
    widths = {layer.name: layer.output_shape[1] for layer in stage}
    clip, periodic, embedding = _PARTS_OF_INPUTS
    numbers = _node(clip) if clip in widths else _INPUT
    if clip in widths:
        yield _INPUT, _node(clip)
        yield _node(clip), _node(joined.name)
    if periodic in widths:
        yield numbers, _node(periodic)
        yield _node(periodic), _node(joined.name)
    if embedding in widths:
        yield _INPUT, _node(embedding)
        yield _node(embedding), _node(joined.name)
    if sum(widths.values()) < joined.input_shape[1]:  # flags, or numbers without a clip
        yield _INPUT, _node(joined.name)


def _node(name: str) -> str:
    """Returns the id of a layer's node. With the prefix, no id can be one of Mermaid's keywords."""
    return "node_" + name.replace(".", "_")


def summarize(config: Architecture, *, batch_size: int | None = None, title: str | None = None) -> Summary:
    """Summarizes an architecture.

    Args:
        config: architecture of the model.
        batch_size: first dimension of each shape; -1, for any size, if None.
        title: name of the model.

    Raises:
        ConfigError: The batch size is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size!r}.")
    batch = ANY_BATCH if batch_size is None else batch_size
    layers = tuple(
        LayerSummary(
            name=layer.name,
            type=layer.type,
            input_shape=(batch, layer.in_features),
            output_shape=(batch, layer.out_features),
            params=layer.parameter_count,
            trainable_params=layer.parameter_count,
            buffers=layer.buffer_count,
            multiply_adds=layer.multiply_adds,
        )
        for layer in config.layers()
    )
    return Summary(
        layers=layers,
        in_features=config.in_features,
        output=config.output,
        title=title,
        members=config.members,
        temperature=config.temperature,
        member_weights=config.member_weights,
    )


def _shape(shape: tuple[int, int]) -> str:
    return f"({shape[0]}, {shape[1]})"


def _label(layer: LayerSummary) -> str:
    """Returns the text of a node: the layer's type, widths and number of parameters, if any."""
    (_, n_in), (_, n_out) = layer.input_shape, layer.output_shape
    width = f"{n_in} → {n_out}" if layer.type == "Linear" else str(n_out)
    params = f"<br/>{layer.params:,} params" if layer.params else ""
    return f"{layer.type}<br/>{width}{params}"


def _aligned(rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    """Pads the cells of rows to columns with two spaces between; the columns in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
