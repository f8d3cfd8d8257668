"""ONNX: writes the benchmark's model as Gemm, Relu and Softmax, the operators that torch exports: `onnx_model.py FILE`.

The `onnx` package builds the graph from the weights, because torch's exporter needs more packages.
"""

import os
import sys

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from benchmarks.model import LAYER_SIZES, make_model

OPSET, IR_VERSION = 17, 8  # as old as the operators allow, so that any ONNX Runtime reads the file

if __name__ == "__main__":
    name = os.environ["AXON_BENCH_MODEL"]
    nodes, weights, value = [], [], "rows"
    for i, module in enumerate(make_model(name)):
        result = f"value_{i}"
        if isinstance(module, nn.Linear):
            parts = {f"weight_{i}": module.weight, f"bias_{i}": module.bias}
            weights += [numpy_helper.from_array(tensor.detach().numpy(), part) for part, tensor in parts.items()]
            nodes.append(helper.make_node("Gemm", [value, f"weight_{i}", f"bias_{i}"], [result], transB=1))
        else:
            nodes.append(helper.make_node("Relu", [value], [result]))
        value = result
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=-1))
    sizes = LAYER_SIZES[name]
    inputs, outputs = (
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["n", width])]
        for tensor, width in (("rows", sizes[0]), ("probabilities", sizes[-1]))
    )
    model = helper.make_model(
        helper.make_graph(nodes, "mlp", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, sys.argv[1])
