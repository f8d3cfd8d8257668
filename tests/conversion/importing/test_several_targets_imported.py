"""Models of torch, scikit-learn and ONNX with several targets: the original and Axon answer the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, MultiTaskLasso, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from torch import nn

import axon
from axon.cli import main
from conversion.importing.agreement import agreed
from conversion.importing.imported_model import Disagreement, ImportRefused
from conversion.importing.torch_model import import_torch
from models.checkpoint import Checkpoint
from models.columns.schema import NumericColumn, NumericTarget, ValuesTarget
from models.store import Store

NAMES = ["rent", "sold", "cost"]
RNG = np.random.default_rng(2)
X = pd.DataFrame(
    {
        "size": np.where(RNG.random(300) < 0.1, np.nan, RNG.normal(80, 20, 300)),
        "year": RNG.integers(1950, 2020, 300).astype(float),
        "city": RNG.choice(np.array(["Ulm", "Bonn", "Kiel"], dtype=object), 300),
    }
)
Y = np.stack(
    [
        X["size"].fillna(80) / 8 + 3 * (X.city == "Ulm") + RNG.normal(0, 1, 300),
        1.7e9 + 3e6 * RNG.normal(0, 1, 300) + 1e5 * (X.year - 1985),
        -0.2 + 0.001 * (X.year - 1985) + RNG.normal(0, 0.02, 300),
    ],
    axis=1,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def published(store: Store, model: Any, **arguments: Any) -> Checkpoint:
    return store.resolve(str(axon.publish(model, name="m", store=store, **arguments))).load().checkpoint


def values(checkpoint: Checkpoint, rows: Any) -> np.ndarray:
    return np.asarray(axon.model.Answerer(checkpoint).answers(rows), dtype=np.float64)


def assert_alike(checkpoint: Checkpoint, rows: Any, wanted: np.ndarray) -> None:
    apart = np.abs(values(checkpoint, rows) - wanted)
    assert (apart.max(axis=0) <= 1e-5 * wanted.std(axis=0)).all(), apart.max(axis=0) / wanted.std(axis=0)


def prepared() -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_column_transformer((numbers, ["size", "year"]), (OneHotEncoder(handle_unknown="ignore"), ["city"]))


ESTIMATORS = {
    "linear": LinearRegression(),
    "ridge": Ridge(alpha=0.3),
    "lasso": MultiTaskLasso(alpha=0.1),
    "scaled mlp": TransformedTargetRegressor(
        MLPRegressor(hidden_layer_sizes=(8, 6), activation="tanh", max_iter=30, random_state=0),
        transformer=StandardScaler(),
    ),
    "scaled ridge": TransformedTargetRegressor(Ridge(), transformer=MinMaxScaler((-1, 2))),
    "search": GridSearchCV(Ridge(), {"alpha": [0.1, 10]}),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_pipeline_of_scikit_learn_answers_all_its_targets(store: Store, name: str) -> None:
    model = make_pipeline(prepared(), ESTIMATORS[name]) if name != "search" else ESTIMATORS[name]
    rows = X if name != "search" else X[["year"]]
    model.fit(rows, Y)
    checkpoint = published(store, model, target=NAMES, rows=rows)
    assert isinstance(checkpoint.schema.target, ValuesTarget)
    assert checkpoint.schema.target.names == tuple(NAMES)
    assert checkpoint.config.task == "regression"
    assert_alike(checkpoint, rows, model.predict(rows))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_mlp_of_scikit_learn_without_names_of_columns(store: Store) -> None:
    x, y = (StandardScaler().fit_transform(table) for table in (X[["size", "year"]].fillna(80).to_numpy(), Y))
    model = MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0).fit(x, y)
    checkpoint = published(store, model, target=("a", "b", "c"))
    assert_alike(checkpoint, x, model.predict(x))


def module(out: int = 3) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, out))


def answers(network: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network.double()(torch.from_numpy(x)).numpy()


def test_a_module_of_torch_answers_a_value_for_each_name(store: Store) -> None:
    x = RNG.normal(size=(200, 2))
    checkpoint = published(store, module(), columns=["p", "q"], target=NAMES)
    assert checkpoint.schema.target.name == "rent, sold, cost"
    assert_alike(checkpoint, x, answers(module(), x))


def test_a_module_of_standardised_targets_answers_in_their_units(store: Store) -> None:
    """Checks far targets, which get an origin each, so that 32 bits keep their digits."""
    targets = tuple(
        NumericTarget(name=name, mean=mean, std=std, minimum=None, maximum=None)
        for name, mean, std in (("rent", 12.0, 4.0), ("sold", 1.7e9, 20.0), ("cost", -0.2, 0.05))
    )
    x = RNG.normal(size=(200, 2))
    checkpoint = published(store, module(), columns=["p", "q"], target=ValuesTarget(targets=targets))
    wanted = answers(module(), x) * [4.0, 20.0, 0.05] + [12.0, 1.7e9, -0.2]
    assert_alike(checkpoint, x, wanted)
    assert [target.origin for target in checkpoint.schema.values] == [0.0, 1.7e9, 0.0]


def test_a_module_that_adds_a_far_number_keeps_its_digits(store: Store) -> None:
    network = module()
    with torch.no_grad():
        network[2].bias[1] = 1.6e7
    x = RNG.normal(size=(200, 2))
    checkpoint = published(store, network, columns=["p", "q"], target=NAMES)
    assert_alike(checkpoint, x, answers(network, x))
    origins = [target.origin for target in checkpoint.schema.values]
    assert abs(origins[1] - 1.6e7) < 10
    assert origins[0] == origins[2] == 0


def test_a_difference_of_one_small_target_is_found(store: Store) -> None:
    """Breaks the smaller of two targets; the spread of the other, a million times larger, must not hide the error."""
    network = module(2)
    with torch.no_grad():
        network[2].weight[1] *= 1e6
    imported = import_torch(network, columns=[column("p"), column("q")], target=["small", "large"])
    tensors = dict(imported.tensors)
    name = next(name for name, tensor in tensors.items() if tensor.shape == (2,))
    tensors[name] = tensors[name] + [1e-3, 0]
    object.__setattr__(imported, "tensors", tensors)
    with pytest.raises(Disagreement, match=r"values of 'small' differ by .* small .*|small .* values of 'small'"):
        agreed(imported, name="m")


def column(name: str) -> NumericColumn:
    return NumericColumn(name=name, mean=0.0, std=1.0, minimum=None, maximum=None)


def graph(folder: Path, out: int = 3, last: str | None = None) -> Path:
    """Writes an ONNX file of two products, and perhaps a function at the end."""
    one, two = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 6), (6, out)))
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["h"]),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "two"], ["y" if last is None else "z"]),
    ]
    if last is not None:
        nodes.append(helper.make_node(last, ["z"], ["y"]))
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", out])],
        [numpy_helper.from_array(one, "one"), numpy_helper.from_array(two, "two")],
    )
    path = folder / f"g{out}{last}.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {"x": x.astype(np.float32)})[0].astype(np.float64)


@pytest.mark.parametrize("last", [None, "Sigmoid"])
def test_an_onnx_graph_answers_a_value_for_each_name(store: Store, tmp_path: Path, last: str | None) -> None:
    path = graph(tmp_path, last=last)
    x = RNG.normal(size=(200, 2)).astype(np.float32)
    checkpoint = published(store, path, target=NAMES)
    assert [target.name for target in checkpoint.schema.values] == NAMES
    assert_alike(checkpoint, x, run(path, x))


def test_the_command_names_the_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = graph(tmp_path)
    options = ["--store", str(tmp_path / "store"), "--target", "rent, sold,cost"]
    assert main(["import", str(path), *options]) == 0
    assert "Answer: rent, sold, cost, from the output y" in capsys.readouterr().out
    assert main(["import", str(path), *options, "--dry-run", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["targets"], record["labels"], record["task"]) == (NAMES, None, "regression")


def test_an_export_with_several_targets_comes_back(store: Store, tmp_path: Path) -> None:
    first = published(store, module(), columns=["p", "q"], target=NAMES)
    (path,) = axon.load("m", store=store).export(tmp_path / "m.onnx")
    second = published(store, path)
    assert [target.name for target in second.schema.values] == NAMES
    x = RNG.normal(size=(50, 2))
    assert_alike(second, x, values(first, x))


def test_names_that_do_not_fit_are_refused(store: Store, tmp_path: Path) -> None:
    named = {"columns": ["p", "q"]}
    several = LinearRegression().fit(X[["year"]], Y)
    exponential = TransformedTargetRegressor(LinearRegression(), func=np.log, inverse_func=np.exp)
    exponential.fit(X[["year"]], Y[:, :2] - Y[:, :2].min(axis=0) + 1)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (module(), named, r"3 outputs: name the classes with labels=\[…\], or the values with target=\[…\]"),
        (module(), {**named, "target": ["a", "b"]}, "3 outputs, and target= names 2 values"),
        (module(1), {**named, "target": ["a", "b"]}, "1 output, and target= names 2 values"),
        (module(), {**named, "target": NAMES, "labels": [1, 2, 3]}, "leave one of them out"),
        (module(), {**named, "target": []}, "a list of names, one for each value"),
        (several, {}, r"the model has 3 targets: name each of them, in order, with target=\[…\]"),
        (several, {"target": ["a", "b"]}, "the model has 3 targets"),
        (exponential, {"target": ["a", "b"]}, "exponentials of 2 targets, and Axon has that output for one target"),
        (LinearRegression().fit(X[["year"]], Y[:, 0]), {"target": ["a", "b"]}, "the model has 1 target:"),
        (RidgeClassifier().fit(X[["year"]], X.city), {"target": ["a", "b"]}, "answers one class a row"),
        (graph(tmp_path), {}, "if they are values, name each with --target A,B"),
        (graph(tmp_path), {"target": ["a", "b"]}, "2 targets are named, and the graph answers 3 values"),
        (graph(tmp_path, 1), {"target": ["a", "b"]}, "2 targets are named, and the graph answers 1 value:"),
        (graph(tmp_path, last="Softmax"), {"target": ["a", "b"]}, "answers one class a row, and 2 targets are named"),
    ]
    for model, arguments, words in cases:
        with pytest.raises(ImportRefused, match=words):
            axon.publish(model, name="m", store=store, **arguments)


def test_a_name_of_one_value_may_have_a_comma(store: Store, tmp_path: Path) -> None:
    assert published(store, graph(tmp_path, 1), target="price, net").schema.target.name == "price, net"
