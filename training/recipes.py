"""Recipes: the settings of a training run for which the user chooses no value, with the source of each part.

`default` is the recipe of RealMLP (Holzmüller, Grinsztajn & Steinwart 2024, Better by default: strong pre-tuned MLPs
and boosted trees on tabular data). It was tuned over many tables, so that users need not tune it. `classic` is the
plain recipe of textbooks. Each engine other than torch has a recipe of its own, without the parts that it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from models.network.config import Task

Engine = Literal["torch", "numpy", "perceptron", "linear"]
Recipe = Literal["default", "classic"]
Optimizer = Literal["adamw", "adam", "sgd", "perceptron", "solver"]
Schedule = Literal["cosine", "coslog4", "constant"]
Regularization = Literal["constant", "flat_cosine"]
Scaling = Literal["standard", "robust"]
Initializer = Literal["he", "xavier", "data"]
Selection = Literal["loss", "error", "balanced-error", "auc", "last"]
Metric = Literal[
    "auc",
    "log-loss",
    "accuracy",
    "balanced-accuracy",
    "f1",
    "rmse",
    "mae",
    "r2",
    "quantile",
    "poisson",
    "gamma",
    "bernoulli",
]
Precision = Literal["float32", "bfloat16"]

# Plain values of all settings; the recipes below change some of them.
_PLAIN: Mapping[str, Any] = {
    "hidden_sizes": (64, 64),
    "activation": "relu",
    "learned_activation": False,
    "dropout": 0.0,
    "normalization": "none",
    "initialization": "he",
    "parametrization": "standard",
    "scaling": "standard",
    "clip_inputs": None,
    "frequencies": 0,
    "embedding_size": 0,
    "scale_inputs": False,
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "regularization": "constant",
    "label_smoothing": 0.0,
    "drop_categories": 0.02,
    "clip_norm": 1.0,
    "batch_size": None,
    "drop_last": False,
    "epochs": 200,
    "patience": 30,
    "select_by": "loss",
    "clamp": False,
    "calibrate": True,
}

_RECIPES: Mapping[Recipe, Mapping[str, Any]] = {
    "classic": {
        **_PLAIN,
        "normalization": "batch",  # Ioffe & Szegedy 2015
        "dropout": 0.2,  # Srivastava et al. 2014
        "optimizer": "adam",  # Kingma & Ba 2015
        "learning_rate": 0.001,
    },
    "default": {
        **_PLAIN,
        "hidden_sizes": (256, 256, 256),
        "learned_activation": True,
        "dropout": 0.15,
        "initialization": "data",
        "parametrization": "ntk",
        "scaling": "robust",
        "clip_inputs": 3.0,
        "frequencies": 16,
        "embedding_size": 8,
        "scale_inputs": True,
        "beta2": 0.95,
        "schedule": "coslog4",
        "regularization": "flat_cosine",
        "clip_norm": None,
        "batch_size": 256,
        "drop_last": True,
        "epochs": 256,
        "patience": None,
    },
}
_DECAY = 0.02  # weight decay of the default recipe

# Values that depend on the task: SELU for classes and Mish for values, each with its learning rate. Label smoothing
# improves the predicted classes but makes probabilities too low; the calibration corrects that: docs/decisions/0010.
_BY_TASK: Mapping[Task, Mapping[str, Any]] = {
    "classification": {
        "activation": "selu",
        "learning_rate": 0.04,
        "label_smoothing": 0.1,
        "weight_decay": _DECAY,
        "select_by": "error",
        "clamp": False,
    },
    "regression": {
        "activation": "mish",
        "learning_rate": 0.2,
        "label_smoothing": 0.0,
        "weight_decay": _DECAY,
        "select_by": "error",
        "clamp": True,
    },
}
# Values that depend on the metric that a run is for; docs/decisions/0068 has the reasons. A metric that is absent here,
# such as RMSE, is what the recipe is for.
_BY_METRIC: Mapping[Metric, Mapping[str, Any]] = {
    "auc": {"select_by": "auc", "label_smoothing": 0.0, "activation": "mish"},
    "log-loss": {"select_by": "loss", "label_smoothing": 0.0, "activation": "mish"},
    "accuracy": {"select_by": "error"},
    "balanced-accuracy": {"select_by": "balanced-error"},
    "f1": {"select_by": "loss"},
    # A step in the logarithm of an answer goes further than one in the answer: docs/decisions/0071.
    "poisson": {"learning_rate": 0.03},
    "gamma": {"learning_rate": 0.03},
    # The learning rate is that of classes, which have the same loss. The sigmoid bounds the answers. A clamp would make
    # those for a label without a 1 in the training part exactly 0.
    "bernoulli": {"learning_rate": 0.04, "clamp": False},
}
METRICS_OF_VALUES: tuple[Metric, ...] = ("rmse", "mae", "r2", "quantile", "poisson", "gamma", "bernoulli")
# Metrics whose networks learn the logarithm of the answer: of counts, and of durations and amounts.
METRICS_OF_LOGARITHMS: tuple[Metric, ...] = ("poisson", "gamma")
# If a class is rare, the number of errors hardly depends on how well an epoch estimates the rare class's probability,
# and only few rows show this class. If one class has nearly all rows, label smoothing would also hide how small the
# other probabilities are: docs/decisions/0032.
RARE = 0.2  # share of the rarest class, as a multiple of an equal share
ONE_SIDED = 0.9  # share of the most frequent class
_RARE_DECAY = 600.0  # weight decay times rows, from the usual decay up to ten times it
_ENGINES: Mapping[Engine, Mapping[str, Any]] = {
    "numpy": {**_PLAIN, "optimizer": "sgd", "learning_rate": 0.05},
    # The rule searches for weights without mistakes; it would never find any if rows changed from epoch to epoch.
    "perceptron": {
        **_PLAIN,
        "drop_categories": 0.0,
        "hidden_sizes": (),
        "optimizer": "perceptron",
        "learning_rate": 1.0,
    },
    # A solver, no steps. The penalty is scikit-learn's default; with it, probabilities need no calibration.
    "linear": {
        **_PLAIN,
        "drop_categories": 0.0,
        "hidden_sizes": (),
        "optimizer": "solver",
        "learning_rate": 1.0,
        "weight_decay": 1.0,
        "epochs": 1,
        "patience": None,
        "calibrate": False,
    },
}

MAX_ONE_HOT = 9  # most categories of a one-hot encoded column; the recipes with embeddings embed a column with more
PERIODIC_SIZE = 3  # width of a number's periodic embedding


def task_of_metric(metric: object) -> Task | None:
    """Returns the task that a metric decides: a regression for a metric of values; None for all others."""
    return "regression" if metric in METRICS_OF_VALUES else None


def engine_values(engine: Engine) -> Mapping[str, Any]:
    """Returns the values of an engine other than torch, by field of `TrainConfig`."""
    return _ENGINES[engine]


def values_of(
    engine: Engine,
    recipe: Recipe,
    *,
    task: Task,
    shares: Sequence[float] = (),
    rows: int = 0,
    metric: Metric | None = None,
) -> Mapping[str, Any]:
    """Returns the values of a recipe for a table, by field of `TrainConfig`.

    Args:
        engine: name of the engine; only torch has a choice of recipes.
        recipe: name of the recipe.
        task: task of the table.
        shares: share of each class in the rows; empty if unknown, or for a regression.
        rows: number of rows of the table; 0 if unknown.
        metric: metric that the run is for; None for the recipe's own aim.
    """
    if engine != "torch":
        return engine_values(engine)
    by_metric = values_by_metric(recipe, metric)
    if recipe != "default":
        return {**_RECIPES[recipe], **by_metric}
    values = {**_RECIPES[recipe], **_BY_TASK[task]}
    if shares and len(shares) * min(shares) <= RARE + 1e-9:  # with two classes, if one has 90 %
        decay = min(max(_RARE_DECAY / max(rows, 1), _DECAY), 10 * _DECAY)
        values |= {"select_by": "loss", "weight_decay": float(f"{decay:.3g}")}
    if shares and max(shares) >= ONE_SIDED:
        values |= {"label_smoothing": 0.0}
    return values | by_metric


def values_by_metric(recipe: Recipe, metric: Metric | None) -> dict[str, Any]:
    """Returns the values that a metric decides, by field of `TrainConfig`.

    Args:
        recipe: name of the recipe.
        metric: metric that the run is for; None for the recipe's own aim.
    """
    decided = {} if metric is None else dict(_BY_METRIC.get(metric, {}))
    if recipe == "default":
        return decided
    # The textbook recipe keeps its activation, and smooths no labels.
    return {name: value for name, value in decided.items() if name == "select_by"}


def learning_rate_factor(name: str) -> float:
    """Returns RealMLP's factor on the learning rate of a parameter, by the name of its tensor."""
    part, _, kind = name.rpartition(".")
    if part == "inputs.scale":
        return 6.0
    if part == "inputs.periodic" or kind in ("mix", "bias"):
        return 0.1
    return 1.0
