"""Graphs that are no MLP, and hostile files: each is refused with the node, and nothing is published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import CASES, PENGUINS

import axon
from axon.cli import main
from conversion.importing.imported_model import ImportRefused
from conversion.importing.onnx_model import read_onnx

GENERATOR = np.random.default_rng(0)
Tensor = np.ndarray[Any, Any]


def graph_of(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Tensor] | None = None,
    *,
    shape: Sequence[int | None] = (None, 4),
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """Returns a model with one float input `x` and a square matrix `w`."""
    weights = {"w": GENERATOR.normal(size=(4, 4)).astype(np.float32), **(constants or {})}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """Returns a node with the name of its output."""
    return helper.make_node(op, inputs.split(), [output], name=f"the_{output}", **attributes)


def residual() -> onnx.ModelProto:
    return graph_of(
        [
            node("MatMul", "x w", "a"),
            node("Relu", "a", "b"),
            node("MatMul", "b w", "c"),
            node("Tanh", "c", "d"),
            node("Add", "d b", "sum"),
            node("MatMul", "sum w", "logits"),
            node("Softmax", "logits", "y"),
        ]
    )


def attention() -> onnx.ModelProto:
    return graph_of(
        [
            node("MatMul", "x w", "query"),
            node("Transpose", "query", "key", perm=[1, 0]),
            node("MatMul", "query key", "scores"),
            node("Softmax", "scores", "y"),
        ]
    )


def convolution() -> onnx.ModelProto:
    kernel = GENERATOR.normal(size=(2, 1, 3, 3)).astype(np.float32)
    return graph_of(
        [node("Conv", "x kernel", "conv"), node("Flatten", "conv", "y")],
        {"kernel": kernel},
        shape=(None, 1, 4, 4),
    )


def recurrent() -> onnx.ModelProto:
    gates = GENERATOR.normal(size=(1, 16, 4)).astype(np.float32)
    return graph_of(
        [helper.make_node("LSTM", ["x", "gates", "gates"], ["y"], name="the_lstm", hidden_size=4)],
        {"gates": gates},
        shape=(None, 1, 4),
    )


def trees() -> onnx.ModelProto:
    attributes: dict[str, Any] = {
        "nodes_treeids": [0],
        "nodes_nodeids": [0],
        "nodes_featureids": [0],
        "nodes_modes": ["LEAF"],
        "nodes_values": [0.0],
        "nodes_truenodeids": [0],
        "nodes_falsenodeids": [0],
        "target_treeids": [0],
        "target_nodeids": [0],
        "target_ids": [0],
        "target_weights": [1.0],
        "n_targets": 1,
    }
    made = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], name="the_trees", domain="ai.onnx.ml", **attributes)
    return graph_of([made], domains=["ai.onnx.ml"])


def custom_domain() -> onnx.ModelProto:
    return graph_of(
        [
            node("MatMul", "x w", "a"),
            helper.make_node("FusedGelu", ["a"], ["y"], name="the_gelu", domain="com.example"),
        ],
        domains=["com.example"],
    )


def quantised() -> onnx.ModelProto:
    scale, zero = np.float32(0.1), np.uint8(128)
    return graph_of(
        [node("MatMul", "x w", "a"), node("QuantizeLinear", "a scale zero", "q"), node("Cast", "q", "y", to=1)],
        {"scale": np.array(scale), "zero": np.array(zero)},
    )


def gated() -> onnx.ModelProto:
    return graph_of(
        [
            node("MatMul", "x w", "a"),
            node("MatMul", "x v", "b"),
            node("Sigmoid", "b", "gate"),
            node("Mul", "a gate", "y"),
        ],
        {"v": GENERATOR.normal(size=(4, 4)).astype(np.float32)},
    )


def several_labels() -> onnx.ModelProto:
    return graph_of([node("MatMul", "x w", "a"), node("Sigmoid", "a", "y")])


def mean_of_units() -> onnx.ModelProto:
    return graph_of([node("MatMul", "x w", "a"), node("ReduceMean", "a", "y", axes=[1])])


def over_the_rows() -> onnx.ModelProto:
    return graph_of([node("MatMul", "x w", "a"), node("Softmax", "a", "y", axis=0)])


def unknown_function() -> onnx.ModelProto:
    return graph_of([node("MatMul", "x w", "a"), node("Exp", "a", "b"), node("MatMul", "b w", "y")])


REFUSED: tuple[tuple[Callable[[], onnx.ModelProto], str], ...] = (
    (residual, "node Add 'the_sum' joins two branches of the graph, as a residual connection does"),
    (attention, "node Transpose 'the_key' moves the axis of the rows"),
    (convolution, "node Conv 'the_conv' is a convolution"),
    (recurrent, "node LSTM 'the_lstm' is recurrent"),
    (trees, "node TreeEnsembleRegressor 'the_trees' is an ensemble of trees"),
    (custom_domain, "node com.example.FusedGelu 'the_gelu' is an operator of the domain 'com.example'"),
    (quantised, "node QuantizeLinear 'the_q' rounds the units"),
    (gated, "node Mul 'the_y' joins two values that both differ from row to row"),
    (several_labels, "node Sigmoid 'the_y' answers 4 probabilities that do not add up to 1"),
    (mean_of_units, "node ReduceMean 'the_y'"),
    (over_the_rows, "node Softmax 'the_y' takes the softmax along another axis"),
    (unknown_function, "Exp 'the_b' ends an elementwise function that is none of Axon's activations"),
)


@pytest.mark.parametrize(("make", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_graph_that_is_no_mlp_is_refused_with_the_node(
    make: Callable[[], onnx.ModelProto], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(make(), path)
    assert main(["import", str(path), "--store", str(tmp_path / "store")]) == 2
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("graph/[0-9]*"))


def test_logits_and_one_number_from_0_to_1_need_a_word_of_the_user(tmp_path: Path) -> None:
    logits = graph_of([node("MatMul", "x w", "y")])
    with pytest.raises(ImportRefused, match="--task classification or give --labels"):
        read_onnx(logits)
    read = read_onnx(logits, labels=["a", "b", "c", "d"])
    assert read.imported.config.output == "softmax"
    with pytest.raises(ImportRefused, match="3 labels are given for 4 classes"):
        read_onnx(logits, labels=["a", "b", "c"])
    column = GENERATOR.normal(size=(4, 1)).astype(np.float32)
    share = graph_of([node("MatMul", "x w", "a"), node("Sigmoid", "a", "y")], {"w": column})
    with pytest.raises(ImportRefused, match="one number from 0 to 1"):
        read_onnx(share)
    assert read_onnx(share, task="classification").imported.config.output == "sigmoid"
    assert read_onnx(share, task="regression").imported.config.output == "linear"


def test_several_outputs_need_a_choice() -> None:
    column = GENERATOR.normal(size=(4, 1)).astype(np.float32)
    two = graph_of(
        [node("MatMul", "x w", "a"), node("Relu", "a", "h"), node("MatMul", "h v", "y"), node("MatMul", "h u", "z")],
        {"v": column, "u": 2 * column},
        outputs=("y", "z"),
    )
    with pytest.raises(ImportRefused, match="'y', 'z': say which one Axon shall answer"):
        read_onnx(two)
    assert read_onnx(two, output="z").outputs == ("z",)
    with pytest.raises(ImportRefused, match="has no output 'none'"):
        read_onnx(two, output="none")


def test_a_file_whose_answers_differ_is_refused_with_the_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A ReLU that is flat from 13 to 15 is a ReLU at the numbers that functions are recognised by: to 12.5, from 16.
    bend, end = np.array(13.0, dtype=np.float32), np.array(15.0, dtype=np.float32)
    column = np.full((4, 1), 1.0, dtype=np.float32)
    model = graph_of(
        [
            node("MatMul", "x v", "a"),
            node("Relu", "a", "b"),
            node("Greater", "a bend", "far"),
            node("Less", "a end", "near"),
            node("And", "far near", "flat"),
            node("Where", "flat bend b", "c"),
            node("Mul", "c one", "y"),
        ],
        {"v": 4 * column, "bend": bend, "end": end, "one": np.array(1.0, dtype=np.float32)},
    )
    path = tmp_path / "graph.onnx"
    onnx.save(model, path)
    assert main(["import", str(path), "--store", str(tmp_path / "store"), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "The greatest difference is that of the row x0=" in error
    assert "the original answers 13, the network" in error
    assert not list((tmp_path / "store").glob("graph/[0-9]*"))


def external(location: str, folder: Path, **entries: str) -> Path:
    """Writes a model whose weights are in another file."""
    model = graph_of([node("MatMul", "x w", "y")])
    tensor = model.graph.initializer[0]
    raw = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "inside").mkdir()
    (folder / "outside.bin").write_bytes(raw)
    (folder / "inside" / "inside.bin").write_bytes(raw)
    (folder / "inside" / "link.bin").symlink_to(folder / "outside.bin")
    path = folder / "inside" / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", "link.bin", ""])
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"outside the folder of the \.onnx file"):
        read_onnx(external(location, tmp_path), task="classification")


def test_weights_in_the_folder_are_read(tmp_path: Path) -> None:
    assert read_onnx(external("inside.bin", tmp_path), task="classification").imported.config.parameter_count == 20


@pytest.mark.parametrize("entries", [{"offset": "60"}, {"length": "9999999999999"}, {"offset": "-4"}, {"offset": "x"}])
def test_weights_that_are_not_all_there_are_refused(entries: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"tensor 'w'|not a valid ONNX model"):
        read_onnx(external("inside.bin", tmp_path, **entries), task="classification")


def doubling(times: int) -> onnx.ModelProto:
    """Returns a graph that doubles the width of a row many times."""
    nodes = [helper.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], name=f"c{i}", axis=1) for i in range(times)]
    return graph_of([node("Identity", "x", "v0"), *nodes, node("Identity", f"v{times}", "y")])


def great_constant() -> onnx.ModelProto:
    return graph_of(
        [node("ConstantOfShape", "shape", "c"), node("ReduceSum", "c", "s", keepdims=0), node("Add", "x s", "y")],
        {"shape": np.array([1 << 20, 1 << 20])},
    )


def outer_product() -> onnx.ModelProto:
    return graph_of(
        [node("Add", "tall wide", "c"), node("ReduceSum", "c", "s", keepdims=0), node("Add", "x s", "y")],
        {"tall": np.zeros((1 << 17, 1), np.float32), "wide": np.zeros((1, 1 << 17), np.float32)},
    )


def cycle() -> onnx.ModelProto:
    return graph_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Identity", "a", "y")])


def endless_function() -> onnx.ModelProto:
    model = graph_of([helper.make_node("F0", ["x"], ["y"], domain="own")], domains=["own"])
    for depth in range(40):
        called = f"F{depth + 1}" if depth < 39 else "Relu"
        domain = "own" if depth < 39 else ""
        nodes = [
            helper.make_node(called, ["a"], ["b"], domain=domain),
            helper.make_node(called, ["b"], ["c"], domain=domain),
        ]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"F{depth}", ["a"], ["c"], nodes, opsets))
    return model


@pytest.mark.parametrize("make", [lambda: doubling(60), great_constant, outer_product, cycle, endless_function])
@pytest.mark.slow
def test_a_hostile_graph_is_refused_soon_and_needs_little_memory(
    make: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(make().SerializeToString())
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30,) * 2);"
        "from axon.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "import", str(path), "--store", str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not an onnx file at all", b"\x08\x08"])
def test_a_file_that_is_no_onnx_is_refused(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(content)
    assert main(["import", str(path), "--store", str(tmp_path / "store")]) == 2
    assert "is not an ONNX file" in capsys.readouterr().err


def test_a_damaged_file_is_refused_or_read_but_never_crashes() -> None:
    content = next(case for case in CASES if case.file == "penguins-mlp").path.read_bytes()
    generator = np.random.default_rng(8)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in generator.integers(len(damaged), size=3):
            damaged[place] = generator.integers(256)
        try:
            read_onnx(bytes(damaged))
        except axon_errors():
            refused += 1
    assert refused > 20


def axon_errors() -> type[Exception]:
    from models.errors import AxonError

    return AxonError


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "none.onnx"), "--store", str(tmp_path / "store")]) == 2
    assert "none.onnx cannot be read: No such file" in capsys.readouterr().err
    assert main(["import", str(tmp_path), "--store", str(tmp_path / "store")]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_a_dry_run_shows_what_the_graph_is_and_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in CASES if case.file == "penguins-mlp")
    command = ["import", str(case.path), "--store", str(tmp_path / "store"), "--dry-run", "--rows", str(PENGUINS)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    for words in ("one of Biscoe, Dream, Torgersen", "Linear", "ReLU", "ONNX Runtime", "at most 1e-06", "dry run"):
        assert words in shown
    assert not (tmp_path / "store").exists()


def test_the_result_as_json_names_version_columns_and_the_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = next(case for case in CASES if case.file == "iris-mlp")
    store = tmp_path / "store"
    command = ["import", str(case.path), "--store", str(store), "--alias", "production", "--json"]
    assert main(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "iris-mlp@1"
    assert record["columns"] == ["x0", "x1", "x2", "x3"]
    assert record["labels"] == ["setosa", "versicolor", "virginica"]
    assert record["parameters"] == 4 * 10 + 10 + 10 * 3 + 3
    assert record["greatest_difference"] <= 1e-6
    assert axon.load("iris-mlp@production", store=store).classes == ("setosa", "versicolor", "virginica")
