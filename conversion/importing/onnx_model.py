"""The import of an ONNX model: a graph of Gemm or MatMul, Add and activations becomes columns, layers and tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from conversion.importing.affine_features import AffineFeature, ComposedColumns, NumberStatistics, TableColumns
from conversion.importing.imported_model import (
    Float64Array,
    ImportedModel,
    ImportRefused,
    Row,
    numeric_targets,
    targets_of,
)
from conversion.importing.onnx_graph.answer import Answer, answer_of
from conversion.importing.onnx_graph.chain import Chain
from conversion.importing.onnx_graph.contents import Base, Hidden
from conversion.importing.onnx_graph.graph import GraphInput, GraphWalk
from conversion.importing.onnx_graph.graph_file import read_model
from conversion.importing.onnx_graph.node import Node
from conversion.importing.onnx_graph.original import Original, reduced, whole_limits
from conversion.importing.output_range import bounds_of_shares
from conversion.importing.sample_rows import drawn_rows
from models.columns.column import NumericColumn
from models.columns.labels import Label, checked_labels
from models.columns.schema import ClassTarget, Schema, Target
from models.errors import Fault, RowError
from models.network.config import MAX_FEATURES, Task
from models.network.sequence import SequenceConfig, SequenceLayer

_MOST_COLUMNS = 20_000
_BOOL = 9
_FLOATS, _WHOLE, _STRING = (1, 10, 11), (2, 3, 4, 5, 6, 7, 12, 13, _BOOL), 8
_NAME = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """The network and the columns that Axon reads in an ONNX model.

    Attributes:
        imported: columns, network and tensors, and the graph's own answers.
        engine: name of the program that computes the graph's own answers.
        in_double: function that computes the graph's answers to rows in 64-bit numbers.
        inputs: inputs of the graph.
        outputs: outputs of the graph that the network answers.
        unused: columns that no node needs, so that the model does not take them.
    """

    imported: ImportedModel
    engine: str
    in_double: Callable[[Sequence[Row]], NDArray[np.float64]]
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def has_made_up_names(self) -> bool:
        """True if the columns are named x0, x1, …, because one input holds all columns."""
        (first, *others) = self.inputs
        return not others and first.width > 1 and first.columns == tuple(_names(self.inputs))

    def sample(self, rows: Sequence[Row] | None = None) -> list[Row]:
        """Returns rows for the comparison with the graph, with numbers rounded as the graph's inputs do.

        The graph's inputs are float32 or whole numbers: it cannot tell other numbers apart, so both models get these.

        Args:
            rows: rows of the user's own, in the order of the columns; drawn from the columns if None.

        Raises:
            RowError: A number of the user's is beyond those of the graph's input.
        """
        schema = self.imported.schema
        elements = {column: given.element for given in self.inputs for column in given.columns}
        kinds = [elements[column.name] if isinstance(column, NumericColumn) else _STRING for column in schema.columns]
        given = drawn_rows(schema) if rows is None else rows
        if rows is not None:
            _check_limits(rows, schema.names, kinds)
        return [[_as_taken(cell, kind) for cell, kind in zip(row, kinds, strict=True)] for row in given]


def read_onnx(
    source: Path | str | bytes | onnx.ModelProto,
    *,
    columns: Sequence[str] | None = None,
    labels: Sequence[Label] | None = None,
    target: str | Sequence[str] | None = None,
    task: Task | None = None,
    output: str | None = None,
    sample: Mapping[str, NumberStatistics] | None = None,
) -> OnnxModel:
    """Reads an ONNX model as an MLP with its columns. Nothing is compared and nothing is published.

    Args:
        source: path of the file, its bytes, or the model.
        columns: names of the columns, in the order of the graph's inputs; those of the inputs if None, or x0, x1, …
        labels: labels of the classes, in the order of the outputs; those in the graph if None, or 0, 1, …
        target: name of the predicted column; of several, a list of names or a text with commas; the file's own record
            or `target` if None.
        task: `classification` or `regression`; None where the graph tells.
        output: name of the output that Axon shall answer; None if there is one, or a label with its probabilities.
        sample: statistics of the columns with numbers in the user's rows; none if None.

    Raises:
        ImportRefused: The file cannot be read, or the graph is not an MLP; the message names the node.
        ConfigError, DataError: The columns or the labels are not valid.
    """
    model = read_model(source)
    inputs = _inputs(model, columns)
    truth = [column for given in inputs if given.element == _BOOL for column in given.columns]
    table = TableColumns([column for given in inputs for column in given.columns], sample, truth)
    batch = next((given.batch for given in inputs if given.batch is not None), None)
    walk = GraphWalk(model, inputs, Chain(table, batch=batch))
    given_labels = None if labels is None else checked_labels("the labels", list(labels))
    properties = {entry.key: entry.value for entry in model.metadata_props}
    named = _target_names(target, properties)
    answer = answer_of(walk, _outputs(model, output), task=task, labels=given_labels, several=len(named) > 1)
    layers, tensors, root = _layers(walk.chain, answer.last)
    _check_logits(walk, answer, layers, tensors)
    composed = _composed(table, root.features or ())
    layers, tensors = _with_columns(layers, tensors, composed)
    original = Original(
        model=reduced(model, walk.needed([answer.tensor]), answer.tensor),
        tensor=answer.tensor,
        form=answer.form,
        inputs=inputs,
        table=table,
        columns=composed.columns,
    )
    imported = ImportedModel(
        schema=Schema(columns=composed.columns, target=_target(target, named, answer, given_labels)),
        config=SequenceConfig(in_features=composed.weight.shape[1], sequence=tuple(layers), output=answer.output),
        tensors=tensors,
        original=original,
        source=_source(model, answer),
    )
    unused = tuple(column for column in table.names if column not in table.used)
    return OnnxModel(
        imported=imported,
        engine=original.engine,
        in_double=original.in_double,
        inputs=tuple(inputs),
        outputs=answer.outputs,
        unused=unused,
    )


def _inputs(model: onnx.ModelProto, columns: Sequence[str] | None) -> list[GraphInput]:
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [_input(value) for value in model.graph.input if value.name not in constants]
    if not found:
        raise ImportRefused("the graph has no input.")
    width = sum(given.width for given in found)
    if width > _MOST_COLUMNS:
        raise ImportRefused(f"the graph's inputs have {width:,} columns; Axon takes up to {_MOST_COLUMNS:,} from ONNX.")
    if columns is not None and len(columns) != width:
        raise ImportRefused(
            f"{len(columns)} columns are named, and the graph's inputs have {width}: "
            + ", ".join(f"{given.name!r} with {given.width}" for given in found[:20])
            + "."
        )
    names = iter(columns if columns is not None else _names(found))
    return [replace(given, columns=tuple(next(names) for _ in range(given.width))) for given in found]


def _names(found: Sequence[GraphInput]) -> list[str]:
    """Returns a name for each column: that of the input, with a number if the input has several columns."""
    if len(found) == 1 and found[0].width > 1:
        return [f"x{place}" for place in range(found[0].width)]
    return [
        given.name if given.width == 1 else f"{given.name}_{place}" for given in found for place in range(given.width)
    ]


def _input(value: onnx.ValueInfoProto) -> GraphInput:
    kind = value.type.tensor_type
    what = f"the input {value.name!r:.120}"
    if not value.type.HasField("tensor_type") or kind.elem_type not in (*_FLOATS, *_WHOLE, _STRING):
        raise ImportRefused(f"{what} is no tensor of numbers or texts.")
    if not kind.HasField("shape"):
        raise ImportRefused(f"{what} has no shape: export the model with the shape (rows, columns).")
    lengths = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim]
    if not lengths:
        raise ImportRefused(f"{what} is a single number, and no table of rows.")
    dims = tuple(length for length in lengths[1:] if length is not None)
    width = int(np.prod(dims, dtype=object)) if dims else 1
    if len(dims) != len(lengths) - 1 or not 1 <= width <= MAX_FEATURES:
        raise ImportRefused(f"{what} has no fixed number of columns: export the model with the shape (rows, columns).")
    return GraphInput(name=value.name, element=kind.elem_type, dims=dims, batch=lengths[0])


def _outputs(model: onnx.ModelProto, output: str | None) -> list[str]:
    names = [value.name for value in model.graph.output]
    if output is None:
        is_own = model.producer_name == "axon"  # whose export also counts unknown categories
        return [name for name in names if not (is_own and name.endswith("unknown"))]
    if output not in names:
        raise ImportRefused(f"the graph has no output {output!r:.120}; it has {', '.join(map(repr, names[:20]))}.")
    return [output]


def _layers(chain: Chain, last: Hidden) -> tuple[list[SequenceLayer], dict[str, Float64Array], Base]:
    """Returns the layers up to some values, with distinct names, the tensors, and the first features.

    Raises:
        ImportRefused: There is no product with a matrix among them.
    """
    base = chain.base_of(last)
    bases: list[Base] = []
    while base.parent is not None:
        bases.append(base)
        base = base.parent
    layers: list[SequenceLayer] = []
    tensors: dict[str, Float64Array] = {}
    taken: set[str] = set()
    for one in reversed(bases):
        for layer in one.layers:
            name = _free_name(layer.name, taken)
            taken.add(name)
            layers.append(replace(layer, name=name))
            for part, tensor in one.tensors.get(layer.name, {}).items():
                tensors[f"{name}.{part}"] = np.asarray(tensor, dtype=np.float64)
    return layers, tensors, base


def _check_logits(
    walk: GraphWalk, answer: Answer, layers: Sequence[SequenceLayer], tensors: Mapping[str, Float64Array]
) -> None:
    """Refuses probabilities in place of logits, of which the network would compute probabilities once more.

    Raises:
        ImportRefused: The values are to be logits, and never leave 0 to 1.
    """
    if answer.form not in ("logit", "logits") or (found := bounds_of_shares(layers, tensors)) is None:
        return
    function, least, most = found
    node = Node(walk.needed([answer.tensor])[-1], 1)
    raise node.refused_because(
        f"the output {answer.tensor!r:.120}, which node {node} makes by a function of the kind {function.activation}, "
        f"has numbers from {least:.3g} to {most:.3g} only, as probabilities are, and no logits. Export the model up "
        "to the logits, or with a plain Sigmoid or Softmax at the end"
    )


def _free_name(wanted: str, taken: set[str]) -> str:
    name = _NAME.sub("_", wanted).strip("_.-")[:150] or "layer"
    number = 2
    while (numbered := name if number == 2 and name not in taken else f"{name}_{number}") in taken:
        number += 1
    return numbered


def _composed(table: TableColumns, features: Sequence[AffineFeature]) -> ComposedColumns:
    for feature in features:  # a scaler that is written as Mul and Add
        numbers = [(element, weight) for element, weight in feature.weights.items() if element.kind == "number"]
        if len(numbers) == 1 and numbers[0][1] and (numbers[0][1] != 1 or feature.constant):
            element, slope = numbers[0]
            alone = AffineFeature(weights={element: 1.0})
            table.seen(alone, center=-feature.constant / slope, scale=1 / abs(slope))
    return table.composed(features)


def _with_columns(
    layers: list[SequenceLayer], tensors: dict[str, Float64Array], composed: ComposedColumns
) -> tuple[list[SequenceLayer], dict[str, Float64Array]]:
    """Returns the network that takes the encoded columns in place of the graph's features."""
    weight, constant = composed.weight, composed.constant
    first = layers[0] if layers else None
    if first is not None and first.kind == "linear":
        name = first.name
        bias = tensors.get(f"{name}.bias", np.zeros(first.out_features or 0))
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = composed.first_linear(tensors[f"{name}.weight"], bias)
        return layers, tensors
    if first is not None and np.array_equal(weight, np.eye(len(weight))) and not constant.any():
        return layers, tensors
    name = _free_name("inputs", {layer.name for layer in layers})
    own = SequenceLayer(name=name, kind="linear", out_features=len(weight))
    return [own, *layers], {**tensors, f"{name}.weight": weight, f"{name}.bias": constant}


