"""ONNX graphs in a program: activations in the exporters' operators, heads, columns, and `axon.publish`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import CASES, FLOWER, PENGUINS, SPECIES, flowers, runtime_answers
from torch.nn import functional

import axon
from conversion.importing.agreement import agreed
from conversion.importing.imported_model import Disagreement, ImportRefused
from conversion.importing.onnx_graph.scalar_function import GRID, Form, ScalarFunction, values_of
from conversion.importing.onnx_model import OnnxModel, read_onnx
from models.answering import Answerer
from models.errors import RowError

Written = Sequence[tuple[Any, ...]]  # operator, inputs, output, and attributes if it has some


def model_of(
    written: Written,
    constants: dict[str, Any] | None = None,
    *,
    inputs: dict[str, tuple[int, Sequence[int | None]]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> onnx.ModelProto:
    """Returns a model of operators; constants without a type are float32."""
    nodes = []
    for op, taken, made, *attributes in written:
        domain = "ai.onnx.ml" if op in ("Scaler", "Imputer", "OneHotEncoder", "LabelEncoder", "ZipMap") else ""
        given = attributes[0] if attributes else {}
        nodes.append(helper.make_node(op, taken.split(), made.split(), domain=domain, name=f"the_{made}", **given))
    tensors = []
    for name, array in (constants or {}).items():
        plain = np.asarray(array)
        tensors.append(numpy_helper.from_array(plain.astype(np.float32) if plain.dtype == float else plain, name))
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in (inputs or {"x": (TensorProto.FLOAT, (None, 4))}).items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in outputs],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def compared(read: OnnxModel) -> float:
    """Returns the greatest difference between the graph and the network, which the comparison allows."""
    return agreed(read.imported, read.sample(), name="test").worst


def numbers(*shape: int, seed: int = 0) -> Any:
    """Returns normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


