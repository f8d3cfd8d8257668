"""Models that are no MLPs, or answer differently: each is refused by the name of its part, and nothing is published."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from torch import nn

import axon
from conversion.importing.imported_model import Disagreement, ImportRefused
from models.errors import InvalidName
from models.store import Store

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame({"number": X[:, 0], "text": np.where(Y, " x", "x"), "other": X[:, 1]}).astype({"text": object})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def prepared(step: Any) -> Pipeline:
    return Pipeline([("prep", step), ("clf", LogisticRegression())])


SKLEARN = {
    "forest": (RandomForestClassifier(2), "the model is a RandomForestClassifier, which is neither an MLP nor"),
    "forest in a pipeline": (Pipeline([("clf", RandomForestClassifier(2))]), "pipeline step 'clf' is a RandomForest"),
    "kernel": (make_pipeline(StandardScaler(), SVC()), "pipeline step 'svc' is a SVC"),
    "clusters": (KMeans(2, n_init=1), "the model is a KMeans"),
    "poly": (prepared(FeatureUnion([("poly", PolynomialFeatures())])), "step 'prep' → transformer 'poly' is a Polynom"),
    "deep": (
        prepared(ColumnTransformer([("num", Pipeline([("rows", Normalizer())]), [0, 1])])),
        "pipeline step 'prep' → transformer 'num' → step 'rows' is a Normalizer",
    ),
    "quantiles": (prepared(QuantileTransformer(n_quantiles=5)), "step 'prep' is a QuantileTransformer"),
    "power": (prepared(PowerTransformer()), "step 'prep' is a PowerTransformer"),
    "bins": (
        prepared(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf")),
        "step 'prep' is a KBinsDiscretizer",
    ),
    "neighbours": (prepared(KNNImputer()), "step 'prep' is a KNNImputer"),
    "function": (prepared(FunctionTransformer(np.tanh)), "step 'prep' applies the function tanh"),
    "clip": (prepared(MinMaxScaler(clip=True)), "step 'prep' clips its features"),
    "other gaps": (prepared(SimpleImputer(missing_values=0.0)), "takes 0.0 for a missing value"),
    "scaled flags": (
        prepared(make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore"))),
        "step 'onehotencoder' encodes features that another step has made",
    ),
    "huber": (SGDClassifier(loss="modified_huber"), "probabilities of loss='modified_huber'"),
    "function of the target": (
        TransformedTargetRegressor(LinearRegression(), func=np.sinh, inverse_func=np.arcsinh),
        "transformer is a FunctionTransformer, whose inverse is neither affine nor np.exp",
    ),
    "shifted logarithm": (
        TransformedTargetRegressor(PoissonRegressor(), transformer=MinMaxScaler((1, 2))),
        "shifts the values of a logarithmic link",
    ),
}


@pytest.mark.parametrize("name", SKLEARN)
def test_a_step_of_scikit_learn_is_named(store: Store, name: str) -> None:
    model, expected = SKLEARN[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, Y)
    with pytest.raises(ImportRefused) as refused:
        axon.publish(model, name="m", store=store)
    assert expected in str(refused.value)
    assert store.names() == []


def test_several_targets_and_labels_are_refused(store: Store) -> None:
    both = np.column_stack([Y, 1 - Y])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [LinearRegression().fit(X, both), MLPRegressor(hidden_layer_sizes=(2,), max_iter=2).fit(X, both)]
        labels = MLPClassifier(hidden_layer_sizes=(2,), max_iter=2).fit(X, both)
    for model in models:
        with pytest.raises(ImportRefused, match="2 targets"):
            axon.publish(model, name="m", store=store)
    three = np.column_stack([Y, 1 - Y, Y])  # as many labels as scores
    for model in (labels, *(kind().fit(X, y) for kind in (RidgeClassifier, RidgeClassifierCV) for y in (both, three))):
        with pytest.raises(ImportRefused, match="several labels a row, and Axon answers one"):
            axon.publish(model, name="m", store=store)
    assert store.names() == []


def test_models_that_are_not_fitted_or_not_known_are_refused(store: Store) -> None:
    with pytest.raises(ImportRefused, match="not fitted"):
        axon.publish(LogisticRegression(), name="m", store=store)
    with pytest.raises(ImportRefused, match="a list is no model"):
        axon.publish([1, 2], name="m", store=store)
    own = type("LogisticRegression", (LogisticRegression,), {"__module__": "mine"})().fit(X, Y)
    with pytest.raises(ImportRefused, match="no model that Axon can import"):
        axon.publish(own, name="m", store=store)


def test_categories_that_are_one_for_axon_are_refused(store: Store) -> None:
    steps = ColumnTransformer([("texts", OneHotEncoder(), ["text"])])
    with pytest.raises(ImportRefused, match=r"the categories ' x' and 'x' of column 'text' are one for Axon"):
        axon.publish(make_pipeline(steps, LogisticRegression()).fit(FRAME, Y), name="m", store=store)


def test_names_that_do_not_fit_are_refused(store: Store) -> None:
    model = LogisticRegression().fit(X, Y)
    with pytest.raises(ImportRefused, match="names 2 columns, and the model was trained with 3"):
        axon.publish(model, name="m", store=store, columns=["a", "b"])
    framed = LogisticRegression().fit(pd.DataFrame(X, columns=NAMES), Y)
    with pytest.raises(ImportRefused, match="the model was trained with"):
        axon.publish(framed, name="m", store=store, columns=["c", "b", "a"])
    with pytest.raises(InvalidName):
        axon.publish(model, name="no/name", store=store)
    with pytest.raises(InvalidName, match="cannot be an alias"):
        axon.publish(model, name="m", store=store, alias="latest")
    assert store.names() == []


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.out = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x + self.fc(x))


class Branches(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(-x if x.sum() > 0 else x)


class Sorted(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.sort(self.fc(x)).values)


class Reshaped(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.view(x.shape[0], -1))


class Always(Residual):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(nn.functional.dropout(x, 0.5))


class Two(Residual):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.fc(x)
        return hidden, self.out(hidden)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated
        return torch.jit.script(nn.Sequential(nn.Linear(3, 2)))


TORCH = {
    "convolution": (nn.Sequential(nn.Linear(3, 3), nn.Conv1d(1, 1, 1)), "layer '1' is of type Conv1d"),
    "recurrence": (nn.Sequential(nn.Linear(3, 4), nn.ModuleDict({"cell": nn.LSTM(4, 2)})["cell"]), "type LSTM"),
    "embedding": (nn.Sequential(nn.Embedding(3, 3), nn.Linear(3, 2)), "layer '0' is of type Embedding"),
    "softmax inside": (nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)), "layer '1' is a softmax before"),
    "softmax over rows": (nn.Sequential(nn.Linear(3, 2), nn.Softmax(0)), "step '1' is a softmax over dimension 0"),
    "sigmoids": (nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), "layer '1' is a sigmoid for each of 2 classes"),
    "batch statistics": (
        nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)),
        "layer '1' is a BatchNorm without running statistics",
    ),
    "residual": (Residual(), "step 'add' (add) joins two branches"),
    "branches": (Branches(), "the forward pass of Branches cannot be traced"),
    "sort": (Sorted(), "the function sort"),
    "view": (Reshaped(), "step 'getattr_1'"),
    "dropout": (Always(), "step 'dropout' of the forward pass drops units in evaluation, too"),
    "two answers": (Two(), "returns something other than the result of its last step"),
    "own layer": (nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 2)), "layer '1' is of type Bilinear"),
    "no linear": (nn.Sequential(nn.ReLU()), "the module has no Linear"),
    "wider": (nn.Sequential(nn.Linear(4, 2)), "the module takes 4 features, and the columns give 3"),
    "outputs": (nn.Sequential(nn.Linear(3, 5)), "the module has 5 outputs, and labels= names 2 classes"),
    "script": (scripted(), "a scripted module hides its layers"),
    "nan": (nn.Sequential(nn.Linear(3, 2)), "not a finite number"),
}
with torch.no_grad():
    TORCH["nan"][0][0].weight[0, 0] = torch.nan


@pytest.mark.parametrize("name", TORCH)
def test_a_layer_or_step_of_torch_is_named(store: Store, name: str) -> None:
    module, expected = TORCH[name]
    with pytest.raises(ImportRefused) as refused:
        axon.publish(module, name="m", store=store, columns=NAMES, labels=["no", "yes"])
    assert expected in str(refused.value)
    assert store.names() == []


def test_a_module_that_hides_a_part_is_not_published_and_the_worst_row_is_shown(store: Store) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    module[0].register_forward_hook(lambda layer, given, answer: answer + 0.01)  # a trace does not see this
    with pytest.raises(Disagreement) as refused:
        axon.publish(module, name="m", store=store, columns=NAMES, labels=["no", "yes"])
    text = str(refused.value)
    assert "of 1000 rows differently, so nothing is published" in text
    for part in ("the row a=", "the original answers no 0.", "the network no 0.", "may differ by 1e-06"):
        assert part in text
    assert store.names() == []


def test_a_model_beyond_the_digits_of_float32_is_not_published_and_the_message_says_why(store: Store) -> None:
    model = LogisticRegression().fit(X[:, :2], Y)
    model.coef_, model.intercept_ = np.array([[1e3, -1e3]]), np.array([0.0])
    rows = np.column_stack([10 * X[:, 0], 10 * X[:, 0] + 1e-3 * X[:, 1]])  # scores of 10,000 that cancel
    with pytest.raises(Disagreement, match=r"the rounding of 32-bit numbers.*Scale the columns"):
        axon.publish(model, name="m", store=store, rows=rows)


def test_a_module_without_labels_is_a_regression_of_one_value(store: Store) -> None:
    for module, expected in (
        (nn.Sequential(nn.Linear(3, 2)), "the module has 2 outputs: name the classes with labels"),
        (nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(1)), "gives probabilities of 2 classes: name them with labels="),
    ):
        with pytest.raises(ImportRefused, match=expected):
            axon.publish(module, name="m", store=store, columns=NAMES)
    with pytest.raises(ImportRefused, match="does not know its columns"):
        axon.publish(nn.Linear(3, 1), name="m", store=store)


STATES: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "convolution": (
        {"c.weight": torch.ones(2, 3, 1)},
        {},
        r"layer 'c' of the state dict \(weight \(2, 3, 1\)\) is not",
    ),
    "order": (
        {"a.weight": torch.ones(4, 3), "b.weight": torch.ones(2, 5)},
        {},
        "layer 'b' of the state dict takes 5 features, and gets 4",
    ),
    "sizes": ({"a.weight": torch.ones(1, 3)}, {"layer_sizes": [3, 2]}, r"layer_sizes= says \[3, 2\].*\[3, 1\]"),
    "activation": ({"a.weight": torch.ones(1, 3)}, {"activation": "swish"}, "activation must be one of .*silu"),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_dict_that_is_no_chain_is_refused(store: Store, name: str) -> None:
    state, arguments, expected = STATES[name]
    with pytest.raises(ImportRefused, match=expected):
        axon.publish(state, name="m", store=store, columns=NAMES, **arguments)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
def test_a_pickle_is_not_read(store: Store, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"cos\nsystem\n(S'touch /tmp/ran'\ntR.")
    with pytest.raises(ImportRefused, match=r"is a pickle, which can run code.*weights_only=True"):
        axon.publish(path, name="m", store=store, columns=NAMES)


def test_axons_own_checkpoints_and_other_files_are_refused(store: Store, tmp_path: Path) -> None:
    version = axon.publish(nn.Linear(3, 1), name="m", store=store, columns=NAMES)
    with pytest.raises(ImportRefused, match="a checkpoint of Axon's own: publish it with `axon publish"):
        axon.publish(version.path, name="n", store=store, columns=NAMES)
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(ImportRefused, match=r"is no \.safetensors file"):
        axon.publish(tmp_path / "model.h5", name="n", store=store, columns=NAMES)
