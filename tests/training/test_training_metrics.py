"""The metrics are scikit-learn's, on any answers and truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from training.metrics import evaluate


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(2, 40), st.integers(0, 1000))
def test_classification(classes, rows, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), rows).astype(np.float32)
    truth = rng.integers(0, classes, rows)
    guessed = probabilities.argmax(axis=1)
    found = evaluate("softmax", probabilities, truth)
    assert found["rows"] == rows
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, guessed))
    assert found["f1_macro"] == pytest.approx(oracle.f1_score(truth, guessed, average="macro"))
    # scikit-learn renormalises float32 rows; in float64 there is nothing to renormalise beyond rounding.
    normalised = probabilities.astype(np.float64)
    normalised /= normalised.sum(axis=1, keepdims=True)
    assert found["log_loss"] == pytest.approx(
        oracle.log_loss(truth, normalised, labels=list(range(classes))), rel=1e-5, abs=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_regression(rows, seed):
    rng = np.random.default_rng(seed)
    truth, values = rng.normal(100, 20, rows), rng.normal(100, 20, (rows, 1)).astype(np.float32)
    found = evaluate("linear", values, truth)
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, values[:, 0]), rel=1e-5)
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, values[:, 0]), rel=1e-5)
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, values[:, 0]), rel=1e-4, abs=1e-4)


def test_a_probability_of_zero_gives_a_finite_log_loss():
    assert evaluate("softmax", np.array([[1, 0]], dtype=np.float32), np.array([1]))["log_loss"] == pytest.approx(
        87.3, abs=0.1
    )


def test_a_step_output_has_no_log_loss():
    assert set(evaluate("step", np.array([[1, 0]], dtype=np.float32), np.array([0]))) == {
        "rows",
        "accuracy",
        "f1_macro",
    }


def test_values_that_are_all_equal_have_no_r2():
    assert "r2" not in evaluate("linear", np.ones((3, 1), dtype=np.float32), np.full(3, 2.0))