# How exporters write activations, from z to a.
WRITTEN: dict[str, tuple[Written, dict[str, float]]] = {
    "gelu": (
        [
            ("Div", "z root", "s"),
            ("Erf", "s", "e"),
            ("Add", "e one", "f"),
            ("Mul", "z f", "g"),
            ("Mul", "g half", "a"),
        ],
        {"root": 2**0.5, "one": 1.0, "half": 0.5},
    ),
    "gelu_tanh": (
        [
            ("Pow", "z three", "p"),
            ("Mul", "p small", "q"),
            ("Add", "z q", "r"),
            ("Mul", "r root", "s"),
            ("Tanh", "s", "t"),
            ("Add", "t one", "u"),
            ("Mul", "half z", "v"),
            ("Mul", "v u", "a"),
        ],
        {"three": 3.0, "small": 0.044715, "root": (2 / np.pi) ** 0.5, "one": 1.0, "half": 0.5},
    ),
    "silu": ([("Mul", "z slope", "s"), ("Sigmoid", "s", "g"), ("Mul", "z g", "a")], {"slope": 1.702}),
    "mish": ([("Softplus", "z", "s"), ("Tanh", "s", "t"), ("Mul", "z t", "a")], {}),
    "hardswish": (
        [("Add", "z three", "s"), ("Clip", "s zero six", "c"), ("Mul", "z c", "m"), ("Div", "m six", "a")],
        {"three": 3.0, "zero": 0.0, "six": 6.0},
    ),
    "softplus": (
        [("Exp", "z", "e"), ("Add", "e one", "f"), ("Log", "f", "a")],
        {"one": 1.0},
    ),
    "sigmoid": (
        [("Neg", "z", "n"), ("Exp", "n", "e"), ("Add", "e one", "f"), ("Reciprocal", "f", "a")],
        {"one": 1.0},
    ),
    "leaky_relu": ([("Mul", "z small", "s"), ("Max", "z s", "a")], {"small": 0.125}),
    "softsign": ([("Abs", "z", "b"), ("Add", "one b", "c"), ("Div", "z c", "a")], {"one": 1.0}),
    "hardtanh": ([("Relu", "z", "r"), ("Min", "r six", "a")], {"six": 6.0}),
    "logsigmoid": ([("Neg", "z", "n"), ("Softplus", "n", "s"), ("Neg", "s", "a")], {}),
    "elu": (
        [
            ("Exp", "z", "e"),
            ("Sub", "e one", "f"),
            ("Mul", "f alpha", "g"),
            ("Greater", "z zero", "h"),
            ("Where", "h z g", "a"),
        ],
        {"one": 1.0, "alpha": 0.75, "zero": 0.0},
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_an_activation_is_recognised_in_the_operators_that_exporters_write(name: str) -> None:
    written, constants = WRITTEN[name]
    model = model_of(
        [("MatMul", "x first", "product"), ("Add", "product bias", "z"), *written, ("MatMul", "a last", "y")],
        {**constants, "first": numbers(4, 5), "bias": numbers(5, seed=1), "last": numbers(5, 1, seed=2)},
    )
    read = read_onnx(model)
    kinds = [layer.activation or layer.kind for layer in read.imported.config.sequence]
    same = {"logsigmoid": "softplus"}  # ln σ(z) = -softplus(-z)
    assert kinds == ["linear", same.get(name, name), "linear"]
    assert compared(read) <= 1e-5


@pytest.mark.parametrize(
    "function",
    [lambda t: t**3, lambda t: np.exp(-(t**2)), np.sin, lambda t: np.abs(t), lambda t: np.tanh(t) * t, np.square],
)
def test_other_functions_are_not_taken_for_an_activation(function: Callable[[Any], Any]) -> None:
    form = ScalarFunction.of(function).recognised()
    # |t| is a leaky ReLU of slope -1
    assert form is None or np.abs(values_of(form) - function(GRID)).max() < 1e-12


def test_a_form_with_all_its_numbers_is_found_again() -> None:
    def written(numbers: Any) -> Any:
        return -2.5 * functional.mish(torch.tensor(1.5 * numbers)).numpy() + 0.25

    found = ScalarFunction.of(written, frozenset({1.5})).recognised()
    assert found is not None
    assert (found.activation, found.in_scale) == ("mish", 1.5)
    assert found.out_scale == pytest.approx(-2.5)
    assert found.out_shift == pytest.approx(0.25)
    assert Form().is_affine


# Bounds that rows of N(0, 1) do not reach, from z to a.
BOUNDED: dict[str, tuple[Written, dict[str, float]]] = {
    "min, max": ([("Min", "z most", "m"), ("Max", "m least", "a")], {"most": 150.0, "least": 0.0}),
    "relu, clip": ([("Relu", "z", "r"), ("Clip", "r zero most", "a")], {"zero": 0.0, "most": 100.0}),
    "relu, min": ([("Relu", "z", "r"), ("Min", "r most", "a")], {"most": 20.0}),
    "where": ([("Greater", "z most", "g"), ("Where", "g most z", "a")], {"most": 100.0}),
    "scaled": (
        [("Mul", "z minus", "n"), ("Max", "n zero", "r"), ("Min", "r most", "a")],
        {"minus": -0.5, "zero": 0.0, "most": 40.0},
    ),
    "leaky, max": ([("LeakyRelu", "z", "r", {"alpha": 0.25}), ("Max", "r least", "a")], {"least": -30.0}),
    "tanh of bounded": ([("Max", "z least", "m"), ("Softplus", "m", "a")], {"least": -200.0}),
    "both far": ([("Max", "z least", "m"), ("Min", "m most", "a")], {"least": -5e4, "most": 2e5}),
}


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_far_bound_behind_another_function_is_kept(name: str, hidden: bool) -> None:
    written, constants = BOUNDED[name]
    first: Written = (
        [("MatMul", "x first", "product"), ("Add", "product bias", "z")] if hidden else [("Identity", "x", "z")]
    )
    tensors = {"first": numbers(4, 5), "bias": numbers(5, seed=1)} if hidden else {}
    last = numbers(5 if hidden else 4, 1, seed=2)
    model = model_of([*first, *written, ("MatMul", "a last", "y")], {**constants, **tensors, "last": last})
    read = read_onnx(model)
    rows = (numbers(1_000, 4, seed=3) * 10.0 ** np.arange(1_000)[:, None] ** 0.25).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": rows})[0][:, 0]
    answers = np.array(Answerer(read.imported.checkpoint()).predict(rows.astype(float).tolist()))
    assert np.abs(answers - expected).max() <= 1e-5 * np.abs(expected).max()
    assert (np.abs(answers - expected) <= 1e-4 * np.abs(expected) + 1e-4 * np.abs(rows).max(axis=1)).all()


def test_affine_operators_on_columns_and_units_are_folded_in_float64() -> None:
    read = read_onnx(
        model_of(
            [
                ("Gather", "x order", "g", {"axis": 1}),
                ("Slice", "g from to last", "s"),
                ("Concat", "g s", "c", {"axis": 1}),
                ("Sub", "c shift", "d"),
                ("Gemm", "d w b", "e", {"alpha": 0.5, "beta": 2.0, "transB": 1}),
                ("Unsqueeze", "e last", "f"),
                ("Squeeze", "f last", "h"),
                ("Transpose", "h", "i", {"perm": [0, 1]}),
                ("Relu", "i", "r"),
                ("Split", "r", "left right", {"axis": 1}),
                ("Sub", "left right", "j"),
                ("ReduceSum", "ones", "two", {"keepdims": 0}),
                ("Mul", "j two", "k"),
                ("MatMul", "k v", "y"),
            ],
            {
                "order": np.array([3, -4, 1]),
                "from": np.array([1]),
                "to": np.array([3]),
                "last": np.array([1]),
                "shift": numbers(5),
                "w": numbers(6, 5),
                "b": numbers(6, seed=1),
                "ones": np.ones(2),
                "v": numbers(3, 1, seed=2),
            },
        )
    )
    assert compared(read) <= 1e-5
    assert read.unused == ("x2",)
    assert read.imported.schema.names == ("x0", "x1", "x3")


def test_gaps_filled_by_where_become_columns_that_take_gaps() -> None:
    model = model_of(
        [
            ("IsNaN", "x", "gap"),
            ("Where", "gap fill x", "filled"),
            ("MatMul", "filled w", "y"),
        ],
        {"fill": np.array([1.0, 2.0, 3.0, 4.0]), "w": numbers(4, 1)},
    )
    read = read_onnx(model)
    assert {column.missing for column in read.imported.schema.columns} == {"mean"}
    rows = [[None, 0.5, None, 1.0], [1.0, 0.5, 3.0, 1.0]]
    answers = Answerer(read.imported.checkpoint()).predict(rows)
    assert answers[0] == pytest.approx(answers[1], rel=1e-6)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.array([[np.nan if cell is None else cell for cell in row] for row in rows], dtype=np.float32)
    assert session.run(None, {"x": given})[0][:, 0] == pytest.approx(answers, rel=1e-5)


def test_an_input_of_truth_values_takes_nothing_else() -> None:
    model = model_of(
        [("Cast", "flag", "number", {"to": 1}), ("MatMul", "number w", "y")],
        {"w": np.array([[2.0]])},
        inputs={"flag": (TensorProto.BOOL, (None, 1))},
    )
    read = read_onnx(model)
    assert compared(read) < 1e-6
    answerer = Answerer(read.imported.checkpoint())
    assert answerer.predict([[True], [False]]) == pytest.approx([2.0, 0.0], abs=1e-6)
    with pytest.raises(RowError, match="2 is not a category of this column, which knows 'false', 'true'"):
        answerer.predict([[2]])


def test_flags_made_by_comparison_become_categories() -> None:
    read = read_onnx(
        model_of(
            [
                ("LabelEncoder", "colour", "code", {"keys_strings": ["red", "blue"], "values_int64s": [0, 1]}),
                ("Equal", "code all", "flags"),
                ("Cast", "flags", "numbers", {"to": 1}),
                ("Concat", "size numbers", "joined", {"axis": 1}),
                ("MatMul", "joined w", "y"),
            ],
            {"all": np.array([0, 1]), "w": numbers(3, 1)},
            inputs={"size": (TensorProto.FLOAT, (None, 1)), "colour": (TensorProto.STRING, (None, 1))},
        )
    )
    size, colour = read.imported.schema.columns
    assert size.name == "size"
    assert colour.kind == "categorical"
    assert colour.categories == ("red", "blue")
    assert compared(read) <= 1e-5


def test_spellings_that_are_one_for_axon_and_two_for_the_graph_are_refused() -> None:
    model = model_of(
        [
            ("OneHotEncoder", "colour", "flags", {"cats_strings": ["true", "TRUE"]}),
            ("Reshape", "flags two", "flat"),
            ("MatMul", "flat w", "y"),
        ],
        {"two": np.array([-1, 2]), "w": numbers(2, 1)},
        inputs={"colour": (TensorProto.STRING, (None, 1))},
    )
    with pytest.raises(ImportRefused, match=r"OneHotEncoder 'the_flags'.* are one for Axon"):
        read_onnx(model)


def test_weights_in_half_precision_are_taken_as_they_are() -> None:
    model = model_of(
        [("Cast", "half", "w", {"to": 1}), ("MatMul", "x w", "m"), ("Softmax", "m", "y")],
        {"half": numbers(4, 3).astype(np.float16)},
    )
    read = read_onnx(model)
    assert compared(read) <= 1e-6


def test_layers_keep_the_names_of_their_weights() -> None:
    case = next(case for case in CASES if case.file == "torch-script17")
    names = [layer.name for layer in read_onnx(case.path).imported.config.sequence if layer.kind == "linear"]
    assert names == ["net.0", "net.3", "net.5"]


def test_the_reference_of_onnx_answers_where_onnx_runtime_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.file == "penguins-mlp")
    expected = runtime_answers(case, case.rows())
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    read = read_onnx(case.path)
    assert read.engine.startswith("the reference implementation of ONNX")
    assert compared(read) <= 1e-6
    rows = [list(row) for row in zip(*case.rows().values(), strict=True)]
    assert np.abs(read.imported.original(rows) - expected).max() <= 1e-6


def test_publish_takes_a_file_a_model_and_rows_of_a_frame(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.file == "torch-script11")
    frame = pd.DataFrame(flowers())
    options: dict[str, Any] = {"labels": list(SPECIES), "target": "species", "store": tmp_path}
    assert str(axon.publish(case.path, name="flowers", rows=frame, **options)) == "flowers@1"
    assert str(axon.publish(onnx.load(case.path), name="flowers", columns=FLOWER, **options)) == "flowers@2"
    first, second = (axon.load(f"flowers@{version}", store=tmp_path) for version in (1, 2))
    assert first.columns == second.columns == FLOWER
    assert np.abs(first.predict_proba(frame) - runtime_answers(case, flowers())).max() <= 1e-6
    assert np.abs(second.predict_proba(frame) - runtime_answers(case, flowers())).max() <= 1e-6
    ranges = [(column.minimum, column.maximum) for column in first.checkpoint.schema.columns]
    assert ranges[0] == (frame["sepal_length"].min(), frame["sepal_length"].max())


def test_publish_refuses_arguments_that_are_for_other_models(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.file == "torch-script11")
    with pytest.raises(ImportRefused, match="mean= is for torch modules"):
        axon.publish(case.path, name="flowers", mean=[0.0] * 4, store=tmp_path)
    with pytest.raises(ImportRefused, match="task= and output= are for ONNX graphs"):
        axon.publish({"0.weight": torch.zeros(1, 1)}, name="flowers", task="regression", store=tmp_path)


def test_rows_of_a_frame_with_gaps_compare_a_pipeline(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.file == "penguins-mlp")
    frame = pd.read_csv(PENGUINS)
    published = axon.publish(case.path, name="penguins", rows=frame, target="species", store=tmp_path)
    model = axon.load(str(published), store=tmp_path)
    assert np.mean([got == told for got, told in zip(model.predict(frame), frame["species"], strict=True)]) > 0.95


def rounding_graph() -> onnx.ModelProto:
    """Returns a graph whose rounding in 32 bits is more than the comparison allows: a Log of a Sigmoid."""
    return model_of(
        [("MatMul", "x w", "m"), ("Add", "m b", "z"), ("Sigmoid", "z", "s"), ("Log", "s", "a"), ("MatMul", "a v", "y")],
        {"w": 0.5 * numbers(4, 5), "b": numbers(5, seed=1), "v": numbers(5, 1, seed=2)},
    )


def test_a_graph_that_onnx_runtime_rounds_is_compared_in_64_bits(tmp_path: Path) -> None:
    model = rounding_graph()
    read = read_onnx(model)
    with pytest.raises(Disagreement):
        agreed(read.imported, read.sample(), name="test")
    with pytest.warns(UserWarning, match="rounds this graph: its own answers are up to"):
        published = axon.publish(model, name="rounded", store=tmp_path)
    rows = np.random.default_rng(3).normal(size=(1_000, 4)).astype(np.float32)
    wide = rows.astype(np.float64)
    z = wide @ read_weight(model, "w") + read_weight(model, "b")
    exact = -np.logaddexp(0, -z) @ read_weight(model, "v")
    answers = axon.load(str(published), store=tmp_path).predict(rows)
    assert np.abs(np.array(answers) - exact[:, 0]).max() <= 1e-5 * exact.std()


def read_weight(model: onnx.ModelProto, name: str) -> Any:
    """Returns a constant of a model in float64."""
    tensor = next(one for one in model.graph.initializer if one.name == name)
    return numpy_helper.to_array(tensor).astype(np.float64)
