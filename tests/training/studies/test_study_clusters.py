"""The best possible answers follow from the densities; the MLP is near on both layouts, the linear model on one."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.linear_model import LogisticRegression

from training.studies import clusters


@pytest.mark.parametrize("layout", clusters.LAYOUTS, ids=lambda layout: layout.name)
def test_the_best_answers_are_of_the_likeliest_cluster(layout):
    x, _ = layout.draw_rows(500, np.random.default_rng(0))
    densities = [
        multivariate_normal(centre, spread**2).pdf(x)
        for centre, spread in zip(layout.centres, layout.spreads, strict=True)
    ]
    np.testing.assert_array_equal(layout.best_answers(x), np.argmax(densities, axis=0))


@pytest.mark.parametrize("seed", range(3))
def test_the_claim_holds(seed):
    result = clusters.run(seed=seed, quick=True)
    assert result.holds, result.verdict


@pytest.mark.slow
def test_another_linear_model_does_no_better():
    result, rng = clusters.run(), np.random.default_rng(1)
    scores = {}
    for run in (result.apart, result.nested):
        x, y = run.layout.draw_rows(6000, rng)
        scores[run.layout.name] = LogisticRegression().fit(x, y).score(*run.layout.draw_rows(6000, rng))
    assert result.apart.linear == pytest.approx(scores["apart"], abs=0.02)
    # A linear model cannot distinguish the two clusters with the same centre, so its answers there are random.
    assert scores["nested"] < result.nested.best - 0.1
