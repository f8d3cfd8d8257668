"""A run's description fills itself in, refuses what cannot be, and survives as JSON."""

import json

import pytest

from models.errors import ConfigError
from training.config import TrainConfig


@pytest.mark.parametrize(
    ("engine", "optimizer", "learning_rate", "weight_decay", "hidden"),
    [
        ("torch", "adamw", 0.003, 0.01, (64, 64)),
        ("numpy", "sgd", 0.05, 0.0, (64, 64)),
        ("perceptron", "perceptron", 1.0, 0.0, ()),
    ],
)
def test_what_is_left_open_is_the_engines(engine, optimizer, learning_rate, weight_decay, hidden):
    config = TrainConfig(engine=engine)
    assert (config.optimizer, config.learning_rate, config.weight_decay) == (optimizer, learning_rate, weight_decay)
    assert config.hidden_sizes == hidden


def test_it_is_plain_json_and_builds_itself_again():
    config = TrainConfig(hidden_sizes=(3,), split=None, patience=None)
    raw = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig(**raw) == config


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"engine": "jax"}, "engine must be one of torch, numpy, perceptron; got 'jax'"),
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
    assert TrainConfig().batch_size_for(rows) == size


def test_a_given_batch_is_at_most_the_table():
    assert TrainConfig(batch_size=64).batch_size_for(10) == 10
