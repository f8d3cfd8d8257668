"""ONNX graphs with inputs of whole numbers: categories with gaps, and the limits of unsigned and short types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

import axon
from conversion.importing.agreement import agreed
from conversion.importing.onnx_model import read_onnx
from models.answering import Answerer
from models.columns.column import CategoricalColumn
from models.errors import RowError


def graph_of(nodes: Sequence[onnx.NodeProto], element: int, **constants: Any) -> onnx.ModelProto:
    """Returns a graph with one column `code` and one value `y`."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("code", element, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: onnx.ModelProto, codes: Any) -> Any:
    """Returns ONNX Runtime's values of a column of codes."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"code": np.asarray(codes).reshape(-1, 1)})[0]).ravel()


def flags(element: int) -> onnx.ModelProto:
    """Returns a one-hot encoder of the numbers 0, 1 and 5, with zeros for others, and a Linear."""
    nodes = [
        helper.make_node("Cast", ["code"], ["whole"], to=TensorProto.INT64),
        helper.make_node("OneHotEncoder", ["whole"], ["flags"], domain="ai.onnx.ml", cats_int64s=[0, 1, 5], zeros=1),
        helper.make_node("Reshape", ["flags", "flat"], ["units"]),
        helper.make_node("Gemm", ["units", "w", "b"], ["y"]),
    ]
    weights = np.array([[1.5], [-2.0], [4.0]], dtype=np.float32)
    return graph_of(nodes, element, flat=np.array([-1, 3]), w=weights, b=np.array([0.25], dtype=np.float32))


def looked_up(element: int) -> onnx.ModelProto:
    """Returns a look-up of the numbers 0, 1 and 5, with 7 for others, and a Linear."""
    keys: dict[str, Any] = {"keys_int64s": [0, 1, 5], "values_floats": [1.5, -2.0, 4.0], "default_float": 7.0}
    nodes = [
        helper.make_node("Cast", ["code"], ["whole"], to=TensorProto.INT64),
        helper.make_node("LabelEncoder", ["whole"], ["units"], domain="ai.onnx.ml", **keys),
        helper.make_node("Gemm", ["units", "w", "b"], ["y"]),
    ]
    weights, bias = np.array([[1.25]], dtype=np.float32), np.array([0.25], dtype=np.float32)
    return graph_of(nodes, element, w=weights, b=bias)


ELEMENTS = {
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "float": TensorProto.FLOAT,
}


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("make", [flags, looked_up])
def test_a_gap_among_whole_categories_is_an_unknown_category(make: Any, name: str) -> None:
    model = make(ELEMENTS[name])
    read = read_onnx(model)
    (column,) = read.imported.schema.columns
    assert isinstance(column, CategoricalColumn)
    assert set(column.categories) == {"0", "1", "5"}
    checkpoint = agreed(read.imported, read.sample(), name="test").checkpoint
    kind = helper.tensor_dtype_to_np_dtype(ELEMENTS[name])
    expected = run(model, np.array([0, 1, 5, 7, 7], dtype=kind))
    answers = np.asarray(Answerer(checkpoint).answers([[0], [1], [5], [7], [None]])).ravel()
    np.testing.assert_allclose(answers, expected, atol=1e-6)


WHOLE = {
    "uint8": (TensorProto.UINT8, 0, 255),
    "uint16": (TensorProto.UINT16, 0, 2**16 - 1),
    "int8": (TensorProto.INT8, -128, 127),
    "uint64": (TensorProto.UINT64, 0, 2**64 - 1),
    "int64": (TensorProto.INT64, -(2**63), 2**63 - 1),
}


def scaled(element: int) -> onnx.ModelProto:
    """Returns a Linear on a column of whole numbers, which a scaler centres at 1."""
    nodes = [
        helper.make_node("Cast", ["code"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["number", "center"], ["centred"]),
        helper.make_node("Gemm", ["centred", "w", "b"], ["y"]),
    ]
    one, bias = np.array(1.0, dtype=np.float32), np.array([0.25], dtype=np.float32)
    return graph_of(nodes, element, center=one, w=np.array([[1.25]], dtype=np.float32), b=bias)


@pytest.mark.parametrize("name", WHOLE)
def test_drawn_numbers_are_within_the_type_of_the_input(name: str) -> None:
    element, least, most = WHOLE[name]
    model = scaled(element)
    read = read_onnx(model)
    rows = read.sample()
    assert all(least <= cell <= most and cell == round(cell) for (cell,) in rows)
    checkpoint = agreed(read.imported, rows, name="test").checkpoint
    codes = np.array([0, 1, 100], dtype=helper.tensor_dtype_to_np_dtype(element))
    answers = np.asarray(Answerer(checkpoint).answers([[0], [1], [100]])).ravel()
    np.testing.assert_allclose(answers, run(model, codes), rtol=1e-6)


@pytest.mark.parametrize(("name", "cell"), [("uint8", -1.0), ("uint8", 256.0), ("int8", 128.0), ("uint64", -1.0)])
def test_rows_beyond_the_type_of_the_input_are_refused_by_row_and_column(
    tmp_path: Path, name: str, cell: float
) -> None:
    model = scaled(WHOLE[name][0])
    rows = pd.DataFrame({"code": [0.0, 7.0, cell]})
    with pytest.raises(RowError, match=rf"row 2, .*code.* beyond the graph's input of {name}, which takes"):
        axon.publish(model, name="m", store=tmp_path, rows=rows)
    assert str(axon.publish(model, name="m", store=tmp_path, rows=rows.head(2))) == "m@1"
    with pytest.raises(RowError, match=r"row 0, .*code.* beyond the graph's input"):
        read_onnx(model).sample([[np.inf]])
