import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.mlp import MLP

ACTIVATION_TYPES = {
    "relu": torch.nn.ReLU,
    "leaky_relu": torch.nn.LeakyReLU,
    "gelu": torch.nn.GELU,
    "silu": torch.nn.SiLU,
    "selu": torch.nn.SELU,
    "mish": torch.nn.Mish,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "identity": torch.nn.Identity,
}
configs = st.builds(
    MLPConfig,
    layer_sizes=st.lists(st.integers(2, 9), min_size=2, max_size=6).map(tuple),
    activation=st.sampled_from(list(ACTIVATION_TYPES)),
    output=st.sampled_from(["softmax", "linear"]),
    dropout=st.sampled_from([0.0, 0.3]),
    normalization=st.sampled_from(["none", "batch", "layer"]),
    initialization=st.sampled_from(["he", "xavier"]),
    bias=st.booleans(),
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(configs)
def test_the_modules_tensors_are_those_that_the_config_counts_and_names(config):
    mlp = MLP(config)
    state = {name: tuple(t.shape) for name, t in mlp.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert state == config.tensor_shapes()
    assert sum(p.numel() for p in mlp.parameters()) == config.parameter_count
    assert {n: t.shape for n, t in mlp.to_tensors().items()} == config.tensor_shapes()


@settings(max_examples=60, deadline=None)
@given(configs)
def test_every_layer_of_the_config_is_a_module_of_that_type_under_that_name(config):
    modules = dict(MLP(config).named_modules())
    leaves = {name: type(module).__name__ for name, module in modules.items() if not list(module.children())}
    empty = {name for name in ("norms", "activations", "dropouts") if not len(modules[name])}
    assert {name: kind for name, kind in leaves.items() if name not in empty} == {
        layer.name: layer.type for layer in config.layers()
    }


@settings(max_examples=60, deadline=None)
@given(configs)
def test_forward_runs_the_layers_in_the_order_of_the_config(config):
    mlp, order = MLP(config).eval(), []
    for name, module in mlp.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: order.append(name))
    assert mlp(torch.zeros(3, config.in_features)).shape == (3, config.out_features)
    assert order == [layer.name for layer in config.layers()]


@pytest.mark.parametrize("activation", ACTIVATION_TYPES)
@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("training", [True, False])
def test_forward_is_that_of_a_plain_sequential(activation, normalization, training):
    sizes = (5, 8, 6, 3)
    mlp = MLP(MLPConfig(layer_sizes=sizes, activation=activation, normalization=normalization), generator=seeded())
    plain = []
    for n_in, n_out in itertools.pairwise(sizes):
        plain.append(torch.nn.Linear(n_in, n_out))
        plain += {"none": [], "batch": [torch.nn.BatchNorm1d(n_out)], "layer": [torch.nn.LayerNorm(n_out)]}[
            normalization
        ]
        plain.append(ACTIVATION_TYPES[activation]())
    sequential = torch.nn.Sequential(*plain[: -1 if normalization == "none" else -2])
    by_order = [layer for layer in sequential if isinstance(layer, torch.nn.Linear)]
    for ours, theirs in zip(mlp.layers, by_order, strict=True):
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(16, 5, generator=seeded(1))
    torch.testing.assert_close(mlp.train(training)(x), sequential.train(training)(x), rtol=0, atol=0)


def test_each_hidden_layer_has_an_activation_of_its_own():
    activations = list(MLP(MLPConfig(layer_sizes=(2, 3, 3, 3, 2))).activations)
    assert len({id(activation) for activation in activations}) == 3


def test_dropout_acts_in_training_and_not_in_inference():
    config = MLPConfig(layer_sizes=(4, 2000, 2), dropout=0.4, activation="identity", output="linear")
    mlp, seen = MLP(config, generator=seeded()), []
    mlp.dropouts[0].register_forward_hook(lambda _module, _args, out: seen.append(out))
    x = torch.ones(5, 4)
    mlp(x)
    # 10,000 units, each zero with probability 0.4: the standard error is 0.005.
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    mlp.eval()
    torch.testing.assert_close(mlp(x), mlp(x), rtol=0, atol=0)


@pytest.mark.parametrize(("initialization", "variance"), [("he", 2 / 400), ("xavier", 2 / (400 + 900))])
def test_initial_weights_have_the_variance_of_their_method_and_biases_are_zero(initialization, variance):
    mlp = MLP(MLPConfig(layer_sizes=(400, 900, 2), initialization=initialization), generator=seeded())
    weight = mlp.layers[0].weight.detach().numpy()
    # 360,000 draws: the standard error of the variance is variance·√(2/360,000), 0.24 %; of the mean, std/600.
    assert weight.var() == pytest.approx(variance, rel=0.01)
    assert abs(weight.mean()) < 4 * np.sqrt(variance) / 600
    assert not any(layer.bias.any() for layer in mlp.layers)


def test_a_generator_repeats_the_weights_and_leaves_the_global_one_alone():
    config = MLPConfig(layer_sizes=(3, 4, 2), normalization="batch")
    before = torch.get_rng_state()
    first, second, third = (MLP(config, generator=seeded(s)).layers[0].weight for s in (1, 1, 2))
    MLP.from_tensors(config, MLP(config, generator=seeded()).to_tensors())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    assert (first != third).all()


def test_without_a_generator_the_global_seed_rules():
    config = MLPConfig(layer_sizes=(3, 4, 2))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = MLP(config)
        torch.manual_seed(5)
        second = MLP(config)
    assert torch.equal(first.layers[0].weight, second.layers[0].weight)


@settings(max_examples=30, deadline=None)
@given(configs)
def test_tensors_come_back_bit_for_bit_also_from_read_only_memory(config):
    mlp = MLP(config)
    mlp(torch.randn(8, config.in_features))  # changes the running statistics
    tensors = mlp.to_tensors()
    for tensor in tensors.values():
        assert tensor.dtype == np.float32
        assert tensor.flags.c_contiguous
        tensor.flags.writeable = False
    restored, x = MLP.from_tensors(config, tensors).eval(), torch.randn(5, config.in_features)
    assert torch.equal(restored(x), mlp.eval()(x))
    for name, tensor in restored.to_tensors().items():
        np.testing.assert_array_equal(tensor, tensors[name])


def test_exported_tensors_do_not_change_with_further_training():
    mlp = MLP(MLPConfig(layer_sizes=(3, 4, 2), normalization="batch"))
    tensors = mlp.to_tensors()
    kept = copy.deepcopy(tensors)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter += 1
    mlp(torch.randn(8, 3))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, kept[name])


