"""The stages before the first Linear: closed form, module and folded network, each against another."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
from models.network.config import MLPConfig
from models.network.fuse import fuse
from models.network.inference_network import Affine
from models.network.inputs import InputConfig
from models.network.mlp import MLP

INPUTS = InputConfig(
    numbers=(0, 2, 3), flags=(1, 5), indices=(4, 6), categories=(11, 40), clip=3.0, frequencies=16, scale=True
)
CONFIG = MLPConfig(layer_sizes=(7, 32, 32, 3), activation="selu", learned_activation=True, inputs=INPUTS)


@st.composite
def inputs(draw):
    kinds = draw(st.lists(st.sampled_from(["numbers", "flags", "indices"]), min_size=1, max_size=8))
    places = {kind: tuple(i for i, other in enumerate(kinds) if other == kind) for kind in set(kinds)}
    return InputConfig(
        numbers=places.get("numbers", ()),
        flags=places.get("flags", ()),
        indices=places.get("indices", ()),
        categories=tuple(draw(st.integers(1, 30)) for _ in places.get("indices", ())),
        clip=draw(st.none() | st.floats(0.5, 10)),
        frequencies=draw(st.integers(0, 5)),
        periodic_size=draw(st.integers(1, 4)),
        embedding_size=draw(st.integers(1, 9)),
        scale=draw(st.booleans()),
    )


def rows_of(config, n=50, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, (n, config.row_width)).astype(np.float32)
    x[:, config.flags] = rng.integers(0, 2, (n, len(config.flags)))
    for at, categories in zip(config.indices, config.categories, strict=True):
        x[:, at] = rng.integers(0, categories + 1, n)
    return x


def noisy_tensors(config, seed=0):
    """Makes tensors with noise added to the initial values."""
    rng = np.random.default_rng(seed)
    mlp = MLP(config, generator=torch.Generator().manual_seed(seed))
    return {name: (t + rng.normal(0, 0.1, t.shape)).astype(np.float32) for name, t in mlp.to_tensors().items()}


def test_the_closed_form_counts_what_the_module_has():
    assert CONFIG.parameter_count == sum(p.numel() for p in MLP(CONFIG).parameters())
    width = 3 + 3 * 3 + 2 + 2 * 8
    assert INPUTS.width == width == CONFIG.linear_sizes[0]
    inputs_own = 3 * 16 * 2 + 3 * 3 * 16 + 3 * 3 + (11 + 1 + 40 + 1) * 8 + width
    assert CONFIG.parameter_count == inputs_own + (width + 1) * 32 + 33 * 32 + 33 * 3 + 2 * 32


@settings(deadline=None, max_examples=60)
@given(inputs(), st.sampled_from(["softmax", "linear"]), st.booleans(), st.integers(0, 2**31))
def test_the_folded_network_answers_as_the_module_does(given_inputs, output, learned, seed):
    config = MLPConfig(
        layer_sizes=(given_inputs.row_width, 12, 2),
        activation="mish",
        output=output,
        inputs=given_inputs,
        learned_activation=learned,
        temperature=1.7 if output == "softmax" else 1.0,
    )
    tensors = noisy_tensors(config, seed)
    rng = np.random.default_rng(seed)
    mean, std = np.zeros(config.in_features), np.ones(config.in_features)
    numbers = list(given_inputs.numbers)
    mean[numbers], std[numbers] = rng.normal(0, 2, len(numbers)), rng.uniform(0.5, 3, len(numbers))
    x = rows_of(given_inputs, seed=seed)
    module = MLP.from_tensors(config, tensors).double().eval()
    with torch.no_grad():
        expected = module.predict_probabilities(torch.from_numpy((x.astype(np.float64) - mean) / std)).numpy()
    answer = fuse(config, tensors, input_mean=mean, input_std=std).forward(x)
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_scale_and_periodic_linear_are_folded_into_the_first_linear():
    network = fuse(CONFIG, noisy_tensors(CONFIG))
    assert [type(stage).__name__ for stage in network.stages] == [
        "InputStage", "Affine", "Activate", "Affine", "Activate", "Affine",
    ]  # fmt: skip
    first = network.stages[1]
    assert isinstance(first, Affine)
    assert first.weight.shape == (32, 3 + 3 * 16 + 2 + 2 * 8)


def test_members_answer_with_the_mean_of_their_probabilities():
    single = [noisy_tensors(CONFIG, seed) for seed in range(3)]
    ensemble = MLPConfig.from_dict(CONFIG.to_dict() | {"members": 3})
    stacked = {name: np.stack([tensors[name] for tensors in single]) for name in single[0]}
    assert {name: tensor.shape for name, tensor in stacked.items()} == ensemble.tensor_shapes()
    assert ensemble.parameter_count == 3 * CONFIG.parameter_count
    x = rows_of(INPUTS)
    each = [fuse(CONFIG, tensors).forward(x) for tensors in single]
    np.testing.assert_allclose(fuse(ensemble, stacked).forward(x), np.mean(each, axis=0), atol=1e-6)
    weighted = MLPConfig.from_dict(ensemble.to_dict() | {"member_weights": [3, 1, 4]})
    assert weighted.to_dict()["member_weights"] == [3, 1, 4]
    expected = np.average(each, axis=0, weights=[3, 1, 4])
    np.testing.assert_allclose(fuse(weighted, stacked).forward(x), expected, atol=1e-6)


@pytest.mark.parametrize("weights", [[1, 2], [1, 2, 0], [1, 2, 2.0], [1, 2, True], "123", 3, [1, 2, 1001]])
def test_weights_are_whole_numbers_one_for_each_member(weights):
    with pytest.raises(ConfigError, match="member_weights must be a whole number from 1 to 1000 for each of 3 members"):
        MLPConfig.from_dict(CONFIG.to_dict() | {"members": 3, "member_weights": weights})


def test_a_temperature_softens_and_a_clamp_bounds():
    tensors = noisy_tensors(CONFIG)
    x = rows_of(INPUTS)
    plain = fuse(CONFIG, tensors).forward(x).astype(np.float64)
    soft = fuse(MLPConfig.from_dict(CONFIG.to_dict() | {"temperature": 2.0}), tensors).forward(x)
    roots = np.sqrt(plain)
    np.testing.assert_allclose(soft, roots / roots.sum(axis=1, keepdims=True), atol=1e-5)
    regression = MLPConfig(layer_sizes=(7, 32, 1), output="linear", inputs=INPUTS, clamp=True)
    tensors = noisy_tensors(regression)
    free = fuse(MLPConfig.from_dict(regression.to_dict() | {"clamp": False}), tensors).forward(x)
    bounds = (float(np.quantile(free, 0.25)), float(np.quantile(free, 0.75)))
    kept = fuse(regression, tensors, output_range=bounds).forward(x)
    np.testing.assert_allclose(kept, np.clip(free, *bounds), atol=1e-6)
    with pytest.raises(ConfigError, match="output_range"):
        fuse(regression, tensors)


def test_the_clip_is_the_identity_near_zero_and_bounded_far_out():
    config = MLPConfig(layer_sizes=(1, 1), output="linear", inputs=InputConfig(numbers=(0,), clip=3.0))
    tensors = {"layers.0.weight": np.ones((1, 1), np.float32), "layers.0.bias": np.zeros(1, np.float32)}
    x = np.array([[0.0], [0.01], [1.0], [1e6], [-1e6]], dtype=np.float32)
    answer = fuse(config, tensors).forward(x)[:, 0]
    np.testing.assert_allclose(answer, [0, 0.01, 1 / math.sqrt(1 + 1 / 9), 3, -3], atol=1e-6)


@settings(max_examples=50)
@given(inputs())
def test_inputs_come_back_from_their_json_form(given_inputs):
    assert InputConfig.from_dict(given_inputs.to_dict()) == given_inputs
    config = MLPConfig(layer_sizes=(given_inputs.row_width, 4, 2), inputs=given_inputs)
    assert MLPConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numbers": (0, 2)}, "each once"),
        ({"numbers": (0,), "flags": (0,)}, "each once"),
        ({"numbers": ()}, "each once"),
        ({"numbers": (0.0,)}, "whole numbers"),
        ({"numbers": (0,), "indices": (1,)}, "as many categories"),
        ({"numbers": (0,), "indices": (1,), "categories": (0,)}, "categories must be"),
        ({"numbers": (0,), "clip": 0}, "clip"),
        ({"numbers": (0,), "frequencies": -1}, "frequencies"),
        ({"numbers": (0,), "scale": 1}, "scale"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields, message):
    with pytest.raises(ConfigError, match=message):
        InputConfig(**fields)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ConfigError, match="7 features"):
        MLPConfig(layer_sizes=(8, 2), inputs=INPUTS)
    with pytest.raises(DataError, match="shape"):
        fuse(CONFIG, noisy_tensors(CONFIG)).forward(np.zeros((2, 8), np.float32))
    with pytest.raises(ConfigError, match="flags and indices"):
        fuse(CONFIG, noisy_tensors(CONFIG), input_mean=np.ones(7))
