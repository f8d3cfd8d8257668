"""The graph in 64-bit numbers, run by ONNX's reference implementation: what the graph means, without its rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

_NARROW = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def in_double(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model whose constants, inputs and casts are of 64-bit floating point."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        _widen(tensor)
    for given in made.graph.input:
        if given.type.tensor_type.elem_type in _NARROW:
            given.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in made.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in _NARROW:
                attribute.i = TensorProto.DOUBLE
    return made


def run_in_double(model: onnx.ModelProto, tensor: str, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Returns a tensor of a model from `in_double`."""
    from onnx.reference import ReferenceEvaluator

    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in feeds.items()}
    with np.errstate(all="ignore"):
        (answers,) = ReferenceEvaluator(model).run([tensor], wide)
    return np.asarray(answers)


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _NARROW:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
