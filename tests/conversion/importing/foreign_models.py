"""Models of torch and of scikit-learn, trained on real tables with categories and gaps, and their own answers.

The penguins (Gorman, Williams & Fraser 2014; public domain) have gaps and categories; the other tables are
scikit-learn's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from torch import nn

from models.columns.column import CategoricalColumn, NumericColumn
from models.columns.schema import NumericTarget

NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "year"]
ROWS = 1_000


@dataclass(kw_only=True)
class Foreign:
    """A foreign model with rows, and the model's answers to the rows.

    Attributes:
        model: object to publish.
        rows: frame of `ROWS` rows.
        probabilities: `(rows, classes)`; None for a regression and for a classifier without.
        predictions: label or value of each row.
        arguments: further arguments of `axon.publish`.
    """

    model: Any
    rows: pd.DataFrame
    probabilities: Any
    predictions: list[Any]
    arguments: dict[str, Any] = field(default_factory=dict)


def penguins() -> pd.DataFrame:
    frame = pd.read_csv(Path(__file__).parent / "tables/penguins.csv")
    return frame.astype({"island": object, "sex": object, "species": object})


def prepared(numbers: Any = None, categories: Any = None, columns: list[str] | None = None) -> ColumnTransformer:
    """Returns the usual preparation of the penguins: numbers imputed and scaled, categories encoded."""
    return ColumnTransformer(
        [
            ("numbers", numbers or make_pipeline(SimpleImputer(), StandardScaler()), columns or NUMBERS),
            (
                "categories",
                categories or OneHotEncoder(handle_unknown="ignore"),
                make_column_selector(dtype_include=object),
            ),
        ]
    )


def sampled(frame: pd.DataFrame, *, gaps: float = 0.05, unknown: float = 0.0, seed: int = 7) -> pd.DataFrame:
    """Returns `ROWS` rows of a frame with shifted numbers, more gaps and unknown categories."""
    generator = np.random.default_rng(seed)
    rows = frame.iloc[generator.integers(len(frame), size=ROWS)].reset_index(drop=True)
    for name in rows:
        if pd.api.types.is_numeric_dtype(rows[name]):
            rows[name] = rows[name] + generator.normal(0, 0.3 * float(frame[name].std()), ROWS)
        elif unknown:
            rows.loc[generator.random(ROWS) < unknown, name] = "somewhere else"
        if gaps:
            rows.loc[generator.random(ROWS) < gaps, name] = np.nan
    return rows


def of_sklearn(model: Any, x: Any, y: Any, *, gaps: float = 0.0, unknown: float = 0.0, **arguments: Any) -> Foreign:
    """Fits a model, and asks the fitted model about `ROWS` rows."""
    frame = x if isinstance(x, pd.DataFrame) else pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])])
    rows = sampled(frame, gaps=gaps, unknown=unknown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations, unknown categories
        model = model.fit(x, y)
        asked = rows if isinstance(x, pd.DataFrame) else rows.to_numpy()
        probabilities = model.predict_proba(asked) if hasattr(model, "predict_proba") else None
        predictions = model.predict(asked).ravel().tolist()
    return Foreign(model=model, rows=rows, probabilities=probabilities, predictions=predictions, arguments=arguments)


def _species(estimator: Any, steps: Any = None, **options: Any) -> Callable[[], Foreign]:
    def make() -> Foreign:
        frame = penguins()
        pipeline = Pipeline([("prepared", clone(steps) if steps is not None else prepared()), ("model", estimator)])
        return of_sklearn(pipeline, frame.drop(columns="species"), frame.species, **options)

    return make


def _sex(estimator: Any, steps: Any = None, **options: Any) -> Callable[[], Foreign]:
    def make() -> Foreign:
        frame = penguins().dropna(subset="sex")
        pipeline = make_pipeline(clone(steps) if steps is not None else prepared(), estimator)
        return of_sklearn(pipeline, frame.drop(columns="sex"), frame.sex == "male", **options)

    return make


def _mass(estimator: Any, numbers: Any = None, categories: Any = None, **options: Any) -> Callable[[], Foreign]:
    def make() -> Foreign:
        frame = penguins().dropna(subset="body_mass_g")
        columns = [name for name in NUMBERS if name != "body_mass_g"]
        pipeline = make_pipeline(prepared(numbers, categories, columns), estimator)
        return of_sklearn(pipeline, frame.drop(columns="body_mass_g"), frame.body_mass_g, **options)

    return make


def _numeric(model: Any, loader: str, *, frame: bool = False, **options: Any) -> Callable[[], Foreign]:
    def make() -> Foreign:
        x, y = getattr(datasets, loader)(return_X_y=True, as_frame=frame)
        return of_sklearn(clone(model), x, y, **options)

    return make


def _mlp(kind: Any = MLPClassifier, **settings: Any) -> Any:
    return kind(hidden_layer_sizes=(24, 12), max_iter=60, random_state=0, **settings)


_IN_STEPS = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
_NONE = SimpleImputer(strategy="constant", fill_value="none")
_CONSTANT = make_pipeline(_NONE, OneHotEncoder(handle_unknown="ignore", drop="first"))
_DENSE = OneHotEncoder(handle_unknown="ignore", sparse_output=False)

SKLEARN: dict[str, Callable[[], Foreign]] = {
    "logistic-three": _species(LogisticRegression(max_iter=500), gaps=0.05, unknown=0.05),
    "logistic-two": _sex(LogisticRegression(max_iter=500), gaps=0.05, unknown=0.05),
    "logistic-searched": _numeric(
        GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]}, cv=2
        ),
        "load_breast_cancer",
    ),
    "mlp-three": _species(_mlp(), prepared(make_pipeline(SimpleImputer(), MinMaxScaler())), gaps=0.05, unknown=0.05),
    "mlp-two-tanh": _sex(_mlp(activation="tanh"), prepared(categories=OneHotEncoder(drop="if_binary")), gaps=0.0),
    "mlp-logistic-infrequent": _species(
        _mlp(activation="logistic"),
        prepared(categories=OneHotEncoder(min_frequency=60, handle_unknown="infrequent_if_exist")),
        gaps=0.05,
        unknown=0.05,
    ),
    "mlp-indicator": _species(
        _mlp(), prepared(make_pipeline(SimpleImputer(strategy="median", add_indicator=True), RobustScaler())), gaps=0.1
    ),
    "mlp-digits": _numeric(make_pipeline(MinMaxScaler(), _mlp()), "load_digits"),
    "mlp-frame": _numeric(make_pipeline(StandardScaler(), _mlp()), "load_wine", frame=True),
    "mlp-mass": _mass(_mlp(MLPRegressor, learning_rate_init=0.05), gaps=0.05, unknown=0.05),
    "mlp-mass-scaled": _mass(
        TransformedTargetRegressor(_mlp(MLPRegressor), transformer=StandardScaler()), categories=_IN_STEPS, gaps=0.05
    ),
    "perceptron": _species(
        Perceptron(),
        prepared(
            categories=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
        ),
        gaps=0.05,
        unknown=0.05,
    ),
    "perceptron-two": _sex(Perceptron(), gaps=0.05),
    "ridge-classifier": _species(RidgeClassifier(), prepared(categories=_CONSTANT), gaps=0.05),
    "svm": _sex(LinearSVC(), prepared(categories=TargetEncoder(cv=2)), gaps=0.0, unknown=0.05),
    "sgd": _species(SGDClassifier(loss="log_loss", alpha=0.01, random_state=0), gaps=0.05),
    "discriminant": _numeric(make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()), "load_wine"),
    "ridge": _mass(Ridge(), gaps=0.05, unknown=0.05),
    "linear": _numeric(LinearRegression(), "load_diabetes", frame=True),
    "poisson": _mass(PoissonRegressor(), gaps=0.05, unknown=0.05),
    "gamma": _numeric(make_pipeline(StandardScaler(), GammaRegressor()), "load_diabetes"),
    "tweedie-identity": _numeric(make_pipeline(StandardScaler(), TweedieRegressor(power=0)), "load_diabetes"),
    "mlp-logarithm": _numeric(
        make_pipeline(
            StandardScaler(), TransformedTargetRegressor(_mlp(MLPRegressor), func=np.log, inverse_func=np.exp)
        ),
        "load_diabetes",
    ),
    "elastic-net-of-parts": _mass(
        make_pipeline(PCA(4, whiten=True), ElasticNet(alpha=0.01)), categories=_DENSE, gaps=0.05
    ),
    "chosen-of-two": _numeric(
        make_pipeline(
            FeatureUnion([("scaled", MaxAbsScaler()), ("parts", PCA(3))], transformer_weights={"parts": 0.5}),
            VarianceThreshold(),
            SelectKBest(k=6),
            LogisticRegression(max_iter=2000),
        ),
        "load_wine",
    ),
}


class AsWritten(nn.Module):
    """A module with functions, a layer used twice, constants, and a squeeze at the end."""

    def __init__(self, width: int, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.first = nn.Linear(width, 16)
        self.again = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.mean) / self.std
        x = nn.functional.relu(self.first(x))
        x = self.drop(torch.tanh(self.again(x)))
        x = nn.functional.leaky_relu(self.again(x), 0.2)
        x = nn.functional.dropout(self.norm(x).sigmoid(), 0.5, training=self.training)
        return self.out(x).squeeze(-1)


def trained(module: nn.Module, x: Any, y: Any, loss: Any, steps: int = 60) -> nn.Module:
    """Trains a module for some steps, so that weights and running statistics are no initial ones."""
    x, y = torch.tensor(np.array(x), dtype=torch.float32), torch.tensor(np.array(y))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(module(x), y).backward()
        optimizer.step()
    return module


def of_torch(
    module: nn.Module,
    asked: pd.DataFrame,
    x: Any,
    *,
    published: Any = None,
    last: Callable[[torch.Tensor], torch.Tensor] | None = None,
    **arguments: Any,
) -> Foreign:
    """Asks a module about rows, in float64.

    Args:
        module: trained module.
        asked: frame to send.
        x: matrix that the module takes for these rows.
        published: object to publish; the module if None.
        last: function from the module's outputs to probabilities; None for a regression.
        **arguments: arguments of `axon.publish`.
    """
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    was_training = module.training
    with torch.no_grad():
        answers = module.double().eval()(torch.tensor(np.array(x), dtype=torch.float64))
    module.float().train(was_training)
    module.load_state_dict(state)
    answers = answers.reshape(len(asked), -1)
    labels = arguments.get("labels")
    probabilities = None if last is None else last(answers).numpy()
    if probabilities is None:
        predictions = answers[:, 0].tolist()
    else:
        predictions = [labels[place] for place in probabilities.argmax(axis=1)]
    return Foreign(
        model=module if published is None else published,
        rows=asked,
        probabilities=probabilities,
        predictions=predictions,
        arguments=arguments,
    )


def _softmax(answers: torch.Tensor) -> torch.Tensor:
    return torch.softmax(answers, dim=1)


def _both(answers: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.sigmoid(-answers), torch.sigmoid(answers)], dim=1)


def _wine() -> tuple[pd.DataFrame, Any, Any, Any]:
    x, y = datasets.load_wine(return_X_y=True, as_frame=True)
    return sampled(x, gaps=0), x, y.to_numpy(), (x.mean().to_numpy(), x.std().to_numpy())


GRAPES = ["barolo", "grignolino", "barbera"]


def _usual(folder: Path, *, saved: str = "") -> Foreign:
    rows, x, y, (mean, std) = _wine()
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Linear(13, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )
    trained(module, (x - mean) / std, y, nn.functional.cross_entropy)
    arguments: dict[str, Any] = {"columns": list(x), "labels": GRAPES, "mean": mean, "std": std}
    published: Any = None
    if saved:
        arguments |= {"activation": "relu", "layer_sizes": [13, 32, 16, 3]}
        published = module.state_dict()
    if saved == "file":
        published = folder / "wine.safetensors"
        safetensors.torch.save_file(module.state_dict(), published)
    return of_torch(module, rows, (rows - mean) / std, published=published, last=_softmax, **arguments)


def _log_softmax(folder: Path) -> Foreign:
    rows, x, y, (mean, std) = _wine()
    torch.manual_seed(2)
    inner = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 20), nn.ELU(0.5), nn.LayerNorm(20), nn.PReLU(20))
    module = nn.Sequential(inner, nn.Linear(20, 3, bias=False), nn.LogSoftmax(dim=-1))
    trained(module, (x - mean) / std, y, nn.functional.nll_loss)
    own = {"mean": mean, "std": std, "labels": GRAPES, "columns": list(x)}
    return of_torch(module, rows, (rows - mean) / std, last=torch.exp, **own)


def _one_output(folder: Path) -> Foreign:
    rows, x, y, (mean, std) = _wine()
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(13, 12), nn.SiLU(), nn.Linear(12, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 1))
    wanted = (y == 0).astype("float32")[:, None]
    trained(module, (x - mean) / std, wanted, nn.functional.binary_cross_entropy_with_logits)
    own = {"mean": mean, "std": std, "labels": [False, True], "columns": list(x)}
    return of_torch(module, rows, (rows - mean) / std, last=_both, **own)


def _as_written(folder: Path) -> Foreign:
    rows, x, y, (mean, std) = _wine()
    torch.manual_seed(4)
    module = AsWritten(13, torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32))
    trained(module, x, y.astype("float32"), nn.functional.mse_loss)
    return of_torch(module, rows, rows, columns=list(x), target="grower", rows=x)


def _many_activations(folder: Path) -> Foreign:
    x, y = datasets.load_diabetes(return_X_y=True, as_frame=True)
    rows = sampled(x, gaps=0)
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    activations = (
        nn.Softplus(2.0),
        nn.Hardtanh(-0.5, 2.0),
        nn.CELU(0.7),
        nn.Mish(),
        nn.SELU(),
        nn.Softsign(),
        nn.ReLU6(),
    )
    width = 10
    for activation in activations:
        layers += [nn.Linear(width, 12), activation]
        width = 12
    module = nn.Sequential(*layers, nn.utils.parametrizations.weight_norm(nn.Linear(12, 1)))
    mean, std, spread = x.mean().to_numpy(), x.std().to_numpy(), float(y.std())
    wanted = (y.to_numpy() - y.mean()) / spread
    trained(module, (x - mean) / std, wanted.astype("float32")[:, None], nn.functional.mse_loss, steps=150)
    target = NumericTarget(name="progression", mean=float(y.mean()), std=spread, minimum=None, maximum=None)
    foreign = of_torch(module, rows, (rows - mean) / std, columns=list(x), target=target, mean=mean, std=std)
    foreign.predictions = [value * spread + target.mean for value in foreign.predictions]
    return foreign


def _own_columns(folder: Path) -> Foreign:
    frame = penguins()[["bill_length_mm", "year", "island"]]
    numbers = frame[["bill_length_mm", "year"]]
    mean, std, islands = numbers.mean(), numbers.std(), ("Biscoe", "Dream", "Torgersen")
    columns = [
        NumericColumn(name=name, mean=mean[name], std=std[name], minimum=None, maximum=None, missing="mean")
        for name in numbers
    ]
    island = CategoricalColumn(name="island", categories=islands, unknown="ignore", missing="ignore")

    def encoded(some: pd.DataFrame) -> Any:
        flags = np.stack([(some.island == name).to_numpy(dtype=float) for name in islands], axis=1)
        return np.hstack([((some[list(numbers)] - mean) / std).fillna(0).to_numpy(), flags])

    torch.manual_seed(6)
    module = nn.Sequential(nn.Linear(5, 16), nn.Hardswish(), nn.Linear(16, 3))
    species = penguins().species
    names = sorted(set(species))
    trained(module, encoded(frame), [names.index(name) for name in species], nn.functional.cross_entropy)
    rows = sampled(frame, gaps=0.05, unknown=0.05)
    return of_torch(module, rows, encoded(rows), last=_softmax, columns=[*columns, island], labels=names)


TORCH: dict[str, Callable[[Path], Foreign]] = {
    "torch-usual": _usual,
    "torch-state": lambda folder: _usual(folder, saved="state"),
    "torch-file": lambda folder: _usual(folder, saved="file"),
    "torch-log-softmax": _log_softmax,
    "torch-one-output": _one_output,
    "torch-as-written": _as_written,
    "torch-many-activations": _many_activations,
    "torch-own-columns": _own_columns,
}


def foreign_models(folder: Path) -> Iterator[tuple[str, Foreign]]:
    """Yields every model with its name, trained anew."""
    for name, make in SKLEARN.items():
        yield name, make()
    for name, make_torch in TORCH.items():
        yield name, make_torch(folder)
