"""Calibration and decision with weights of members: against copies of the members, and without the work of copies."""

import numpy as np
import pytest
from serving import CHECKPOINTS

from training import calibration
from training.calibration import fit_calibration, fit_temperature
from training.decision import decided

WEIGHTS = (5, 1, 3)
SHARES = np.array([0.7, 0.2, 0.1])


def answers_of(rows, seed=0):
    """Draws the probabilities of three members, (3, rows, 3), and labels that need a shift by class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, 3)) + np.log(SHARES)
    of_members = np.exp(logits + rng.normal(0, 0.7, (3, rows, 3)))
    chances = np.exp(logits / 1.5 + [0, 1.5, 0])
    chances /= chances.sum(axis=1, keepdims=True)
    truth = (rng.random((rows, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return (of_members / of_members.sum(axis=2, keepdims=True)).astype(np.float32), truth


def test_weights_calibrate_as_copies_of_the_members_do():
    of_members, truth = answers_of(800)
    rows = np.random.default_rng(1).random(800)
    copies = np.repeat(of_members, WEIGHTS, axis=0)
    found = fit_calibration(of_members, truth, rows, shares=SHARES, member_weights=WEIGHTS)
    expected = fit_calibration(copies, truth, rows, shares=SHARES)
    assert found.by_class
    assert expected.by_class
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-4)
    np.testing.assert_allclose(found.shift, expected.shift, atol=1e-4)
    alone = fit_temperature(of_members, truth, rows, member_weights=WEIGHTS)
    assert alone == pytest.approx(fit_temperature(copies, truth, rows), rel=1e-5)
    assert alone != pytest.approx(fit_temperature(of_members, truth, rows), rel=1e-3)


def test_weights_decide_as_copies_of_the_members_do():
    of_members, truth = answers_of(400, seed=2)
    checkpoint = CHECKPOINTS["colours"]
    found = decided(checkpoint, "f1", of_members, truth, shares=SHARES, member_weights=WEIGHTS)
    expected = decided(checkpoint, "f1", np.repeat(of_members, WEIGHTS, axis=0), truth, shares=SHARES)
    assert found.training["decision"] == expected.training["decision"]


def test_weights_do_not_count_as_cells(monkeypatch):
    of_members, truth = answers_of(800)
    of_all = fit_calibration(of_members, truth, shares=SHARES, member_weights=(20, 1, 1))
    assert of_all.by_class
    monkeypatch.setattr(calibration, "SHIFTED_CELLS", of_members.size)  # with fewer, a sample of the rows would decide
    found = fit_calibration(of_members, truth, shares=SHARES, member_weights=(20, 1, 1))
    assert found.shift.tolist() == of_all.shift.tolist()
