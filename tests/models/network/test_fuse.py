import itertools
from dataclasses import replace
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError, DataError
from models.network.config import Activation, MLPConfig, Normalization
from models.network.fuse import fuse
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm
from models.network.mlp import MLP
from models.network.perceptron import Perceptron

ROUNDING = 2.0**-24  # relative error of one float32 operation


def trained_like(config, seed=0):
    """Makes tensors as after training: random biases, scales and running statistics."""
    rng = np.random.default_rng(seed)
    tensors = MLP(config, generator=torch.Generator().manual_seed(seed)).to_tensors()
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            tensor[:] = rng.uniform(0.2, 4, tensor.shape)
        elif name.endswith(("bias", "running_mean")):
            tensor[:] = rng.normal(0, 0.5, tensor.shape)
        elif name.startswith("norms"):
            tensor[:] = rng.normal(1, 0.3, tensor.shape)
    return tensors


def statistics(config, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "input_mean": rng.normal(0, 3, config.in_features),
        "input_std": rng.uniform(0.5, 5, config.in_features),
    }


def model_answer(config, tensors, x, *, input_mean=0.0, input_std=1.0, output_mean=0.0, output_std=1.0):
    """Returns the oracle's answer: the PyTorch module in eval mode and float64, between the given statistics."""
    mlp = MLP.from_tensors(config, tensors).double().eval()
    z = torch.from_numpy((x.astype(np.float64) - input_mean) / input_std)
    with torch.no_grad():
        return mlp.predict_probabilities(z).numpy() * output_std + output_mean


def rows_of(config, n=64, seed=3):
    return np.random.default_rng(seed).normal(0, 3, (n, config.in_features)).astype(np.float32)


def assert_same(answer, expected, config, scale=1.0):
    # A float32 sum of n products errs by at most n roundings of the size of its terms, and by about √n if they are
    # random. Each later layer passes the error on and adds its own. 8 covers weights and values of a few units.
    widest, depth = max(config.layer_sizes), len(config.layer_sizes)
    bound = 8 * depth * np.sqrt(widest) * ROUNDING * max(scale, np.abs(expected).max())
    assert answer.dtype == np.float32
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("output", ["softmax", "linear"])
@pytest.mark.parametrize("normalization", get_args(Normalization))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_it_answers_as_the_model_does(activation, normalization, output):
    for bias, dropout in itertools.product([True, False], [0.0, 0.5]):
        config = MLPConfig(
            layer_sizes=(6, 32, 16, 8, 3),
            activation=activation,
            normalization=normalization,
            output=output,
            bias=bias,
            dropout=dropout,
        )
        tensors, given_statistics = trained_like(config), statistics(config)
        if output == "linear":
            given_statistics |= {"output_mean": np.array([5.0, -40.0, 0.1]), "output_std": np.array([0.5, 20.0, 3.0])}
        network = fuse(config, tensors, **given_statistics)
        x = rows_of(config)
        # The target's scale also scales the error of the value that it multiplies.
        scale = 40.0 if output == "linear" else 1.0
        assert_same(network.forward(x), model_answer(config, tensors, x, **given_statistics), config, scale)


