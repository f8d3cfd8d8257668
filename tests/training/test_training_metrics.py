"""The metrics equal scikit-learn's for any predictions and labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from training.metrics import evaluate, reliability, variances


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
    # scikit-learn renormalises float32 rows; in float64, renormalising changes only rounding.
    normalised = probabilities.astype(np.float64)
    normalised /= normalised.sum(axis=1, keepdims=True)
    assert found["log_loss"] == pytest.approx(
        oracle.log_loss(truth, normalised, labels=list(range(classes))), rel=1e-5, abs=1e-6
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(2, 60), st.integers(1, 4), st.integers(0, 1000))
def test_probabilities(classes, rows, decimals, seed):
    rng = np.random.default_rng(seed)
    # Whole multiples of a share, so that there are ties, and confidences on the edges of bins.
    probabilities = rng.multinomial(10**decimals, rng.dirichlet(np.ones(classes), rows)) / 10**decimals
    truth = rng.integers(0, classes, rows)
    found = evaluate("softmax", probabilities.astype(np.float32), truth)
    labels = list(range(classes))
    if classes == 2:
        brier = oracle.brier_score_loss(truth, probabilities[:, 1], labels=labels)
    else:
        brier = oracle.brier_score_loss(truth, probabilities, labels=labels)
    assert found["brier"] == pytest.approx(brier, abs=1e-6)
    assert ("roc_auc" in found) == (classes == 2 and len(set(truth)) == 2)
    if "roc_auc" in found:
        scores = probabilities.astype(np.float32)[:, 1]
        assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(truth, scores))


def test_expected_calibration_error_is_the_sum_over_bins_of_the_definition():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 500)
    truth = rng.integers(0, 3, 500)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    by_hand = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            by_hand += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = evaluate("softmax", probabilities.astype(np.float32), truth)
    assert found["expected_calibration_error"] == pytest.approx(by_hand, abs=1e-6)
    assert reliability(probabilities, truth).counts.sum() == 500


def test_answers_as_often_right_as_they_are_sure_have_no_calibration_error():
    probabilities = np.tile([0.75, 0.25], (8, 1))
    assert reliability(probabilities, np.array([0, 0, 0, 1] * 2)).expected_error == 0
    assert reliability(probabilities, np.ones(8, dtype=np.int64)).expected_error == 0.75


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


def test_a_step_output_has_no_log_loss_and_no_calibration():
    assert set(evaluate("step", np.array([[1, 0]], dtype=np.float32), np.array([0]))) == {
        "rows",
        "accuracy",
        "f1_macro",
    }


@pytest.mark.parametrize("value", [2.0, 0.1])  # the mean of three times 0.1 is not 0.1
def test_values_that_are_all_equal_have_no_r2(value):
    answers = np.array([[1.0], [2.0], [4.0]], dtype=np.float32)
    assert "r2" not in evaluate("linear", answers, np.full(3, value))
    assert variances(np.full((3, 2), value)).tolist() == [0, 0]


def test_variances_are_numpys_and_leave_out_rows_without_weight():
    rng = np.random.default_rng(0)
    truth, weight = rng.normal(size=(50, 2)), rng.integers(0, 3, 50).astype(float)
    np.testing.assert_allclose(variances(truth), truth.var(axis=0))
    repeated = truth.repeat(weight.astype(int), axis=0)
    np.testing.assert_allclose(variances(truth, weight), repeated.var(axis=0))
    assert variances(np.array([0.1, 0.1, 0.1, 7]), np.array([1.0, 1, 1, 0])) == 0
