"""Makes the ONNX files of this folder: from torch by both exporters, and from scikit-learn by skl2onnx.

The files are kept, since the dynamo exporter needs `onnxscript`, which the tests do not. To make them again:

    pip install onnxscript skl2onnx
    python tests/conversion/importing/onnx_files/make_onnx_files.py
"""

# ruff: noqa: T201
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import torch
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, SGDClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, RobustScaler, StandardScaler
from torch import nn

FOLDER = Path(__file__).parent
PENGUINS = FOLDER.parent / "tables" / "penguins.csv"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm"]
Made = tuple[str, onnx.ModelProto]


class Layers(nn.Module):
    """Layers with an activation of each kind, after a reshape by the number of rows."""

    def __init__(self, *layers: nn.Module, divisor: float = 1.0) -> None:
        super().__init__()
        self.net, self.divisor = nn.Sequential(*layers), divisor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answers rows."""
        return self.net(x.view(x.size(0), -1) / self.divisor)


class TwoInputs(nn.Module):
    """Two inputs that are joined, and a value without the axis of the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 1)

    def forward(self, size: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
        """Answers rows."""
        joined = torch.cat([(size - 1.5) / 4.0, rest], dim=1)
        return nn.functional.softplus(self.second(torch.tanh(self.first(joined)))).squeeze(-1)


def seeded(module: nn.Module) -> nn.Module:
    """Returns a module with random weights, and statistics of normalisations as after training."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module.eval()


def by_script(module: nn.Module, inputs: tuple[torch.Tensor, ...], opset: int, *, any_rows: bool = True) -> Any:
    """Exports a module by the TorchScript exporter."""
    path = FOLDER / "script.onnx"
    names = ["x"] if len(inputs) == 1 else ["size", "rest"]
    axes = {name: {0: "rows"} for name in names} if any_rows else None
    torch.onnx.export(
        module,
        inputs,
        path,
        opset_version=opset,
        dynamo=False,
        input_names=names,
        output_names=["y"],
        dynamic_axes=axes,
    )
    model = onnx.load(path)
    path.unlink()
    return model


def by_dynamo(module: nn.Module, inputs: tuple[torch.Tensor, ...], opset: int) -> Any:
    """Exports a module by the dynamo exporter."""
    rows = torch.export.Dim("rows", min=1)
    shapes = tuple({0: rows} for _ in inputs)
    program = torch.onnx.export(module, inputs, opset_version=opset, dynamo=True, dynamic_shapes=shapes, verbose=False)
    return program.model_proto


def from_torch() -> Iterator[Made]:
    """Yields the models of torch."""
    x, square = torch.randn(5, 4), torch.randn(5, 1, 8, 8)
    yield (
        "torch-script9",
        by_script(
            seeded(Layers(nn.Linear(4, 12), nn.LayerNorm(12), nn.GELU(), nn.Linear(12, 3), nn.Softmax(1))), (x,), 9
        ),
    )
    yield (
        "torch-script11",
        by_script(
            seeded(Layers(nn.BatchNorm1d(4), nn.Linear(4, 10), nn.BatchNorm1d(10), nn.Mish(), nn.Linear(10, 3))),
            (x,),
            11,
        ),
    )
    mixed = Layers(nn.Linear(4, 24), nn.SiLU(), nn.LayerNorm(24), nn.Linear(24, 8), nn.PReLU(8), nn.Linear(8, 1))
    yield "torch-script17", by_script(seeded(mixed), (x,), 17)
    yield (
        "torch-script20",
        by_script(
            seeded(
                Layers(
                    nn.Linear(64, 16), nn.GELU("tanh"), nn.Dropout(), nn.Linear(16, 10), nn.LogSoftmax(-1), divisor=32.0
                )
            ),
            (square,),
            20,
        ),
    )
    yield (
        "torch-one-row",
        by_script(
            seeded(nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(0.2), nn.Linear(6, 1), nn.Sigmoid())),
            (x[:1],),
            13,
            any_rows=False,
        ),
    )
    hard = Layers(nn.Linear(4, 8), nn.Hardswish(), nn.Linear(8, 8), nn.ReLU6(), nn.Linear(8, 8), nn.Softplus(2.0))
    yield "torch-dynamo18", by_dynamo(seeded(nn.Sequential(hard, nn.Linear(8, 3), nn.Softmax(1))), (x,), 18)
    soft = Layers(nn.Linear(4, 8), nn.CELU(1.3), nn.Linear(8, 8), nn.SELU(), nn.Linear(8, 8), nn.Softsign())
    yield "torch-dynamo21", by_dynamo(seeded(nn.Sequential(soft, nn.Linear(8, 1))), (x,), 21)
    yield "torch-two-inputs", by_dynamo(seeded(TwoInputs()), (torch.randn(5, 1), torch.randn(5, 2)), 18)


def from_hand() -> Iterator[Made]:
    """Yields a model in the style of other frameworks' exporters: MatMul, Add, and a scaler of Sub and Div."""
    generator = np.random.default_rng(3)
    weights = {
        "mean": np.array([5.8, 3.0, 3.7, 1.2]),
        "deviation": np.array([0.8, 0.4, 1.7, 0.7]),
        "kernel": generator.normal(size=(4, 7)),
        "bias": generator.normal(size=7),
        "kernel_1": generator.normal(size=(7, 3)),
        "bias_1": generator.normal(size=3),
    }
    nodes = [
        helper.make_node("Sub", ["flower", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "kernel"], ["product"], name="dense/MatMul"),
        helper.make_node("Add", ["product", "bias"], ["sum"], name="dense/BiasAdd"),
        helper.make_node("Elu", ["sum"], ["active"], alpha=0.7),
        helper.make_node("MatMul", ["active", "kernel_1"], ["product_1"], name="dense_1/MatMul"),
        helper.make_node("Add", ["product_1", "bias_1"], ["logits"], name="dense_1/BiasAdd"),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "by-hand",
        [helper.make_tensor_value_info("flower", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    yield "by-hand", helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def by_skl2onnx(model: Any, inputs: list[tuple[str, Any]], **options: Any) -> Any:
    """Exports a fitted model."""
    return convert_sklearn(model, initial_types=inputs, **options)


def penguins() -> pd.DataFrame:
    """Returns the penguins; gaps of texts are empty texts, since a graph has no other."""
    table = pd.read_csv(PENGUINS)
    texts = table.select_dtypes(exclude="number").columns
    return table.assign(**{name: table[name].fillna("").astype(object) for name in texts})


def inputs_of(names: list[str]) -> list[tuple[str, Any]]:
    """Returns an input for each column of the penguins."""
    kinds: dict[str, Callable[..., Any]] = {
        "year": Int64TensorType,
        "island": StringTensorType,
        "sex": StringTensorType,
    }
    return [(name, kinds.get(name, FloatTensorType)([None, 1])) for name in names]


def from_penguins() -> Iterator[Made]:
    """Yields pipelines with categories and gaps."""
    table = penguins()
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore")
    columns = [*NUMBERS, "island", "sex"]
    species = table["species"]
    prepared = ColumnTransformer([("numbers", numbers, NUMBERS), ("names", one_hot, ["island", "sex"])])
    mlp = MLPClassifier((16, 8), random_state=1, max_iter=300)
    yield "penguins-mlp", by_skl2onnx(make_pipeline(prepared, mlp).fit(table[columns], species), inputs_of(columns))
    frequent = SimpleImputer(strategy="most_frequent", missing_values="")
    names = make_pipeline(frequent, OneHotEncoder(handle_unknown="ignore", sparse_output=False))
    prepared = ColumnTransformer([("numbers", numbers, NUMBERS), ("names", names, ["island", "sex"])])
    logistic = make_pipeline(prepared, LogisticRegression(max_iter=2000)).fit(table[columns], species)
    yield "penguins-logistic", by_skl2onnx(logistic, inputs_of(columns), options={"zipmap": False})
    heavy = table.dropna(subset=["body_mass_g"])
    columns = [*NUMBERS, "year", "island"]
    prepared = ColumnTransformer(
        [
            ("numbers", numbers, NUMBERS),
            ("year", OneHotEncoder(handle_unknown="ignore"), ["year"]),
            ("island", OrdinalEncoder(), ["island"]),
        ]
    )
    network = MLPRegressor(hidden_layer_sizes=(12,), activation="tanh", random_state=1, max_iter=300)
    fitted = make_pipeline(prepared, network).fit(heavy[columns], heavy["body_mass_g"] / 1000)
    yield "penguins-mass", by_skl2onnx(fitted, inputs_of(columns))
    prepared = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("names", OneHotEncoder(drop="first"), ["year", "island"])]
    )
    fitted = make_pipeline(prepared, Ridge()).fit(heavy[columns], heavy["body_mass_g"])
    yield "penguins-ridge", by_skl2onnx(fitted, inputs_of(columns))


def from_numbers() -> Iterator[Made]:
    """Yields models of scikit-learn's tables of numbers."""
    iris, cancer, digits = (load(return_X_y=True) for load in LOADERS)
    inputs = [("X", FloatTensorType([None, 4]))]
    flowers = np.array(["setosa", "versicolor", "virginica"])[iris[1]]
    fitted = make_pipeline(StandardScaler(), MLPClassifier((10,), random_state=1, max_iter=400)).fit(iris[0], flowers)
    yield "iris-mlp", by_skl2onnx(fitted, inputs)
    fitted = make_pipeline(PCA(3), RobustScaler(), LogisticRegression()).fit(*iris)
    yield "iris-pca-double", by_skl2onnx(fitted, [("X", DoubleTensorType([None, 4]))], options={"zipmap": False})
    inputs = [("X", FloatTensorType([None, 30]))]
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(*cancer)
    yield "cancer-logistic", by_skl2onnx(fitted, inputs)
    network = MLPClassifier((12,), activation="logistic", random_state=1, max_iter=300)
    yield "cancer-mlp", by_skl2onnx(make_pipeline(MinMaxScaler(), network).fit(*cancer), inputs)
    fitted = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=1, alpha=0.1)).fit(*cancer)
    yield "cancer-sgd", by_skl2onnx(fitted, inputs)
    inputs = [("X", FloatTensorType([None, 64]))]
    yield "digits-perceptron", by_skl2onnx(Perceptron(random_state=1).fit(*digits), inputs)
    diabetes = datasets.load_diabetes(return_X_y=True, scaled=False)
    yield "diabetes-linear", by_skl2onnx(LinearRegression().fit(*diabetes), [("X", FloatTensorType([None, 10]))])


LOADERS = (datasets.load_iris, datasets.load_breast_cancer, datasets.load_digits)


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model without the stack traces that the dynamo exporter adds."""
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def main() -> None:
    """Writes the files."""
    warnings.simplefilter("ignore")
    for made in (from_torch, from_hand, from_penguins, from_numbers):
        for name, model in made():
            onnx.checker.check_model(model)
            onnx.save(stripped(model), FOLDER / f"{name}.onnx")
            print(name, model.ByteSize())
    model = onnx.load(FOLDER / "torch-dynamo18.onnx")
    onnx.save(
        model, FOLDER / "torch-external.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64
    )


if __name__ == "__main__":
    main()
