"""A training configuration fills in its defaults, refuses invalid values, and survives a round trip as JSON."""

import json

import pytest

from models.errors import ConfigError
from training.config import TrainConfig


@pytest.mark.parametrize(
    ("settings", "optimizer", "learning_rate", "weight_decay", "hidden"),
    [
        ({"recipe": "classic"}, "adam", 0.001, 0.0, (64, 64)),
        ({"engine": "numpy"}, "sgd", 0.05, 0.0, (64, 64)),
        ({"engine": "perceptron"}, "perceptron", 1.0, 0.0, ()),
        ({}, "adamw", None, None, (256, 256, 256)),
    ],
)
def test_what_is_left_open_is_the_recipes(settings, optimizer, learning_rate, weight_decay, hidden):
    config = TrainConfig(**settings)
    assert (config.optimizer, config.learning_rate, config.weight_decay) == (optimizer, learning_rate, weight_decay)
    assert config.hidden_sizes == hidden


def test_the_default_recipe_waits_for_the_task_with_activation_and_learning_rate():
    config = TrainConfig()
    of_classes, of_values = config.for_task("classification"), config.for_task("regression")
    assert (of_classes.activation, of_classes.learning_rate) == ("selu", 0.04)
    assert (of_values.activation, of_values.learning_rate) == ("mish", 0.2)
    assert of_classes.weight_decay == of_values.weight_decay == 0.02
    asked = TrainConfig(activation="relu").for_task("regression")
    assert (asked.activation, asked.learning_rate) == ("relu", 0.2)
    assert TrainConfig(recipe="classic").for_task("regression") == TrainConfig(recipe="classic")


def test_what_none_means_something_to_can_be_none():
    config = TrainConfig(recipe="classic", patience=None, clip_norm=None, batch_size=None)
    assert (config.patience, config.clip_norm) == (None, None)
    assert TrainConfig(recipe="classic").patience == 30


def test_it_is_plain_json_and_builds_itself_again():
    config = TrainConfig(hidden_sizes=(3,), split=None, patience=None).for_task("classification")
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
        TrainConfig(**wrong)
    assert named in str(refused.value)


@pytest.mark.parametrize(("rows", "size"), [(4, 4), (16, 16), (100, 16), (1200, 32), (10_000, 256), (10**6, 1024)])
def test_the_batch_grows_with_the_table(rows, size):
    assert TrainConfig(recipe="classic").batch_size_for(rows) == size


def test_a_given_batch_is_at_most_the_table():
    assert TrainConfig(batch_size=64).batch_size_for(10) == 10
