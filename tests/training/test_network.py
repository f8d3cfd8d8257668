"""The hand-written backward passes equal autograd for every combination of parts; further tests of each part."""

import itertools
from typing import get_args

import numpy as np
import pytest
import torch
from sign_matrices import matrices
from torch.nn import functional

from models.network.config import Activation, MLPConfig, Normalization
from models.network.inputs import InputConfig
from models.network.mlp import MLP
from training.config import resolve
from training.engines.member_rates import MemberRates
from training.engines.network.adam import Adam
from training.engines.network.losses import CrossEntropy, SquaredError
from training.engines.network.masks import HostMasks
from training.engines.network.network import MemberBatch, Network
from training.engines.network.parameters import Parameters
from training.engines.rows import DeviceRows
from training.engines.schedules import LEARNING_RATES, REGULARIZATIONS
from training.engines.small_pass import SmallPass
from training.engines.trainer import Trainer

CPU = torch.device("cpu")
INPUTS = InputConfig(
    numbers=(0, 2, 3), flags=(1, 5), indices=(4, 6), categories=(11, 40), clip=3.0, frequencies=16, scale=True
)
MEMBER_RATES = (1.0, 2.0, 0.5)
ROWS = 9


def factor(name):
    return 0.3 if name.endswith(("bias", "mix")) else 1.0


def modules(config, members):
    rng = np.random.default_rng(0)
    made = []
    for seed in range(members):
        module = MLP(config, generator=torch.Generator().manual_seed(seed)).double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.1 * torch.from_numpy(rng.normal(size=parameter.shape))
        made.append(module)
    return made


