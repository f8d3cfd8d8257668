"""Outputs of ONNX graphs: which of several counts, which labels, rules beside the network, and numbers from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from conversion.importing.agreement import agreed
from conversion.importing.imported_model import ImportRefused
from conversion.importing.onnx_model import OnnxModel, read_onnx
from models.answering import Answerer

_ML = ("LinearClassifier", "LabelEncoder", "OneHotEncoder", "ZipMap")
_KINDS = {
    "label": TensorProto.INT64,
    "name": TensorProto.STRING,
    "color": TensorProto.INT64,
    "shape": TensorProto.INT64,
}


def graph_of(
    nodes: Sequence[tuple[Any, ...]],
    outputs: str,
    constants: dict[str, Any] | None = None,
    inputs: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """Returns a graph of nodes: operator, inputs, outputs, and attributes if there are some."""
    made = []
    for op, taken, given, *attributes in nodes:
        domain = "ai.onnx.ml" if op in _ML else ""
        own = attributes[0] if attributes else {}
        made.append(helper.make_node(op, taken.split(), given.split(), domain=domain, name=f"the_{given}", **own))
    tensors = []
    for name, value in (constants or {}).items():
        array = np.asarray(value)
        tensors.append(numpy_helper.from_array(array.astype(np.float32) if array.dtype == float else array, name))
    columns = inputs or {"x": TensorProto.FLOAT}
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info(name, kind, [None, 4 if name == "x" else 1]) for name, kind in columns.items()],
        [
            helper.make_tensor_value_info(
                name, _KINDS.get(name, TensorProto.FLOAT), [None] if name in _KINDS and not inputs else [None, None]
            )
            for name in outputs.split()
        ],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


def run(model: onnx.ModelProto, output: str, x: Any) -> Any:
    """Returns ONNX Runtime's answers to a matrix of numbers."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"x": x})[0])


def assert_same_labels(model: onnx.ModelProto, read: OnnxModel, output: str) -> None:
    """Compares the labels of Axon's network with those that ONNX Runtime gives."""
    x = numbers(500, 4, seed=9).astype(np.float32)
    checkpoint = agreed(read.imported, read.sample(), name="test").checkpoint
    places = np.asarray(Answerer(checkpoint).answers(x.tolist())).argmax(axis=1)
    labels = checkpoint.schema.target.labels  # type: ignore[union-attr]
    assert [labels[place] for place in places] == run(model, output, x).ravel().tolist()


BODY = [("MatMul", "x w", "a"), ("Relu", "a", "h"), ("MatMul", "h v", "logits")]
WEIGHTS = {"w": numbers(4, 5), "v": numbers(5, 3, seed=1)}
ARGMAX = {"axis": 1, "keepdims": 0}


def test_two_heads_that_each_choose_a_class_need_a_choice() -> None:
    model = graph_of(
        [
            *BODY,
            ("MatMul", "h u", "other"),
            ("ArgMax", "logits", "color", ARGMAX),
            ("ArgMax", "other", "shape", ARGMAX),
        ],
        "color shape",
        {**WEIGHTS, "u": numbers(5, 4, seed=2)},
    )
    with pytest.raises(
        ImportRefused, match=r"'color' and 'shape' come from different scores .* which one \(--output\)"
    ):
        read_onnx(model)
    for output in ("color", "shape"):
        assert_same_labels(model, read_onnx(model, output=output), output)


OTHER_CHOICES: dict[str, tuple[list[tuple[Any, ...]], dict[str, Any]]] = {
    "shifted": ([("Add", "logits c", "moved"), ("ArgMax", "moved", "label", ARGMAX)], {"c": np.array([0.0, 1.0, 2.0])}),
    "weighted": (
        [("Mul", "logits c", "moved"), ("ArgMax", "moved", "label", ARGMAX)],
        {"c": np.array([1.0, 1.0, 2.0])},
    ),
    "turned": ([("Neg", "logits", "moved"), ("ArgMax", "moved", "label", ARGMAX)], {}),
    "of another head": (
        [("MatMul", "h u", "moved"), ("ArgMax", "moved", "label", ARGMAX)],
        {"u": numbers(5, 3, seed=2)},
    ),
    "of an inner layer": ([("ArgMax", "h", "label", ARGMAX)], {}),
}


@pytest.mark.parametrize("name", OTHER_CHOICES)
def test_a_class_that_is_not_the_most_probable_one_needs_a_choice(name: str) -> None:
    nodes, constants = OTHER_CHOICES[name]
    model = graph_of([*BODY, ("Softmax", "logits", "p"), *nodes], "p label", {**WEIGHTS, **constants})
    with pytest.raises(ImportRefused, match=r"'p' and 'label' come from different scores .* which one \(--output\)"):
        read_onnx(model)
    assert_same_labels(model, read_onnx(model, output="label"), "label")


