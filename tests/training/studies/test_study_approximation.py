"""The constructed network interpolates linearly within its bound; the trained error falls with the width."""

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.network.mlp import MLP
from training.studies import approximation


@pytest.mark.parametrize("width", [1, 2, 7, 50])
def test_the_constructed_network_is_linear_interpolation(width):
    config, tensors = approximation.interpolator(width)
    network = MLP.from_tensors(config, tensors).double()
    network.load_tensors(tensors)
    x, knots = np.linspace(-1, 1, 301), np.linspace(-1, 1, width + 1)
    with torch.no_grad():
        out = network(torch.from_numpy(x[:, None])).numpy()[:, 0]
    np.testing.assert_allclose(out, np.interp(x, knots, approximation.target(knots)), atol=1e-12)


def test_the_curvature_is_the_greatest_second_derivative():
    x = np.linspace(-1, 1, 20_001)
    second = np.diff(approximation.target(x), 2) / (x[1] - x[0]) ** 2
    assert 0.999 * approximation.CURVATURE < np.abs(second).max() <= approximation.CURVATURE


@pytest.mark.slow
def test_the_error_falls_with_the_width():
    result = approximation.run(widths=(2, 8, 32))
    constructed, trained = ([getattr(run, name) for run in result.runs] for name in ("constructed", "trained"))
    assert all(run.constructed <= run.bound for run in result.runs)
    assert constructed == sorted(constructed, reverse=True)
    assert trained == sorted(trained, reverse=True)
    assert trained[-1] < trained[0] / 20
    assert result.holds


def test_the_reported_errors_are_those_of_the_fit():
    run = approximation.run(quick=True, widths=(1, 4)).runs[-1]
    errors = run.fit - approximation.target(np.linspace(-1, 1, len(run.fit)))
    assert run.trained == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert run.trained_most == pytest.approx(np.abs(errors).max())


@pytest.mark.parametrize("widths", [(4,), (0, 4), (4, 5000), (4, 4)])
def test_widths_that_cannot_be_compared_are_refused(widths):
    with pytest.raises(ConfigError, match="widths"):
        approximation.run(widths=widths)
