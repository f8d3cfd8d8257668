"""NumPy and PyTorch give the same losses to 1e-12, and the study detects an error in either."""

import numpy as np
import pytest

from models.network.numpy_mlp import NumpyMLP
from training.studies import equivalence


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
def test_the_losses_of_500_steps_are_the_same_to_rounding(seed):
    result = equivalence.run(seed=seed)
    for run in result.runs:
        assert len(run.numpy_losses) == len(run.torch_losses) == 500
        np.testing.assert_allclose(run.numpy_losses, run.torch_losses, rtol=1e-12, atol=0)
        assert run.weight_difference < 1e-12
        assert run.torch_losses[-50:].mean() < run.torch_losses[:50].mean() / 4
    assert result.holds


def test_a_gradient_that_is_off_by_a_millionth_is_seen(monkeypatch):
    update = NumpyMLP.update

    def slightly_off(self, gradients, learning_rate, **how):
        update(self, gradients, learning_rate * (1 + 1e-6), **how)

    monkeypatch.setattr(NumpyMLP, "update", slightly_off)
    assert not equivalence.run(quick=True).holds