def _target_names(target: str | Sequence[str] | None, properties: Mapping[str, str]) -> list[str]:
    """Returns the names of the values of a row: the user's, else those of the file's own record, else `target`."""
    if target and not isinstance(target, str):
        return list(target)
    if target:
        return [part.strip() for part in str(target).split(",")]
    try:
        own = json.loads(properties.get("axon.targets", "[]"))
    except ValueError:
        own = []
    is_list = isinstance(own, list) and all(isinstance(name, str) for name in own)
    return own if own and is_list else [properties.get("axon.target") or "target"]


def _target(
    given: str | Sequence[str] | None, named: Sequence[str], answer: Answer, labels: tuple[Label, ...] | None
) -> Target:
    if answer.output == "linear":
        if labels is not None:
            raise ImportRefused("labels are for a classifier, and the graph answers a value.")
        width = answer.last.width
        if width == 1 and isinstance(given, str) and given:
            return numeric_targets([given])  # a name may have a comma
        if len(named) != width:
            raise ImportRefused(
                f"{len(named)} targets are named, and the graph answers {width} value{'s' if width != 1 else ''}: "
                "name each of them, in order (--target A,B,…, target=[…] in Python)."
            )
        return targets_of(named)
    if given and not isinstance(given, str) and len(given) != 1:
        raise ImportRefused(f"the graph answers one class a row, and {len(given)} targets are named: name one.")
    name = given if isinstance(given, str) and given else named[0]
    classes = 2 if answer.output == "sigmoid" else answer.last.width
    chosen = labels or answer.labels or tuple(range(classes))
    if len(chosen) != classes:
        raise ImportRefused(
            f"{len(chosen)} labels are given for {classes} classes: {', '.join(map(str, chosen[:20]))}."
        )
    return ClassTarget(name=name, labels=tuple(chosen))