# From 4 wide: LayerNorm of 2 or 3 nearly equal numbers magnifies a rounding error a hundredfold, here as in torch.
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(4, 40), min_size=2, max_size=6).map(tuple),
    activation=st.sampled_from(get_args(Activation)),
    normalization=st.sampled_from(get_args(Normalization)),
    seed=st.integers(0, 1000),
)
def test_any_architecture_keeps_its_answers_and_never_costs_more(sizes, activation, normalization, seed):
    config = MLPConfig(layer_sizes=sizes, activation=activation, normalization=normalization, dropout=0.1)
    tensors, given_statistics = trained_like(config, seed), statistics(config, seed)
    network = fuse(config, tensors, **given_statistics)
    x = rows_of(config, 16, seed)
    assert_same(network.forward(x), model_answer(config, tensors, x, **given_statistics), config)
    assert network.multiply_adds <= sum(layer.multiply_adds for layer in config.layers())
    assert (network.in_features, network.out_features) == (sizes[0], sizes[-1])
    assert isinstance(network.stages[0], Affine)
    assert isinstance(network.stages[-1], Affine)
    width = sizes[0]
    for stage in network.stages:  # an engine relies on each stage starting where the previous one ends
        if isinstance(stage, Affine):
            assert stage.weight.shape[1] == width
            width = stage.weight.shape[0]
            assert stage.bias.shape == (width,)
        if isinstance(stage, LayerNorm):
            assert stage.weight.shape == stage.bias.shape == (width,)
        if not isinstance(stage, Activate):
            for array in (stage.weight, stage.bias):
                assert array.dtype == np.float32
                assert array.flags.c_contiguous


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_without_a_nonlinearity_the_network_is_one_affine_map(normalization):
    config = MLPConfig(layer_sizes=(5, 7, 6, 4), activation="identity", normalization=normalization, output="linear")
    t = trained_like(config)
    given_statistics = statistics(config)
    network = fuse(config, t, **given_statistics, output_mean=2.0, output_std=3.0)
    (affine,) = network.stages
    # W_eff and b_eff multiplied by hand, layer by layer, in float64.
    weight = np.diag(1 / given_statistics["input_std"])
    bias = -given_statistics["input_mean"] / given_statistics["input_std"]
    for i in range(3):
        own = t[f"layers.{i}.weight"].astype(np.float64)
        weight, bias = own @ weight, own @ bias + t[f"layers.{i}.bias"]
        if normalization == "batch" and i < 2:
            n = {
                name: t[f"norms.{i}.{name}"].astype(np.float64)
                for name in ("weight", "bias", "running_mean", "running_var")
            }
            scale = np.diag(n["weight"] / np.sqrt(n["running_var"] + 1e-5))
            weight, bias = scale @ weight, scale @ (bias - n["running_mean"]) + n["bias"]
    np.testing.assert_allclose(affine.weight, 3 * weight, rtol=2 * ROUNDING, atol=1e-12)
    np.testing.assert_allclose(affine.bias, 3 * bias + 2, rtol=2 * ROUNDING, atol=1e-12)
    assert network.multiply_adds == 5 * 4
    assert network.parameter_count == 5 * 4 + 4


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        ((784, 10, 784), [(10, 784), (784, 10)]),
        ((784, 512, 10, 512, 784), [(10, 784), (784, 10)]),
        ((4, 2, 4), [(4, 4)]),  # 16 in both cases, so the one with fewer stages
        ((3, 50, 50, 2), [(2, 3)]),
    ],
)
def test_a_bottleneck_is_not_multiplied_out(sizes, shapes):
    config = MLPConfig(layer_sizes=sizes, activation="identity", output="linear")
    tensors = trained_like(config)
    network = fuse(config, tensors)
    assert [stage.weight.shape for stage in network.stages] == shapes
    x = rows_of(config, 8)
    assert_same(network.forward(x), model_answer(config, tensors, x), config)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 60), min_size=2, max_size=8).map(tuple))
def test_no_other_cut_of_a_linear_run_costs_less(sizes):
    config = MLPConfig(layer_sizes=sizes, activation="identity", output="linear")
    network = fuse(config, trained_like(config))
    inner = range(1, len(sizes) - 1)
    cuts = [cut for n in range(len(sizes) - 1) for cut in itertools.combinations(inner, n)]
    cost = min(sum(sizes[a] * sizes[b] for a, b in itertools.pairwise((0, *cut, len(sizes) - 1))) for cut in cuts)
    assert network.multiply_adds == cost


def test_layer_norm_stands_between_linears_that_would_else_be_one():
    config = MLPConfig(layer_sizes=(4, 4, 4), activation="identity", normalization="layer")
    assert [type(stage) for stage in fuse(config, trained_like(config)).stages] == [Affine, LayerNorm, Affine]


def test_a_hidden_layer_becomes_an_affine_map_and_an_activation_whatever_was_folded():
    config = MLPConfig(layer_sizes=(4, 5, 5, 3), normalization="batch", dropout=0.5, bias=False)
    network = fuse(config, trained_like(config), **statistics(config))
    assert [type(stage) for stage in network.stages] == [Affine, Activate, Affine, Activate, Affine]
    assert network.stages[1] == Activate("relu")
    assert network.parameter_count == (4 + 1) * 5 + (5 + 1) * 5 + (5 + 1) * 3
    assert network.multiply_adds == 4 * 5 + 5 * 5 + 5 * 3


def test_plain_weights_pass_through_unchanged():
    config = MLPConfig(layer_sizes=(3, 4, 2))
    tensors = trained_like(config)
    first, _, last = fuse(config, tensors).stages
    for affine, i in ((first, 0), (last, 1)):
        np.testing.assert_array_equal(affine.weight, tensors[f"layers.{i}.weight"])
        np.testing.assert_array_equal(affine.bias, tensors[f"layers.{i}.bias"])
    first.weight[:] = 0  # the network has its own memory
    assert tensors["layers.0.weight"].any()


