"""A configuration has a value in every field, refuses impossible values, and survives as JSON."""

import dataclasses
import json

import pandas as pd
import pytest

from models.errors import ConfigError
from training.config import TrainConfig, check_settings, resolve
from training.sources import read_table

TASKS = ("classification", "regression")
NONE_IS_A_VALUE = {
    "clip_inputs",
    "clip_norm",
    "batch_size",
    "patience",
    "rows_per_epoch",
    "split",
    "metric",
    "quantile",
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("settings", "optimizer", "hidden"),
    [
        ({"recipe": "classic"}, "adam", (64, 64)),
        ({"engine": "numpy"}, "sgd", (64, 64)),
        ({"engine": "perceptron"}, "perceptron", ()),
        ({"engine": "linear"}, "solver", ()),
        ({}, "adamw", (256, 256, 256)),
    ],
)
def test_the_recipe_sets_every_field_that_is_not_chosen(settings, task, optimizer, hidden):
    config = resolve(settings, task=task)
    assert (config.optimizer, config.hidden_sizes) == (optimizer, hidden)
    for field in dataclasses.fields(TrainConfig):
        assert field.name in NONE_IS_A_VALUE or getattr(config, field.name) is not None, field.name


def test_a_configuration_cannot_be_made_of_some_of_its_fields():
    with pytest.raises(TypeError, match="learning_rate"):
        TrainConfig(epochs=3)


def test_the_default_recipe_depends_on_the_task():
    of_classes, of_values = (resolve({}, task=task) for task in TASKS)
    assert (of_classes.activation, of_classes.learning_rate) == ("selu", 0.04)
    assert (of_values.activation, of_values.learning_rate) == ("mish", 0.2)
    assert of_classes.weight_decay == of_values.weight_decay == 0.02
    asked = resolve({"activation": "relu"}, task="regression")
    assert (asked.activation, asked.learning_rate) == ("relu", 0.2)
    classic, other = (resolve({"recipe": "classic"}, task=task) for task in TASKS)
    assert classic == other


def test_none_is_a_value_of_some_fields_and_no_choice_for_others():
    config = resolve({"recipe": "classic", "patience": None, "clip_norm": None, "batch_size": None}, task=TASKS[0])
    assert (config.patience, config.clip_norm, config.batch_size) == (None, None, None)
    assert resolve({"recipe": "classic"}, task=TASKS[0]).patience == 30
    nothing_chosen = dict.fromkeys(("recipe", "epochs", "activation", "learning_rate", "clamp"))
    assert resolve(nothing_chosen, task=TASKS[1]) == resolve({}, task=TASKS[1])


def test_a_table_is_read_with_a_configuration_that_is_resolved_for_it():
    frame = pd.DataFrame({"a": range(200), "y": [float(i) for i in range(200)]})
    _, config = read_table(frame, target="y", name="m", settings={"epochs": 3})
    assert config == resolve({"epochs": 3}, task="regression", rows=200)


@pytest.mark.parametrize(
    ("settings", "task", "named"),
    [({"label_smoothing": 0.1}, "regression", "label_smoothing is for classes"), ({"clamp": True}, TASKS[0], "clamp")],
)
def test_a_setting_of_the_other_task_is_refused(settings, task, named):
    check_settings(settings)  # right for a table of the other task
    with pytest.raises(ConfigError, match=named):
        resolve(settings, task=task)


def test_impossible_settings_are_refused_before_the_table_is_read(tmp_path):
    with pytest.raises(ConfigError, match="learning_rate"):
        read_table(tmp_path / "none.csv", target="y", settings={"learning_rate": 0})
    with pytest.raises(ConfigError, match="unknown setting 'momentum'"):
        check_settings({"momentum": 0.9})


def test_it_is_plain_json_and_builds_itself_again():
    config = resolve({"hidden_sizes": (3,), "split": None, "patience": None}, task="classification")
    raw = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig(**raw) == config


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"engine": "jax"}, "engine must be one of torch, numpy, perceptron, linear; got 'jax'"),
        ({"optimizer": "sgd"}, "the torch engine's optimizer is adamw or adam; got 'sgd'"),
        ({"engine": "numpy", "optimizer": "adam"}, "the numpy engine's optimizer is sgd; got 'adam'"),
        ({"learning_rate": 0}, "learning_rate must be positive and finite, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite, got nan"),
        ({"weight_decay": -1}, "weight_decay must be 0 or more, got -1"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"patience": 0}, "patience must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": 2**63}, "seed must be below"),
        ({"split": (0.5, 0.5, 0.5)}, "split must add up to 1"),
        ({"hidden_sizes": "64"}, "hidden_sizes must be a sequence of widths, got '64'"),
        ({"hidden_sizes": (0,)}, "layer_sizes must be whole numbers"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"dropout": 1.0}, "dropout must be a probability"),
        (
            {"engine": "perceptron", "hidden_sizes": (3,)},
            "a perceptron is one threshold unit with a bias and has no hidden_sizes",
        ),
        ({"recipe": "plain"}, "recipe must be one of default, classic; got 'plain'"),
        ({"engine": "numpy", "recipe": "default"}, "the numpy engine has no recipe 'default'"),
        ({"engine": "numpy", "frequencies": 8}, "the numpy engine has no frequencies=8"),
        ({"engine": "numpy", "members": 2}, "the numpy engine has no members=2"),
        ({"engine": "numpy", "initialization": "data"}, "the numpy engine has no initialization='data'"),
        ({"members": 0}, "members must be a whole number of at least 1"),
        ({"schedule": "linear"}, "schedule must be one of cosine, coslog4, constant"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in [0, 1)"),
        ({"clip_inputs": 0}, "clip_inputs must be positive"),
        ({"calibrate": 1}, "calibrate must be true or false"),
        ({"engine": "perceptron", "dropout": 0.1}, "has no dropout=0.1"),
        ({"engine": "perceptron", "bias": False}, "has no bias=False"),
    ],
)
def test_what_cannot_be_is_refused_and_named(wrong, named):
    with pytest.raises(ConfigError) as refused:
        check_settings(wrong)
    assert named in str(refused.value)


@pytest.mark.parametrize(("rows", "size"), [(4, 4), (16, 16), (100, 16), (1200, 32), (10_000, 256), (10**6, 1024)])
def test_the_batch_grows_with_the_table(rows, size):
    assert resolve({"recipe": "classic"}, task="classification").batch_size_for(rows) == size


def test_a_given_batch_is_at_most_the_table():
    assert resolve({"batch_size": 64}, task="classification").batch_size_for(10) == 10