def _source(model: onnx.ModelProto, answer: Answer) -> dict[str, object]:
    versions = {o.domain or "ai.onnx": o.version for o in model.opset_import}
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    return {
        "imported_from": "onnx",
        "producer": producer[:200] or None,
        "opsets": versions,
        "output": answer.tensor[:200],
        "nodes": len(model.graph.node),
    }


def _check_limits(rows: Sequence[Row], names: Sequence[str], elements: Sequence[int]) -> None:
    """Refuses numbers that an input of whole numbers cannot hold, such as a negative one among unsigned ones.

    Raises:
        RowError: A number is beyond those of the input.
    """
    for place, (name, element) in enumerate(zip(names, elements, strict=True)):
        if element not in _WHOLE or element == _BOOL:
            continue
        kind = onnx.helper.tensor_dtype_to_np_dtype(element)
        least, most = whole_limits(kind)
        cells = ((row, cells[place]) for row, cells in enumerate(rows))
        faults = [
            Fault(
                row, name, f"{cell} is beyond the graph's input of {kind.name}, which takes {least:.0f} to {most:.0f}."
            )
            for row, cell in cells
            if isinstance(cell, int | float) and not least <= np.rint(cell) <= most
        ]
        if faults:
            raise RowError(faults)


def _as_taken(cell: object, element: int) -> object:
    """Returns a number as an input of the graph takes the number: of 32 or 16 bits, or whole and within the limits."""
    if not isinstance(cell, int | float) or isinstance(cell, bool) or element == _STRING:
        return cell
    if element in _WHOLE:
        if element == _BOOL:
            return float(round(cell))
        least, most = whole_limits(onnx.helper.tensor_dtype_to_np_dtype(element))
        return min(max(float(round(cell)), least), most)
    kind: NDArray[np.floating] | np.dtype[np.floating] = onnx.helper.tensor_dtype_to_np_dtype(element)
    with np.errstate(over="ignore"):
        return float(np.asarray(cell).astype(kind))