@pytest.mark.parametrize("y", [[0, 0, 0, 1], [0, 1, 1, 1]])
@pytest.mark.parametrize("learning_rate", [1.0, 0.1])
def test_a_perceptron_answers_as_trained_with_the_probabilities_of_two_classes(y, learning_rate):
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    perceptron = Perceptron(2)
    perceptron.fit(x, y, learning_rate=learning_rate)
    network = fuse(perceptron.config, perceptron.to_tensors())
    assert network.out_features == 2
    np.testing.assert_array_equal(network.forward(x), np.array([[1 - c, c] for c in y], np.float32))
    assert network.forward(x).dtype == np.float32


def test_a_step_unit_fires_at_zero():
    config = MLPConfig(layer_sizes=(1, 1), output="step")
    network = fuse(config, {"layers.0.weight": np.ones((1, 1)), "layers.0.bias": np.zeros(1)}, input_mean=2.0)
    np.testing.assert_array_equal(
        network.forward(np.array([[1.9], [2.0], [2.1]], np.float32)), [[1, 0], [0, 1], [0, 1]]
    )


@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3, 1e4])
def test_a_column_far_from_zero_loses_as_many_roundings_as_its_mean_has_standard_deviations(ratio):
    config = MLPConfig(layer_sizes=(8, 16, 3), activation="tanh", output="linear")
    tensors = trained_like(config)
    std = np.full(8, 2.0)
    mean = ratio * std
    x = (mean + std * np.random.default_rng(0).normal(size=(200, 8))).astype(np.float32)
    given_statistics = {"input_mean": mean, "input_std": std}
    error = fuse(config, tensors, **given_statistics).forward(x) - model_answer(config, tensors, x, **given_statistics)
    # Each of 8 terms and the bias has the size ratio·|w|, and rounds once as a product and once as a weight.
    slope = np.abs(tensors["layers.0.weight"]).sum(axis=1).max() * np.abs(tensors["layers.1.weight"]).sum(axis=1).max()
    assert np.abs(error).max() <= 4 * ratio * ROUNDING * slope


