"""Rows of the user's own with true and false in a column of numbers: as in `predict`, a frame's count as 1 and 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import axon
from models.columns.schema import NumericColumn
from models.errors import RowError

GENERATOR = np.random.default_rng(3)
FRAME = pd.DataFrame({"age": GENERATOR.normal(40, 12, 200).astype(np.float32), "member": GENERATOR.random(200) < 0.25})
WEIGHT, BIAS = np.array([[0.125, 2.5]], dtype=np.float32), np.array([0.5], dtype=np.float32)
EXPECTED = FRAME.to_numpy(dtype=np.float64) @ WEIGHT.astype(np.float64).ravel() + 0.5


def module() -> nn.Module:
    made = nn.Linear(2, 1)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(WEIGHT))
        made.bias.copy_(torch.from_numpy(BIAS))
    return nn.Sequential(made)


def graph() -> onnx.ModelProto:
    """Returns a Linear on one input for each column."""
    names = list(FRAME)
    made = helper.make_graph(
        [
            helper.make_node("Concat", names, ["x"], axis=1),
            helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1),
        ],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(BIAS, "b")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


TABLES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "pandas objects": lambda frame: frame.astype({"member": object}),
    "arrow": pa.Table.from_pandas,
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("model", [module, graph])
def test_truth_values_of_a_frame_are_numbers_in_rows_as_in_predict(
    tmp_path: Path, model: Callable[[], Any], table: str
) -> None:
    rows = TABLES[table](FRAME)
    imported = axon.load(str(axon.publish(model(), name="m", store=tmp_path, rows=rows)), store=tmp_path)
    np.testing.assert_allclose(imported.predict(rows), EXPECTED, rtol=1e-5)
    member = imported.checkpoint.schema.columns[1]
    assert isinstance(member, NumericColumn)
    assert (member.minimum, member.maximum) == (0, 1)
    assert member.mean == pytest.approx(FRAME.member.mean())


@pytest.mark.parametrize("model", [module, graph])
def test_truth_values_of_a_list_are_refused_in_rows_as_in_predict(tmp_path: Path, model: Callable[[], Any]) -> None:
    rows = FRAME.astype(object).to_numpy().tolist()
    with pytest.raises(RowError, match="column 'member'"):
        axon.publish(model(), name="m", store=tmp_path, rows=rows, columns=list(FRAME))
    imported = axon.load(str(axon.publish(model(), name="m", store=tmp_path, columns=list(FRAME))), store=tmp_path)
    with pytest.raises(RowError, match="column 'member'"):
        imported.predict(rows)
