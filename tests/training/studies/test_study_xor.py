"""The 2-4-2 network learns all four rows from any initial weights."""

import itertools

import numpy as np
import pytest

from training.studies import xor


@pytest.mark.parametrize("seed", range(8))
def test_all_four_are_right_at_the_end(seed):
    result = xor.run(seed=seed)
    assert [p > 0.5 for p in result.snapshots[-1].probabilities] == [
        a != b for a, b in itertools.product((0, 1), (0, 1))
    ]
    assert result.losses[-1] < 0.01
    assert result.holds


def test_loss_and_predictions_are_told_as_it_goes():
    result = xor.run()
    assert [s.step for s in result.snapshots] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    for snapshot in result.snapshots:
        right = np.where(xor.CLASSES == 1, snapshot.probabilities, 1 - np.array(snapshot.probabilities))
        assert snapshot.loss == pytest.approx(-np.log(right).mean(), rel=1e-9)
        assert snapshot.loss == result.losses[snapshot.step]


def test_a_network_that_has_not_learned_does_not_bear_the_claim_out(monkeypatch):
    monkeypatch.setattr(xor, "LEARNING_RATE", 1e-9)
    assert not xor.run(quick=True).holds


def test_the_perceptron_is_never_right_on_all():
    result = xor.run(quick=True)
    assert result.perceptron.cycled
    assert result.perceptron_right < 4


def test_the_plot_shows_the_perceptrons_half_planes_beside_the_networks_answers():
    from matplotlib.figure import Figure

    result = xor.run(quick=True)
    side = np.linspace(-0.4, 1.4, 81)
    ones = np.argwhere(result.perceptron_surface == 1)
    x1, x2 = side[ones[:, 1]], side[ones[:, 0]]
    # A newly trained perceptron on the same rows: its border is the straight line w·x + b = 0.
    perceptron = xor.Perceptron(2)
    perceptron.fit(xor.ROWS, xor.CLASSES, max_epochs=1000)
    w, b = perceptron.weight, perceptron.bias
    assert (w[0] * x1 + w[1] * x2 + b >= 0).all()
    assert len(ones) == sum(w[0] * a + w[1] * c + b >= 0 for a, c in itertools.product(side, side))
    figure = Figure()
    result.draw(figure)
    titles = [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes]
    assert "Perceptron: 2 of 4 right" in titles
    assert "MLP: 4 of 4 right" in titles
