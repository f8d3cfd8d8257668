"""The rule keeps Novikoff's bound, also for the greatest margin; XOR has no separating line."""

import numpy as np
import pytest
from scipy.optimize import linprog
from sklearn.svm import SVC

from training.studies import perceptron


def extended(margin, rows, seed):
    x, y = perceptron.separable_points(margin, rows=rows, rng=np.random.default_rng(seed))
    return np.column_stack([x, np.ones(rows)]), np.where(y == 1, 1, -1)


def rosenblatt(rows, signs):
    """Counts the mistakes of the textbook rule until an epoch has none; the rows contain the 1 of the bias."""
    weights, mistakes = np.zeros(rows.shape[1]), 0
    while True:
        before = mistakes
        for row, sign in zip(rows, signs, strict=True):
            if (1 if weights @ row >= 0 else -1) != sign:
                weights = weights + sign * row
                mistakes += 1
        if mistakes == before:
            return mistakes


@pytest.mark.parametrize("margin", [0.4, 0.1, 0.05])
def test_mistakes_stay_within_the_bound_of_the_best_margin(margin):
    rows, signs = extended(margin, 80, seed=3)
    # A plane through 0 separates rows and their negatives; a hard support vector machine finds the widest margin.
    machine = SVC(kernel="linear", C=1e8).fit(np.concatenate([rows, -rows]), np.concatenate([signs, -signs]))
    best = 1 / np.linalg.norm(machine.coef_)
    assert best >= margin * (1 - 1e-3)
    assert rosenblatt(rows, signs) <= np.square(rows).sum(axis=1).max() / best**2


def test_the_study_counts_as_the_rule_by_the_book_does():
    x, y = perceptron.separable_points(0.1, rows=60, rng=np.random.default_rng(1))
    history = perceptron.Perceptron(2).fit(x, y, max_epochs=1000)
    assert sum(history.mistakes) == rosenblatt(*extended(0.1, 60, seed=1)) > 0


def test_the_margin_is_what_was_asked_for():
    result = perceptron.run(quick=True)
    assert [run.margin for run in result.runs] == pytest.approx(perceptron.MARGINS[:3])


@pytest.mark.parametrize("seed", range(4))
def test_the_claim_holds_for_other_points(seed):
    assert perceptron.run(seed=seed, quick=True).holds


def test_nothing_separates_xor_and_the_rule_never_ends():
    rows, classes = perceptron.XOR
    signs = np.where(classes == 1, 1, -1)
    constraints = -signs[:, None] * np.column_stack([rows, np.ones(4)])  # sign·(w·x + b) ≥ 1
    feasible = linprog(np.zeros(3), A_ub=constraints, b_ub=-np.ones(4), bounds=[(None, None)] * 3)
    assert feasible.status == 2  # infeasible
    xor = perceptron.run(quick=True).xor
    assert xor.cycled
    assert min(xor.mistakes) > 0
