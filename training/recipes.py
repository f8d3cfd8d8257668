"""Recipes: what a training run does where the user does not say otherwise, with the source of each part.

`default` is the recipe of RealMLP (Holzmüller, Grinsztajn & Steinwart 2024, Better by default: strong pre-tuned MLPs
and boosted trees on tabular data), which was tuned over many tables so that one need not tune it. `classic` is the
plain recipe of textbooks. The engines from scratch have their own, with nothing in it that they lack.
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
Selection = Literal["loss", "error"]
Precision = Literal["float32", "bfloat16"]

# The parts of the default recipe that are a network's input or its parameters, in their plain form.
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
_DECAY = 0.02  # of weights, in the default recipe

# What depends on the task: SELU for classes and Mish for values, each with its learning rate. Label smoothing makes for
# better labels and for probabilities that are too modest, which the calibration mends: docs/decisions/0010.
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
# Where a class is rare, the number of errors hardly differs between an epoch that knows how rare and one that does not,
# and there are few rows of it to learn from. Where one class has nearly all rows, smoothing would also hide how small
# the other probabilities are: docs/decisions/0032.
RARE = 0.2  # of the share that the rarest class would have if all had the same
ONE_SIDED = 0.9  # share of the most frequent class
_RARE_DECAY = 600.0  # weight decay times rows, from the usual decay up to ten times it
_ENGINES: Mapping[Engine, Mapping[str, Any]] = {
    "numpy": {**_PLAIN, "optimizer": "sgd", "learning_rate": 0.05},
    # Its rule looks for weights that make no mistake: rows that change from epoch to epoch would keep it from any.
    "perceptron": {
        **_PLAIN,
        "drop_categories": 0.0,
        "hidden_sizes": (),
        "optimizer": "perceptron",
        "learning_rate": 1.0,
    },
    # Solved, not stepped: the penalty is scikit-learn's default, under which probabilities are honest as they are.
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

MAX_ONE_HOT = 9  # categories of a column; one with more is embedded, where the recipe embeds
PERIODIC_SIZE = 3  # features that a number's waves become


def values_of(engine: Engine, recipe: Recipe) -> Mapping[str, Any]:
    """What a recipe sets, by field of `TrainConfig`; without what waits for the task."""
    if engine != "torch":
        return _ENGINES[engine]
    values = _RECIPES[recipe]
    waiting = _BY_TASK["regression"] if recipe == "default" else {}
    return {name: value for name, value in values.items() if name not in waiting}


def values_for(task: Task, recipe: Recipe, *, shares: Sequence[float] = (), rows: int = 0) -> Mapping[str, Any]:
    """What a recipe sets once the task is known, by field of `TrainConfig`.

    Args:
        task: the table's.
        recipe: its name.
        shares: of the classes in the rows; none where they are not known, or for a regression.
        rows: number of rows of the table; 0 where it is not known.
    """
    if recipe != "default":
        return {}
    values = dict(_BY_TASK[task])
    if shares and len(shares) * min(shares) <= RARE + 1e-9:  # with two classes, where one has 90 %
        decay = min(max(_RARE_DECAY / max(rows, 1), _DECAY), 10 * _DECAY)
        values |= {"select_by": "loss", "weight_decay": float(f"{decay:.3g}")}
    if shares and max(shares) >= ONE_SIDED:
        values |= {"label_smoothing": 0.0}
    return values


def learning_rate_factor(name: str) -> float:
    """How much faster than the rest RealMLP lets a parameter learn, by the name of its tensor."""
    part, _, kind = name.rpartition(".")
    if part == "inputs.scale":
        return 6.0
    if part == "inputs.periodic" or kind in ("mix", "bias"):
        return 0.1
    return 1.0
