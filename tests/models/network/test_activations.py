"""Each table of activations has each activation of the config, and all compute the same functions."""

from typing import get_args

import numpy as np
import pytest
import torch

from inference import activations as planned_activations
from models.network import functional
from models.network.config import Activation, MLPConfig
from models.network.inference_network import Activate
from models.network.mlp import MLP
from models.network.numpy_mlp import SUPPORTED_ACTIVATIONS
from training.engines.network import activations as trained

NAMES = get_args(Activation)
TABLES = {
    "models/network/functional.py: ACTIVATIONS": functional.ACTIVATIONS,
    "models/network/functional.py: DERIVATIVES": functional.DERIVATIVES,
    "training/engines/network/activations.py: FORWARD": trained.FORWARD,
    "training/engines/network/activations.py: BACKWARD": trained.BACKWARD,
}
Z = np.linspace(-6, 6, 97, dtype=np.float32)[:, None]  # (97, 1), with 0 in it


def config_of(name):
    return MLPConfig(layer_sizes=(1, 1, 1), activation=name, output="linear")


@pytest.mark.parametrize("table", TABLES)
def test_each_table_has_the_activations_of_the_config_and_no_others(table):
    assert set(TABLES[table]) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_configs_layer_and_the_module_have_one_type(name):
    (layer,) = [layer for layer in config_of(name).layers() if layer.kind == "activation"]
    assert layer.type == type(MLP(config_of(name)).activations[0]).__name__


@pytest.mark.parametrize("name", NAMES)
def test_module_plan_and_training_compute_the_reference_function(name):
    expected = functional.ACTIVATIONS[name](Z)
    z = torch.from_numpy(Z)
    planned, out = z.clone(), torch.empty_like(z)
    planned_activations.in_place(name)(planned)
    trained.FORWARD[name](z, out, None)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(MLP(config_of(name)).activations[0](z).numpy(), expected, **close)
    np.testing.assert_allclose(planned.numpy(), expected, **close)
    np.testing.assert_allclose(out.numpy(), expected, **close)
    if name != "identity":
        np.testing.assert_array_equal(Activate(name).forward(Z), expected)


@pytest.mark.parametrize("name", NAMES)
def test_training_computes_the_reference_derivative(name):
    z = torch.from_numpy(Z)
    f, kept, slope = (torch.empty_like(z) for _ in range(3))
    trained.FORWARD[name](z, f, kept)
    np.testing.assert_allclose(f.numpy(), functional.ACTIVATIONS[name](Z), rtol=1e-5, atol=1e-6)
    trained.BACKWARD[name](torch.ones_like(z), z, f, kept, slope)
    np.testing.assert_allclose(slope.numpy(), functional.DERIVATIVES[name](Z), rtol=1e-5, atol=1e-5)


def test_the_numpy_mlp_supports_activations_of_the_config():
    assert set(SUPPORTED_ACTIVATIONS) <= set(NAMES)
