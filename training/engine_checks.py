"""Checks that a run has no setting that its engine does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import ConfigError
from training import recipes
from training.recipes import Engine


def check_engine_settings(engine: Engine, values: Mapping[str, Any]) -> None:
    """Refuses settings that the engine of a run does not have.

    Args:
        engine: name of the engine.
        values: all settings of the run by name.

    Raises:
        ConfigError: the engine has no such setting; the message names it.
    """
    if engine == "perceptron":
        _check_perceptron(values)
    elif engine == "linear":
        _check_linear(values)
    elif engine == "numpy":
        _check_plain(engine, values, "the numpy engine")


def _check_perceptron(values: Mapping[str, Any]) -> None:
    """Refuses settings that a lone threshold unit does not have.

    A setting that is silently ignored would mislead the user.
    """
    for name, value, absent in (
        ("hidden_sizes", values["hidden_sizes"], ()),
        ("dropout", values["dropout"], 0.0),
        ("normalization", values["normalization"], "none"),
        ("weight_decay", values["weight_decay"], 0.0),
        ("bias", values["bias"], True),
    ):
        if value != absent:
            raise ConfigError(f"a perceptron is one threshold unit with a bias and has no {name}={value!r}.")
    plain = recipes.engine_values("perceptron")
    for name in ("activation", "initialization", "batch_size", "patience", "clip_norm"):
        if values[name] != plain[name]:
            raise ConfigError(f"a perceptron learns a row at a time by its own rule and has no {name}.")
    _check_plain("perceptron", values, "a perceptron")


def _check_linear(values: Mapping[str, Any]) -> None:
    """Refuses settings that a solved model without hidden layers does not have."""
    plain = recipes.engine_values("linear")
    for name in ("hidden_sizes", "dropout", "normalization", "activation", "initialization"):
        if values[name] != plain[name]:
            raise ConfigError(f"a linear model has no hidden layers and no {name}={values[name]!r}.")
    for name in ("learning_rate", "batch_size", "epochs", "patience", "clip_norm", "drop_categories"):
        if values[name] != plain[name]:
            raise ConfigError(f"a linear model is solved, not trained in steps, and has no {name}.")
    _check_plain("linear", values, "a linear model")


def _check_plain(engine: Engine, values: Mapping[str, Any], who: str) -> None:
    """Refuses settings that only the torch engine has."""
    plain = recipes.engine_values(engine)
    for name in (
        "learned_activation",
        "parametrization",
        "clip_inputs",
        "frequencies",
        "embedding_size",
        "scale_inputs",
        "schedule",
        "regularization",
        "label_smoothing",
        "beta2",
        "drop_last",
        "select_by",
    ):
        if values[name] != plain[name]:
            raise ConfigError(f"{who} has no {name}={values[name]!r}: use --engine torch.")
    for name, absent in (
        ("members", 1),
        ("metric", None),
        ("folds", False),
        ("portfolio", False),
        ("distill", False),
        ("category_statistics", False),
        ("class_weight", "none"),
        ("precision", "float32"),
        ("rows_per_epoch", None),
        ("epoch_plan", ()),
    ):
        if values[name] != absent and (name, engine) != ("class_weight", "linear"):
            raise ConfigError(f"{who} has no {name}={values[name]!r}: use --engine torch.")
    if values["initialization"] == "data":
        raise ConfigError(f"{who} has no initialization='data': use --engine torch.")
