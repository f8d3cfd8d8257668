"""Each fold doubles the pieces, no single layer beats its bound, and a trained XOR can be reused."""

import itertools

import numpy as np
import pytest
import torch

from models.network.mlp import MLP
from training.studies import composition, xor


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
def test_the_claim_holds_whatever_is_drawn(seed):
    assert composition.run(seed=seed, quick=True).holds


@pytest.mark.parametrize("folds", range(1, 8))
def test_torch_folds_alike_and_the_values_at_the_turns_alternate(folds):
    network = composition.deep_fold(folds)
    points = torch.linspace(0, 1, 2**folds + 1, dtype=torch.float64)[:, None]
    module = MLP.from_tensors(network.config, network.to_tensors()).double()
    with torch.no_grad():
        assert module(points)[:, 0].tolist() == [i % 2 for i in range(2**folds + 1)]
    x = np.linspace(0, 1, 1000)
    folded = x
    for _ in range(folds):
        folded = 1 - np.abs(2 * folded - 1)  # the tent map
    np.testing.assert_allclose(network.forward(x[:, None])[:, 0], folded, atol=1e-12)


@pytest.mark.parametrize("points", range(2, 10))
@pytest.mark.parametrize("units", range(1, 8))
def test_the_least_errors_of_one_layer_are_those_of_all_answers_with_as_many_runs(points, units):
    alternating = [i % 2 for i in range(points)]
    least = min(
        sum(a != b for a, b in zip(answers, alternating, strict=True))
        for answers in itertools.product((0, 1), repeat=points)
        if 1 + sum(a != b for a, b in itertools.pairwise(answers)) <= units + 2
    )
    assert composition.least_wrong(points, units) == least


def test_a_composed_xor_answers_each_row_as_python_does():
    part = composition.trained_xor(seed=0)
    rows = np.array(list(itertools.product((0, 1), repeat=8)))
    odd = np.array([sum(row) % 2 for row in rows.tolist()])
    assert ((composition.composed(part, rows.astype(float)) > 0.5) == odd).all()


def test_an_xor_that_has_not_learned_does_not_bear_the_claim_out(monkeypatch):
    monkeypatch.setattr(xor, "LEARNING_RATE", 1e-9)
    assert not composition.run(quick=True).holds
