"""Size, learning and generalisation agree with the theory, and the study detects a failure of each."""

import numpy as np
import pytest

from training.studies import universal


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_the_claim_holds_whatever_is_drawn(seed):
    assert universal.run(seed=seed, quick=True).holds


def test_a_written_down_network_is_linear_interpolation():
    x = np.linspace(0, 1, 501)
    knots = np.linspace(0, 1, 15)
    expected = np.interp(x, knots, np.sin(2 * np.pi * 2 * knots))
    np.testing.assert_allclose(universal.constructed(2, 14).forward(x[:, None])[:, 0], expected, atol=1e-12)


@pytest.mark.slow
def test_one_unit_less_is_not_enough():
    x = np.linspace(0, 1, 4001)[:, None]
    for run in universal.run(quick=True).wave_runs:
        enough, fewer = (
            np.abs(universal.constructed(run.waves, units).forward(x) - universal.wave(x, run.waves)).max()
            for units in (run.units, run.units - 1)
        )
        assert enough <= universal.WANTED < fewer


def test_the_noise_that_an_exact_fit_keeps_is_the_integral_over_a_line_between_two_points():
    t = np.linspace(0, 1, 100_001)
    assert universal.kept_noise() == pytest.approx(universal.NOISE * np.sqrt(np.mean((1 - t) ** 2 + t**2)), rel=1e-4)


def test_eight_units_are_the_least_squares_of_hinges():
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(0, 1, 100))
    y = rng.normal(size=100)
    hinges = np.column_stack([np.ones(100), *(np.maximum(x - k / 8, 0) for k in range(8))])
    expected = hinges @ np.linalg.lstsq(hinges, y, rcond=None)[0]
    np.testing.assert_allclose(universal.few_units(x, y).forward(x[:, None])[:, 0], expected, atol=1e-8)


def test_training_that_found_the_weights_would_not_bear_the_claim_out(monkeypatch):
    monkeypatch.setattr(universal, "_train", lambda waves, units, rate, *, seed: universal.constructed(waves, units))
    assert not universal.run(quick=True).holds
