"""A model as one ONNX file: preprocessing, network and labels in one graph.

The graph needs opset 12 (ONNX 1.7, of 2020), which brought Celu and GreaterOrEqual, and version 2 of `ai.onnx.ml` for
the look-up of texts.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from conversion.exporting.errors import ExportError
from conversion.exporting.graph import Graph
from conversion.exporting.onnx_columns import MATRIX, ColumnsGraph, EncodedRows
from conversion.exporting.onnx_network import add_network
from conversion.exporting.source_model import SourceModel
from models.columns.column import NumericColumn
from models.columns.labels import Label, label_text, label_type
from models.errors import ConfigError
from models.network.inference_network import InferenceNetwork

OPSET, ML_OPSET, IR_VERSION = 12, 2, 7
_MOST_BYTES = 2**31 - 1  # of a protobuf message
_INT64 = range(-(2**63), 2**63)


def onnx_bytes(model: SourceModel, *, matrix: bool = False) -> bytes:
    """Returns the ONNX file of a model; the same model gives the same bytes.

    Args:
        model: model to export.
        matrix: True for one input with all columns, False for an input for each column.

    Raises:
        ExportError: Not all columns are numbers, as a matrix needs.
        ConfigError: The network is larger than an ONNX file can be.
    """
    network, schema = model.network, model.checkpoint.schema
    if 4 * network.parameter_count > _MOST_BYTES // 2:
        raise ConfigError(
            f"the network has {network.parameter_count:,} values, which do not fit into one ONNX file: export to torch."
        )
    if matrix and (other := next((c for c in schema.columns if not isinstance(c, NumericColumn)), None)):
        raise ExportError(f"a matrix holds numbers, and column {other.name!r} has none: leave --matrix out.")
    graph = Graph([MATRIX] if matrix else schema.names)
    encoded = ColumnsGraph(graph, schema.columns, matrix=matrix).add()
    answers = add_network(graph, network, encoded.x)
    outputs = _add_outputs(graph, model, encoded, answers)
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes, "axon", encoded.inputs, outputs, graph.initializers, doc_string=model.origin_line
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="axon",
        producer_version=model.axon_version,
        domain="axon",
        model_version=model.version or 0,
        doc_string=model.origin_line,
    )
    helper.set_model_props(proto, _properties(model))
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _properties(model: SourceModel) -> dict[str, str]:
    properties = {
        "axon.model": model.name,
        "axon.version": model.axon_version,
        "axon.target": model.checkpoint.schema.target.name,
        "axon.task": model.checkpoint.config.task,
    }
    if model.targets:
        properties["axon.targets"] = json.dumps(model.targets, ensure_ascii=False)
    if model.labels:
        properties["axon.refused_label"] = label_text(refused_label(model.labels))
    if model.version is not None:
        properties["axon.model_version"] = str(model.version)
    if model.digest is not None:
        properties["axon.digest"] = model.digest
    return properties


def _add_outputs(graph: Graph, model: SourceModel, encoded: EncodedRows, answers: str) -> list[onnx.ValueInfoProto]:
    network = model.network
    refused = graph.any_of([*encoded.refused, *_refused_answers(graph, network, answers)])  # (rows, 1)
    outputs = []
    if not model.labels:
        outputs.append(_add_value(graph, network, answers, refused))
    else:
        outputs.append(_add_label(graph, model.labels, answers, refused))
        outputs.append(_add_probabilities(graph, len(model.labels), answers, refused))
    if encoded.unknown:
        counts = graph.concat([graph.op("Cast", flag, to=TensorProto.INT64) for flag in encoded.unknown])
        unknown = graph.op("ReduceSum", counts, axes=[1], keepdims=1, output=graph.free_name("unknown"))
        about = "number of cells with a category that training did not see"
        outputs.append(helper.make_tensor_value_info(unknown, TensorProto.INT64, ["rows", 1], doc_string=about))
    return outputs


def _refused_answers(graph: Graph, network: InferenceNetwork, answers: str) -> list[str]:
    """Returns flags of answers that the server would refuse: NaN, and infinity without a clamp."""
    if network.clamp is None:
        return [graph.not_finite(answers)]
    return [graph.any_of_row(graph.op("IsNaN", answers))]


def _add_value(graph: Graph, network: InferenceNetwork, answers: str, refused: str) -> onnx.ValueInfoProto:
    if network.clamp is not None:
        low, high = (graph.constant(np.asarray(bound, dtype=np.float32)) for bound in network.clamp)
        if network.out_features == 1:
            answers = graph.op("Clip", answers, low, high)
        else:  # Clip takes the same bounds for all columns
            answers = graph.op("Min", graph.op("Max", answers, low), high)
    is_shifted = bool(np.any(network.origin))
    kind, nothing = TensorProto.FLOAT, np.array(np.nan, dtype=np.float64 if is_shifted else np.float32)
    if is_shifted:
        kind = TensorProto.DOUBLE
        answers = graph.op("Cast", answers, to=TensorProto.DOUBLE)
        answers = graph.op("Add", answers, graph.constant(np.asarray(network.origin, dtype=np.float64)))
    value = graph.op("Where", refused, graph.constant(nothing), answers, output=graph.free_name("value"))
    about = "predicted value; NaN for a refused row"
    if network.out_features > 1:
        about = "predicted value of each target, in the order of axon.targets; NaN for a refused row"
    return helper.make_tensor_value_info(value, kind, ["rows", network.out_features], doc_string=about)


def _add_probabilities(graph: Graph, classes: int, answers: str, refused: str) -> onnx.ValueInfoProto:
    nothing = graph.constant(np.float32(np.nan))
    value = graph.op("Where", refused, nothing, answers, output=graph.free_name("probabilities"))
    about = "probability of each class, 0 and 1 for a model that decides without; NaN for a refused row"
    return helper.make_tensor_value_info(value, TensorProto.FLOAT, ["rows", classes], doc_string=about)


def _add_label(graph: Graph, labels: tuple[Label, ...], answers: str, refused: str) -> onnx.ValueInfoProto:
    best = graph.op("ArgMax", answers, axis=1, keepdims=0)  # (rows,)
    flags = graph.op("Squeeze", refused, axes=[1])
    places = graph.op("Where", flags, graph.constant(np.int64(len(labels))), best)
    written = onnx_labels(labels)
    label = graph.op("Gather", graph.constant(written), places, axis=0, output=graph.free_name("label"))
    kind = {"i": TensorProto.INT64, "f": TensorProto.DOUBLE, "O": TensorProto.STRING}[written.dtype.kind]
    about = f"predicted class; {label_text(refused_label(labels))!r} for a refused row"
    return helper.make_tensor_value_info(label, kind, ["rows"], doc_string=about)


def onnx_labels(labels: tuple[Label, ...]) -> NDArray[np.int64] | NDArray[np.float64] | NDArray[np.object_]:
    """Returns the labels and the label of a refused row, in the type of the output `label`.

    Whole numbers of 64 bits are int64, numbers float64, all others texts: a boolean has no third value for a refused
    row, and ONNX Runtime has no look-up of whole numbers beyond int64.
    """
    mark = refused_label(labels)
    match label_type(labels):
        case "int" if all(label in _INT64 for label in labels):
            return np.array([*labels, mark], dtype=np.int64)
        case "float":
            return np.array([*labels, mark], dtype=np.float64)
        case _:
            return np.array([*(label_text(label) for label in labels), mark], dtype=object)


def refused_label(labels: tuple[Label, ...]) -> Label:
    """Returns the label of a refused row, which is never a label of the model.

    The label is NaN for numbers, the lowest int64 for whole numbers, and an empty text for all others; if that is a
    label of the model, the next one that is not.
    """
    match label_type(labels):
        case "float":
            return float("nan")
        case "int" if all(label in _INT64 for label in labels):
            return next(number for number in _INT64 if number not in labels)
        case _:
            texts = {label_text(label) for label in labels}
            return next(mark for n in range(len(texts) + 1) if (mark := "?" * n) not in texts)
