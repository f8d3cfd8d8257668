"""Variances change by the theory: times nσ² per layer, and half of that with ReLU; gradients equal autograd's."""

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from training.studies import initialisation


def per_layer(values):
    """Returns the geometric mean of the ratios of neighbours."""
    return (values[-1] / values[0]) ** (1 / (len(values) - 1))


@pytest.mark.parametrize("seed", range(3))
def test_the_claim_holds(seed):
    result = initialisation.run(seed=seed)
    assert result.holds, result.verdict
    assert len(result.of("he", "relu").forward) == 30


def test_each_layer_multiplies_the_variance_as_the_theory_says():
    result, width = initialisation.run(), initialisation.WIDTH
    for scheme, activation, factor in (
        ("small", "tanh", width * initialisation.SMALL**2),  # tanh is the identity for such small values
        ("small", "relu", width * initialisation.SMALL**2 / 2),
        ("large", "relu", width * initialisation.LARGE**2 / 2),
        ("xavier", "relu", 0.5),
        ("he", "relu", 1.0),
    ):
        seen = result.of(scheme, activation)
        assert per_layer(seen.forward) == pytest.approx(factor, rel=0.1)
        assert per_layer(seen.backward[::-1]) == pytest.approx(factor, rel=0.1)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_are_those_of_autograd(activation):
    seen = initialisation._propagate("he", activation, 0.5, layers=4, width=8, rng=np.random.default_rng(5))
    rng, layers = np.random.default_rng(5), []
    weights = [torch.from_numpy(0.5 * rng.normal(size=(8, 8))) for _ in range(4)]
    h = torch.from_numpy(rng.normal(size=(initialisation._ROWS, 8))).requires_grad_()
    for weight in weights:
        layers.append(h)
        h = getattr(torch, activation)(h @ weight.T)
    gradients = torch.autograd.grad(h, layers, torch.from_numpy(rng.normal(size=tuple(h.shape))))
    np.testing.assert_allclose(seen.backward, [g.numpy().var() for g in gradients], rtol=1e-12)


@pytest.mark.parametrize("layers", [19, 101])
def test_layers_out_of_bounds_are_refused(layers):
    with pytest.raises(ConfigError, match="layers"):
        initialisation.run(layers=layers)