def rows_of(config, members):
    """Makes the same rows in the form for a module and in the form for a network."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, config.in_features))
    y = rng.integers(0, 3, ROWS) if config.output == "softmax" else rng.normal(size=ROWS)
    weight = torch.from_numpy(rng.uniform(0, 2, ROWS))
    target, weight = torch.from_numpy(y), weight / weight.mean()
    dense, places = torch.from_numpy(x), None
    if (inputs := config.inputs) is not None:
        x[:, inputs.flags] = rng.integers(0, 2, (ROWS, 2))
        for at, categories in zip(inputs.indices, inputs.categories, strict=True):
            x[:, at] = rng.integers(0, categories + 1, ROWS)
        clipped = x[:, inputs.numbers] / np.sqrt(1 + np.square(x[:, inputs.numbers] / inputs.clip))
        dense = torch.from_numpy(np.concatenate([clipped, x[:, inputs.flags]], axis=1))
        places = torch.from_numpy(x[:, inputs.indices]).long() + torch.tensor(inputs.table_offsets())
        places = places.expand(members, -1, -1)
    batch = MemberBatch(dense.expand(members, -1, -1), places, target.expand(1, -1), weight.expand(1, -1))
    return torch.from_numpy(x), batch


@pytest.mark.parametrize("inputs", [None, INPUTS], ids=["plain", "inputs"])
@pytest.mark.parametrize("normalization", get_args(Normalization))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_losses_gradients_and_statistics_are_autograds(activation, normalization, inputs):
    ways = ("torch", "NumPy") if inputs is None else ("torch",)
    for learned, output, members, way in itertools.product((False, True), ("softmax", "linear"), (1, 3), ways):
        config = MLPConfig(
            layer_sizes=(7, 6, 5, 3 if output == "softmax" else 1),
            activation=activation,
            normalization=normalization,
            output=output,
            learned_activation=learned,
            inputs=inputs,
        )
        oracles = modules(config, members)
        several = MLPConfig.from_dict(config.to_dict() | {"members": members})
        masks = HostMasks(np.zeros(members), seed=0)
        network = Network(
            several,
            masks=masks,
            ntk=True,
            factor=factor,
            member_rates=None if members == 1 else torch.tensor(MEMBER_RATES),
            device=CPU,
            dtype=torch.float64,
        )
        states = [module.state_dict() for module in oracles]
        stacked = {name: np.stack([state[name].numpy() for state in states]) for name in config.tensor_shapes()}
        network.load(stacked if members > 1 else {name: array[0] for name, array in stacked.items()})
        x, batch = rows_of(config, members)
        loss_of = CrossEntropy(smoothing=0.1) if output == "softmax" else SquaredError()
        if way == "torch":
            losses = network.learn(batch, loss_of)
        else:
            y, weight = batch.target[0].numpy(), batch.weight[0].numpy()
            rows = DeviceRows(config, x.numpy(), y, weight, device=CPU, dtype=torch.float64)
            bound = SmallPass(network, rows, loss_of, masks, size=ROWS)
            bound(np.zeros((members, ROWS), dtype=np.int64))  # a second batch overwrites the first one's gradient
            for norm in network.norms.values():
                norm.running_mean.zero_(), norm.running_var.fill_(1)
            losses = bound(np.tile(np.arange(ROWS), (members, 1)))
        for i, module in enumerate(oracles):
            loss = _loss(module.train()(x), batch, output)
            loss.backward()
            assert losses[i].item() == pytest.approx(loss.item(), rel=1e-12)
            for name, parameter in module.named_parameters():
                _compare(network, name, i, members, parameter.grad.clone())
            for name, running in module.state_dict().items():
                if "running" in name:
                    np.testing.assert_allclose(network.tensors()[name][i if members > 1 else ...], running, rtol=1e-6)


def _loss(out, batch, output):
    weight = batch.weight[0]
    if output == "softmax":
        each = functional.cross_entropy(out, batch.target[0], label_smoothing=0.1, reduction="none")
        return (each * weight).mean()
    return (torch.square(out[:, 0] - batch.target[0]) * weight).mean()


def _compare(network, name, member, members, expected):
    """Compares gradients, scaled by parameter: θ' with θ = factor·rate·θ', and for a weight also θ/√n."""
    if name == "inputs.embedding.weight":
        expected[list(INPUTS.table_offsets())] = 0  # the embedding of "no category" is not trained
    scale = factor(name) * (MEMBER_RATES[member] if members > 1 else 1.0)
    if name.startswith("layers.") and name.endswith("weight"):
        scale /= np.sqrt(expected.shape[1])
    torch.testing.assert_close(network.parameters.gradients[name][member], expected * scale, rtol=1e-9, atol=1e-10)


def test_a_parameter_with_a_factor_learns_that_much_faster():
    parameters = Parameters(
        {"a": (2,), "b": (3,)}, members=1, factor=lambda name: 5.0 if name == "a" else 1.0, device=CPU
    )
    adam = Adam(parameters.flat, parameters.gradient)
    parameters.gradients["a"].fill_(3.0)
    parameters.gradients["b"].fill_(-0.2)
    parameters.finish_gradient()
    adam.step(0.01)
    parameters.refresh()
    np.testing.assert_allclose(parameters.values["a"], -0.05, rtol=1e-5)
    np.testing.assert_allclose(parameters.values["b"], 0.01, rtol=1e-5)


@pytest.mark.parametrize("is_decoupled", [True, False])
def test_decay_is_stronger_where_a_parameter_learns_faster(is_decoupled):
    parameters = Parameters(
        {"a": (2,), "b": (3,), "c": (1,), "d": (2,)},
        members=2,
        factor={"a": 5.0, "b": 1.0, "c": 0.5, "d": 1.0}.__getitem__,
        member_rates=torch.tensor([1.0, 3.0]),
        device=CPU,
    )
    strengths = torch.zeros(2, parameters.size)
    for span, strength in parameters.decay_rates(lambda name: name in "ab", is_decoupled=is_decoupled):
        strengths[:, span] = 1.0 if strength is None else strength
    second = 3.0 if is_decoupled else 9.0  # its rate, or the square
    for name, expected in {"b": (1, second), "d": (0, 0), "a": (25, 25 * second), "c": (0, 0)}.items():
        begin, end = parameters._spans[name]
        assert [set(row) for row in strengths[:, begin:end].tolist()] == [{expected[0]}, {expected[1]}], name
    alike = Parameters({"a": (2,), "b": (3,)}, members=1, device=CPU)
    assert alike.decay_rates(lambda name: True, is_decoupled=True) == [(slice(0, 5), None)]


def test_masks_drop_the_share_that_they_are_asked_to_and_keep_the_mean():
    masks = HostMasks(np.array([0.15, 0.5]), seed=3)
    drawn = masks.draw(torch.empty(2, 400, 500)).numpy()
    for mask, p in zip(drawn, (0.15, 0.5), strict=True):
        assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - round(p * 65536) / 65536))}
        assert (mask == 0).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / mask.size))
        assert mask.mean() == pytest.approx(1, abs=0.01)
    masks.scale_probabilities(0)
    assert not masks.drops


def test_the_schedules_are_those_of_their_sources():
    times = np.linspace(0, 1, 201)
    coslog4 = [LEARNING_RATES["coslog4"](time) for time in times]
    np.testing.assert_allclose(coslog4, 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * times))), atol=1e-12)
    assert [LEARNING_RATES["cosine"](time) for time in (0, 0.5, 1)] == [1, pytest.approx(0.5), 0]
    flat = [REGULARIZATIONS["flat_cosine"](time) for time in (0, 0.49, 0.75, 1)]
    assert flat == [1, 1, pytest.approx(0.5), 0]


def trainer_of(members, **settings):
    plain = {"hidden_sizes": (16,), "epochs": 5, "batch_size": 30, "members": members}
    config = resolve(plain | settings, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    return Trainer(config, architecture, matrices(), device=CPU, rates=settings.get("rates"))


def test_members_learn_as_if_each_were_alone():
    """Trains members with equal initial weights and order; without dropout, whose masks depend on the member count."""
    rates = np.array([1.0, 0.3, 3.0])
    plain = {"hidden_sizes": (16,), "epochs": 5, "batch_size": 30, "dropout": 0.0}
    together = Trainer(
        (config := resolve(plain | {"members": 3}, task="classification")),
        config.architecture(in_features=4, out_features=2),
        matrices(),
        device=CPU,
        rates=MemberRates(learning_rates=rates),
    )
    first = together.network.tensors()
    alone = []
    for i, rate in enumerate(rates):
        single = resolve(plain | {"learning_rate": 0.04 * rate}, task="classification")
        trainer = Trainer(single, single.architecture(in_features=4, out_features=2), matrices(), device=CPU)
        trainer.network.load({name: tensor[i] for name, tensor in first.items()})
        alone.append(trainer)
    generator = np.random.default_rng(0)
    for _ in range(20):
        order = torch.from_numpy(generator.permutation(150)[:30])
        losses = together.step(order.expand(3, -1), rate=0.04)
        for i, trainer in enumerate(alone):
            [loss] = trainer.step(order[None], rate=0.04 * rates[i])
            assert losses[i].item() == pytest.approx(loss.item(), rel=1e-3, abs=1e-5)


def test_the_data_driven_start_gives_every_unit_a_spread_of_one_and_a_bias_among_the_data():
    config = resolve({"hidden_sizes": (64, 64)}, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    data = matrices()
    trainer = Trainer(config, architecture, data, device=CPU)
    module = MLP.from_tensors(architecture, trainer.network.tensors())
    x = torch.from_numpy(data.x)
    for layer, activation in zip(module.layers, [*module.activations, None], strict=True):
        z = layer(x) - layer.bias
        np.testing.assert_allclose(z.std(dim=0, correction=0).detach(), 1, rtol=1e-3)
        least, most = z.min(dim=0).values, z.max(dim=0).values
        assert ((-layer.bias >= least) & (-layer.bias <= most)).all()
        if activation is not None:
            x = activation(layer(x))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.slow
def test_weight_decay_is_torchs(optimizer):
    """Compares the weights with those of torch's own optimiser on torch's own module."""
    settings = {
        "recipe": "classic", "normalization": "none", "dropout": 0.0, "hidden_sizes": (8,), "batch_size": 150,
        "clip_norm": None, "optimizer": optimizer, "weight_decay": 0.1, "learning_rate": 0.01, "schedule": "constant",
        "epochs": 5,
    }  # fmt: skip
    config = resolve(settings, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    data = matrices()
    trainer = Trainer(config, architecture, data, device=CPU)
    module = MLP.from_tensors(architecture, trainer.network.tensors())
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    oracle = (torch.optim.AdamW if optimizer == "adamw" else torch.optim.Adam)(groups, lr=0.01)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for _ in range(5):
        oracle.zero_grad()
        functional.cross_entropy(module(x), y).backward()
        oracle.step()
        trainer.epoch()
    for name, expected in module.to_tensors().items():
        np.testing.assert_allclose(trainer.network.tensors()[name], expected, rtol=2e-4, atol=2e-5)


def test_narrow_products_learn_much_the_same_and_are_served_wide():
    settings = {"recipe": "classic", "normalization": "none", "dropout": 0.0, "hidden_sizes": (32,), "epochs": 5}
    trainers = {}
    for precision in ("float32", "bfloat16"):
        config = resolve(settings | {"precision": precision}, task="classification")
        trainers[precision] = Trainer(
            config, config.architecture(in_features=4, out_features=2), matrices(), device=CPU
        )
    order = torch.arange(64)[None]
    wide, narrow = trainers["float32"], trainers["bfloat16"]
    assert wide.evaluate().loss == narrow.evaluate().loss, "inference is in float32"
    for trainer in (wide, narrow):
        trainer.step(order, rate=0.0)
    for name, gradient in wide.network.parameters.gradients.items():
        difference = (narrow.network.parameters.gradients[name] - gradient).norm() / gradient.norm()
        assert 0 < difference < 0.05, name  # bfloat16 has 8 bits of precision
    for _ in range(5):
        losses = [float(trainer.epoch()) for trainer in (wide, narrow)]
        assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_mask_that_drops_nearly_all_keeps_nearly_none():
    kept = HostMasks(np.zeros(1), seed=0).keep(torch.empty(1, 1000, 1000), 1e-9)
    assert kept.mean() < 1e-4