SAME_CHOICES: dict[str, tuple[list[tuple[Any, ...]], dict[str, Any]]] = {
    "logits": ([("ArgMax", "logits", "label", ARGMAX)], {}),
    "probabilities": ([("ArgMax", "p", "label", ARGMAX)], {}),
    "a temperature": ([("Div", "logits c", "moved"), ("ArgMax", "moved", "label", ARGMAX)], {"c": np.array(1.7)}),
    "one shift": ([("Add", "logits c", "moved"), ("ArgMax", "moved", "label", ARGMAX)], {"c": np.array(0.3)}),
}


@pytest.mark.parametrize("name", SAME_CHOICES)
def test_the_most_probable_class_may_be_an_output_of_its_own(name: str) -> None:
    nodes, constants = SAME_CHOICES[name]
    model = graph_of([*BODY, ("Softmax", "logits", "p"), *nodes], "label p", {**WEIGHTS, **constants})
    assert_same_labels(model, read_onnx(model), "label")


CLASSIFIER = {
    "coefficients": numbers(4).tolist(),
    "intercepts": [0.1],
    "classlabels_ints": [0, 1],
    "post_transform": "LOGISTIC",
}
RENAMED = ("LabelEncoder", "label", "name", {"keys_int64s": [0, 1], "values_strings": ["ham", "spam"]})


@pytest.mark.parametrize("outputs", ["name p", "p name"])
def test_the_labels_are_those_of_the_output_that_names_classes(outputs: str) -> None:
    model = graph_of([("LinearClassifier", "x", "label p", CLASSIFIER), RENAMED], outputs)
    read = read_onnx(model)
    assert read.imported.schema.target.labels == ("ham", "spam")  # type: ignore[union-attr]
    checkpoint = agreed(read.imported, read.sample(), name="test").checkpoint
    x = numbers(500, 4, seed=9).astype(np.float32)
    places = np.asarray(Answerer(checkpoint).answers(x.tolist())).argmax(axis=1)
    assert [("ham", "spam")[place] for place in places] == run(model, "name", x).ravel().tolist()


def test_outputs_with_different_labels_need_a_choice() -> None:
    model = graph_of([("LinearClassifier", "x", "label p", CLASSIFIER), RENAMED], "label name p")
    with pytest.raises(ImportRefused, match=r"'label' names the classes 0, 1, and the output 'name' ham, spam"):
        read_onnx(model)
    for output, labels in (("label", (0, 1)), ("name", ("ham", "spam")), ("p", (0, 1))):
        assert read_onnx(model, output=output).imported.schema.target.labels == labels  # type: ignore[union-attr]
    assert read_onnx(model, labels=["no", "yes"]).imported.schema.target.labels == ("no", "yes")  # type: ignore[union-attr]


CITY = {"keys_strings": ["Rome", "Oslo"], "values_int64s": [0, 1], "default_int64": 2}
TOWN = [
    ("LabelEncoder", "city", "code", CITY),
    ("Equal", "code asked", "mask"),
    ("OneHotEncoder", "city", "flags", {"cats_strings": ["Rome", "Oslo"], "zeros": 1}),
    ("Reshape", "flags flat", "units"),
    ("MatMul", "units v", "scores"),
    ("ArgMax", "scores", "best", {"axis": 1, "keepdims": 1}),
]


def towns(nodes: Sequence[tuple[Any, ...]], asked: int, mark: int, **constants: Any) -> onnx.ModelProto:
    given = {"asked": np.array([asked]), "mark": np.array(mark), "flat": np.array([-1, 2]), "v": numbers(2, 3)}
    return graph_of([*TOWN, *nodes], "label", {**given, **constants}, {"city": TensorProto.STRING})


def test_a_rule_for_a_known_category_is_refused() -> None:
    chosen = [("Where", "mask mark best", "label")]
    with pytest.raises(ImportRefused, match=r"'the_label' has a rule of its own for the category 'Rome' of .*'city'"):
        read_onnx(towns(chosen, asked=0, mark=1))
    scores = [("Where", "mask nothing scores", "left"), ("ArgMax", "left", "label", {"axis": 1, "keepdims": 1})]
    with pytest.raises(ImportRefused, match=r"'the_left' has a rule of its own for the category 'Rome' of .*'city'"):
        read_onnx(towns(scores, asked=0, mark=1, nothing=np.array(np.nan)))