OFFSETS = (0.0, 1e3, 1e6, 1e8, 1.7e9, -1.7e9, 1e12, 1e300)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    mean=st.integers(-64, 64).map(lambda n: n / 16),
    clamp=st.booleans(),
    members=st.integers(1, 3),
)
def test_the_same_network_gives_the_same_bits_at_any_origin(seed, mean, clamp, members):
    config = MLPConfig(layer_sizes=(3, 8, 1), output="linear", clamp=clamp, members=members)
    alone = [trained_like(replace(config, members=1), seed + i) for i in range(members)]
    tensors = {name: np.stack([own[name] for own in alone]) for name in alone[0]} if members > 1 else alone[0]
    x = rows_of(config, seed=seed)
    std = 29.0
    plain = fuse(config, tensors, output_mean=mean, output_std=std, output_range=(mean - 8, mean + 8))
    for offset in OFFSETS[:-1]:  # so that offset + mean and its range are exact
        far = fuse(
            config,
            tensors,
            output_mean=offset + mean,
            output_std=std,
            output_range=(offset + mean - 8, offset + mean + 8),
            output_origin=offset,
        )
        assert far.forward(x).tobytes() == plain.forward(x).tobytes()
        answer = far.answer(x)
        expected = [float(Fraction(offset) + Fraction(float(value))) for value in plain.forward(x)[:, 0]]
        assert answer[:, 0].tolist() == expected
        assert answer.dtype == (np.float64 if offset else np.float32)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_mean_far_above_the_spread_costs_no_more_than_float64_rounds(offset):
    config = MLPConfig(layer_sizes=(4, 16, 1), output="linear")
    tensors = trained_like(config)
    x = rows_of(config)
    network = fuse(config, tensors, output_mean=offset, output_std=29.0, output_origin=offset)
    expected = model_answer(config, tensors, x, output_std=29.0)
    bound = 8 * 2 * np.sqrt(16) * ROUNDING * max(29.0, np.abs(expected).max()) + np.spacing(abs(offset))
    np.testing.assert_allclose(network.answer(x) - offset, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("bound", [1e39, 1e300])
def test_a_range_beyond_float32_bounds_nothing(bound):
    config = MLPConfig(layer_sizes=(2, 1), output="linear", clamp=True)
    network = fuse(config, trained_like(config), output_range=(-bound, bound))
    assert np.isfinite(network.clamp).all()
    torch.clamp(torch.ones(1), *network.clamp)  # refuses bounds that the type cannot represent
    x = rows_of(config)
    free = fuse(MLPConfig(layer_sizes=(2, 1), output="linear"), trained_like(config))
    np.testing.assert_array_equal(network.forward(x), free.forward(x))


def test_one_row_alone_no_rows_and_a_crowd():
    config = MLPConfig(layer_sizes=(6, 12, 3), normalization="layer")
    network = fuse(config, trained_like(config))
    x = rows_of(config)
    alone = np.concatenate([network.forward(row[None]) for row in x])
    np.testing.assert_allclose(alone, network.forward(x), rtol=0, atol=8 * ROUNDING)
    assert network.forward(x[:0]).shape == (0, 3)
    with pytest.raises(DataError, match=r"\(rows, 6\), got \(64, 5\)"):
        network.forward(x[:, :5])


def test_a_network_cannot_be_changed():
    config = MLPConfig(layer_sizes=(2, 2))
    network = fuse(config, trained_like(config))
    assert isinstance(network, InferenceNetwork)
    with pytest.raises(AttributeError):
        network.members = ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_mean": [1.0, 2.0]}, r"input_mean must be a number or have shape \(3,\), got \(2,\)"),
        ({"input_std": [1.0, 0.0, 1.0]}, "input_std must be positive"),
        ({"input_std": [1.0, np.nan, 1.0]}, "input_std must be positive"),
        ({"input_mean": [1.0, np.inf, 1.0]}, "input_mean must be finite"),
        ({"output_mean": 1.0}, "regression"),
        ({"output_std": 2.0}, "regression"),
        ({"output_origin": 2.0}, "regression"),
    ],
)
def test_statistics_that_do_not_fit_are_named(arguments, message):
    config = MLPConfig(layer_sizes=(3, 4, 2))
    with pytest.raises(ConfigError, match=message):
        fuse(config, trained_like(config), **arguments)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.0.weight", np.zeros((3, 4)), "'layers.0.weight' has shape"),
        ("layers.0.weight", np.full((4, 3), np.nan), "'layers.0.weight' holds values that are not finite"),
        ("norms.0.running_mean", np.full(4, np.inf), "'norms.0.running_mean' holds values that are not finite"),
        ("norms.0.running_var", np.full(4, -1.0), "'norms.0.running_var' holds a negative variance"),
        ("norms.0.weight", np.full(4, 3e38), "too large for float32"),
    ],
)
def test_tensors_that_cannot_be_served_are_named(name, value, message):
    config = MLPConfig(layer_sizes=(3, 4, 2), normalization="batch")
    tensors = trained_like(config) | {"layers.0.weight": np.full((4, 3), 5.0)} | {name: value}
    with pytest.raises(ConfigError, match=message):
        fuse(config, tensors)


def test_a_logistic_output_answers_shares_and_has_no_scale():
    config = MLPConfig(layer_sizes=(3, 5, 2), output="logistic", activation="tanh")
    tensors = MLP(config, generator=torch.Generator().manual_seed(0)).to_tensors()
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    plain = MLP.from_tensors(config, tensors).eval()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(fuse(config, tensors).forward(x), 1 / (1 + np.exp(-plain)), rtol=1e-5)
    for wrong in ({"output_mean": 2.0}, {"output_origin": 2.0}, {"output_std": 2.0}):
        with pytest.raises(ConfigError, match="logistic"):
            fuse(config, tensors, **wrong)


def test_an_exponential_output_multiplies_by_the_targets_mean():
    config = MLPConfig(layer_sizes=(3, 5, 1), output="exponential", activation="tanh")
    tensors = MLP(config, generator=torch.Generator().manual_seed(0)).to_tensors()
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    plain = MLP.from_tensors(config, tensors).eval().predict_probabilities(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(fuse(config, tensors, output_std=40.0).forward(x), 40 * plain, rtol=1e-5)
    large = fuse(config, tensors, output_std=1e30).forward(x)
    np.testing.assert_allclose(large / np.float32(1e30), fuse(config, tensors).forward(x), rtol=3e-7)
    for wrong in ({"output_mean": 2.0}, {"output_origin": 2.0}):
        with pytest.raises(ConfigError, match="exponential"):
            fuse(config, tensors, **wrong)