def test_loading_keeps_the_parameters_that_an_optimiser_holds_and_their_dtype():
    config = MLPConfig(layer_sizes=(3, 4, 2))
    mlp = MLP(config).double()
    held = mlp.layers[0].weight
    tensors = MLP(config).to_tensors()
    mlp.load_tensors(tensors)
    assert mlp.layers[0].weight is held
    assert held.dtype == torch.float64
    np.testing.assert_array_equal(held.detach().numpy(), tensors["layers.0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"layers.0.weight": np.zeros((4, 2))},
            r"'layers.0.weight' has shape \(4, 2\), but the architecture needs \(4, 3\)",
        ),
        ({"layers.9.bias": np.zeros(4)}, "'layers.9.bias' does not belong"),
        ({"norms.0.running_var": None}, r"'norms.0.running_var' of shape \(4,\) is missing"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(change, message):
    mlp = MLP(MLPConfig(layer_sizes=(3, 4, 2), normalization="batch"))
    before = mlp.to_tensors()
    tensors = {n: t for n, t in (before | change).items() if t is not None}
    for load in (mlp.load_tensors, lambda t: MLP.from_tensors(mlp.config, t)):
        with pytest.raises(ConfigError, match=message):
            load({name: tensor + 1 for name, tensor in tensors.items()})
    np.testing.assert_array_equal(mlp.to_tensors()["layers.1.weight"], before["layers.1.weight"])


def test_probabilities_are_the_output_function_of_the_logits():
    x = torch.randn(6, 3, generator=seeded())
    softmax = MLP(MLPConfig(layer_sizes=(3, 4)))
    torch.testing.assert_close(
        softmax.predict_probabilities(x), softmax(x).exp() / softmax(x).exp().sum(1, keepdim=True)
    )
    linear = MLP(MLPConfig(layer_sizes=(3, 4), output="linear"))
    assert torch.equal(linear.predict_probabilities(x), linear(x))
    step = MLP(MLPConfig(layer_sizes=(3, 1), output="step"))
    expected = [[0.0, 1.0] if z >= 0 else [1.0, 0.0] for z in step(x)[:, 0].tolist()]
    assert step.predict_probabilities(x).tolist() == expected
    assert step.predict_probabilities(torch.zeros(1, 3)).tolist() == [[0.0, 1.0]]  # z = 0 gives class 1


def test_without_a_nonlinearity_no_depth_makes_xor_separable():
    mlp = MLP(MLPConfig(layer_sizes=(2, 16, 16, 2), activation="identity"), generator=seeded())
    x, y = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([0, 1, 1, 0])
    optimizer = torch.optim.Adam(mlp.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(mlp(x), y).backward()
        optimizer.step()
    assert (mlp(x).argmax(1) == y).sum() < 4
    assert torch.nn.functional.cross_entropy(mlp(x), y).item() >= np.log(2) - 1e-6  # no better than a coin


def test_a_copy_of_the_module_is_its_own():
    # identity, since an unlucky draw could set every ReLU, and so the answer, to 0
    mlp = MLP(MLPConfig(layer_sizes=(2, 3, 2), activation="identity"), generator=seeded())
    twin, x = copy.deepcopy(mlp), torch.ones(1, 2)
    with torch.no_grad():
        twin.layers[0].weight.fill_(0)
        twin.layers[1].weight.fill_(0)
    assert not twin(x).any()
    assert mlp(x).any()