@pytest.mark.parametrize(
    ("mark", "after", "shown"),
    [
        (1, [("Identity", "named", "label")], "1"),
        (-1, [("Gather", "table named", "label")], "30"),
        (3, [("LabelEncoder", "named", "label", {"keys_int64s": [0, 1, 2, 3], "values_int64s": [5, 6, 7, 5]})], "5"),
        (9, [("LabelEncoder", "named", "label", {"keys_int64s": [0, 1, 2], "values_int64s": [5, -1, 7]})], "-1"),
    ],
)
def test_a_class_for_unknown_categories_is_refused(mark: int, after: list[Any], shown: str) -> None:
    model = towns([("Where", "mask mark best", "named"), *after], asked=2, mark=mark, table=np.array([10, 20, 30]))
    with pytest.raises(ImportRefused, match=f"answers the class {shown} by a condition on cells"):
        read_onnx(model)


def test_a_mark_that_is_no_class_refuses_unknown_categories() -> None:
    read = read_onnx(towns([("Where", "mask mark best", "label")], asked=2, mark=9))
    (column,) = read.imported.schema.columns
    assert column.unknown == "refuse"  # type: ignore[union-attr]
    agreed(read.imported, read.sample(), name="test")


LINEAR = [("MatMul", "x w", "z")]
SHARES: dict[str, list[tuple[Any, ...]]] = {
    "clipped": [("Sigmoid", "z", "s"), ("Clip", "s low high", "y")],
    "a part": [("Sigmoid", "z", "s"), ("Mul", "s half", "y")],
    "hard": [("HardSigmoid", "z", "y")],
    "a bounded line": [("Clip", "z zero one", "y")],
}
BOUNDS = {
    name: np.array(number) for name, number in {"low": 0.01, "high": 0.99, "half": 0.5, "zero": 0.0, "one": 1.0}.items()
}


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("name", SHARES)
def test_numbers_from_0_to_1_are_no_logits(name: str, width: int) -> None:
    model = graph_of([*LINEAR, *SHARES[name]], "y", {"w": numbers(4, width), **BOUNDS})
    labels = ["a", "b", "c"][: max(width, 2)]
    with pytest.raises(
        ImportRefused, match=r"'y'.*numbers from 0.* only, as probabilities are.*up to the logits|do not add up"
    ):
        read_onnx(model, labels=labels)
    if width == 1:
        read = read_onnx(model, task="regression")
        agreed(read.imported, read.sample(), name="test")


def test_a_pair_of_numbers_from_0_to_1_is_no_pair_of_logits() -> None:
    nodes = [*LINEAR, ("HardSigmoid", "z", "p"), ("MatMul", "p signs", "q"), ("Add", "q first", "y")]
    constants = {"w": numbers(4, 1), "signs": np.array([[-1.0, 1.0]]), "first": np.array([1.0, 0.0])}
    with pytest.raises(ImportRefused, match=r"'y'.*numbers from 0 to 1 only, as probabilities are"):
        read_onnx(graph_of(nodes, "y", constants), labels=["no", "yes"])


WRITTEN: dict[str, tuple[list[tuple[Any, ...]], float]] = {
    "tanh": ([("Mul", "z half", "a"), ("Tanh", "a", "t"), ("Mul", "t half", "b"), ("Add", "b half", "y")], 1.0),
    "opposite": ([("Sigmoid", "z", "s"), ("Sub", "one s", "y")], -1.0),
    "opposite tanh": ([("Tanh", "z", "t"), ("Mul", "t half", "b"), ("Sub", "half b", "y")], -2.0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_sigmoid_in_other_words_is_the_probability_of_the_second_class(name: str) -> None:
    nodes, slope = WRITTEN[name]
    weight = numbers(4, 1)
    model = graph_of([*LINEAR, *nodes], "y", {"w": weight, **BOUNDS})
    with pytest.raises(ImportRefused, match="one number from 0 to 1"):
        read_onnx(model)
    read = read_onnx(model, labels=["no", "yes"])
    checkpoint = agreed(read.imported, read.sample(), name="test").checkpoint
    x = numbers(500, 4, seed=9).astype(np.float32)
    second = np.asarray(Answerer(checkpoint).answers(x.tolist()))[:, 1]
    np.testing.assert_allclose(second, run(model, "y", x).ravel(), atol=1e-6)
    z = x.astype(np.float64) @ weight.astype(np.float32)
    np.testing.assert_allclose(second, 1 / (1 + np.exp(-slope * z.ravel())), atol=1e-6)
