"""Search spaces: parameters, notation, and the values that are refused."""

import json

import pytest

from models.errors import ConfigError
from training.config import resolve
from training.search.default_spaces import default_space
from training.search.space import Choices, FloatRange, IntRange, SearchSpace, exact_label, label
from training.search.space_text import read_space_file, read_variation


def test_choices_are_told_apart_by_all_their_digits():
    close = Choices(values=(0.12345, 0.12346))
    assert [close.of_label(exact_label(value)) for value in close.values] == [0.12345, 0.12346]
    assert Choices(values=(0.020001, 0.05)).nearest(0.02) == 0.020001
    texts = [exact_label(value) for value in (0.02, 1e-5, (64, 64), None, True)]
    assert texts == ["0.02", "1e-05", "64,64", "none", "true"]
    with pytest.raises(ConfigError, match=r"0\.12345 is there twice"):
        Choices(values=(0.12345, 0.12345))


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("learning_rate=1e-4..1e-1:log", FloatRange(low=1e-4, high=0.1, log=True)),
        ("dropout=0..0.5", FloatRange(low=0, high=0.5)),
        ("epochs=10..100", IntRange(low=10, high=100)),
        ("epochs=10..1000:log", IntRange(low=10, high=1000, log=True)),
        ("hidden_sizes=64,64|128|none", Choices(values=((64, 64), (128,), ()))),
        ("activation=relu|tanh", Choices(values=("relu", "tanh"))),
        ("batch_size=none|64", Choices(values=(None, 64))),
        ("bias=true|false", Choices(values=(True, False))),
        ("dropout=0|0.25", Choices(values=(0.0, 0.25))),
    ],
)
def test_a_variation_is_read_by_the_type_of_its_field(text, parameter):
    assert read_variation(text) == (text.partition("=")[0], parameter)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("dropout", "'dropout'"),
        ("dropout=", "'dropout='"),
        ("momentum=0..1", "'momentum'"),
        ("seed=0..9", "seed"),
        ("split=none", "split"),
        ("recipe=default|classic", "recipe"),
        ("folds=true|false", "by folds other rows validate"),
        ("portfolio=true|false", "chosen by folds, and trials have none"),
        ("metric=accuracy|log-loss", "one metric at a time"),
        ("quantile=0.1..0.9", "different quantiles cannot be compared"),
        ("epoch_plan=1|2", "a budget of time writes it"),
        ("dropout=0.5..0", "0.5..0"),
        ("learning_rate=0..1:log", "above 0"),
        ("dropout=0..1:linear", ":log"),
        ("dropout=a..b", "'a..b'"),
        ("activation=0..1", "activation"),
        ("hidden_sizes=64,x", "'64,x'"),
        ("epochs=1..2.5", "2.5"),
        ("activation=relu|relu", "relu"),
    ],
)
def test_a_variation_that_cannot_be_is_refused_by_name(text, named):
    with pytest.raises(ConfigError) as refused:
        read_variation(text)
    assert named in str(refused.value)


def test_toml_and_json_say_the_same(tmp_path):
    (tmp_path / "space.toml").write_text(
        'learning_rate = {low = 1e-4, high = 0.1, log = true}\ndropout = "0..0.5"\n'
        'activation = ["relu", "gelu"]\nhidden_sizes = {choices = [[64, 64], [128]]}\n'
    )
    as_json = {
        "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "dropout": "0..0.5",
        "activation": ["relu", "gelu"],
        "hidden_sizes": {"choices": [[64, 64], [128]]},
    }
    (tmp_path / "space.json").write_text(json.dumps(as_json))
    read = read_space_file(tmp_path / "space.toml")
    assert read == read_space_file(tmp_path / "space.json")
    assert read["hidden_sizes"] == Choices(values=((64, 64), (128,)))


@pytest.mark.parametrize("content", ["{", "[1]", '{"dropout": 3}', '{"dropout": {"low": 0}}', '{"dropout": []}'])
def test_a_space_file_that_cannot_be_is_refused(tmp_path, content):
    (tmp_path / "space.json").write_text(content)
    with pytest.raises(ConfigError):
        read_space_file(tmp_path / "space.json")
    with pytest.raises(ConfigError, match=r"none\.json"):
        read_space_file(tmp_path / "none.json")


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("engine", ["torch", "numpy"])
def test_the_defaults_lie_in_their_own_space(engine, task):
    config = resolve({"engine": engine}, task=task)
    space = default_space(config, task=task)
    assert space.nearest(config) == {name: getattr(config, name) for name in space.parameters}


def test_every_choice_of_a_default_space_can_be_trained():
    for settings in ({"engine": "torch"}, {"engine": "numpy"}):
        config = resolve(settings, task="classification")
        for name, parameter in default_space(config, task="classification").parameters.items():
            for value in parameter.grid(3):
                resolve(settings | {name: value}, task="classification")


def test_what_is_fixed_does_not_vary():
    config = resolve({"dropout": 0.1}, task="classification")
    assert "dropout" not in default_space(config, task="classification", fixed=("dropout",)).parameters
    with pytest.raises(ConfigError, match="perceptron"):
        default_space(resolve({"engine": "perceptron"}, task="classification"), task="classification")


def test_a_value_outside_the_space_moves_to_the_nearest_in_it():
    assert FloatRange(low=0.1, high=0.2).nearest(0.5) == 0.2
    assert IntRange(low=3, high=5).nearest(1) == 3
    assert Choices(values=("relu", "tanh")).nearest("gelu") == "relu"
    assert FloatRange(low=1e-3, high=1e-1).nearest(0.01) == 0.01


def test_a_grid_has_every_combination_once():
    space = SearchSpace(
        parameters={
            "dropout": FloatRange(low=0, high=0.5),
            "epochs": IntRange(low=1, high=2),
            "activation": Choices(values=("relu", "tanh")),
        }
    )
    points = list(space.grid(3))
    assert len(points) == space.grid_size(3) == 3 * 2 * 2
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert {point["dropout"] for point in points} == {0, 0.25, 0.5}
    assert FloatRange(low=1e-4, high=1, log=True).grid(5) == (1e-4, 1e-3, 1e-2, 1e-1, 1)


def test_labels_are_what_is_typed():
    assert [label(value) for value in (None, (), (64, 32), True, 0.15, 3, "relu")] == [
        "none",
        "none",
        "64,32",
        "true",
        "0.15",
        "3",
        "relu",
    ]
