"""Probabilities are calibrated if one class is rare: against known probabilities, autograd and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models.columns.encoding import RowEncoder
from training import calibration
from training.calibration import fit_calibration
from training.config import resolve
from training.engines.network.losses import CrossEntropy
from training.fit import fit


def softmax(z):
    exp = np.exp(z - z.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def rare_table(score, *, rows=3000, share=0.03, seed=0):
    """Makes a table in which P(yes) = σ(c + score(x)) is known, with c such that the mean of P(yes) is `share`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    spread, low, high = score(x), -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (1 / (1 + np.exp(-middle - spread))).mean() > share else (middle, high)
    p = 1 / (1 + np.exp(-low - spread))
    frame = pd.DataFrame(x, columns=list("abcd")).assign(y=np.where(rng.random(rows) < p, "yes", "no"))
    return frame, p


def expected_loss(p, q):
    """Computes the log loss of answers q if P(yes) is p, over all labels that could have been drawn."""
    return -(p * np.log(q) + (1 - p) * np.log1p(-q)).mean()


def answers(model, x):
    encoder = RowEncoder(model.checkpoint.schema)
    matrix = encoder.encode_matrix([[float(cell) for cell in row] for row in x])
    return model.checkpoint.inference_network().answer(matrix)[:, 1].astype(np.float64)


@pytest.mark.parametrize(
    ("score", "is_linear"), [(lambda x: x.sum(axis=1), True), (lambda x: 2 * x[:, 0] * x[:, 1], False)]
)
def test_a_rare_class_is_as_likely_as_it_is(score, is_linear):
    frame, p = rare_table(score)
    model = fit(frame, target="y", name="rare", hidden_sizes=(32, 32), epochs=80, device="cpu")
    train, test = model.split.train, model.split.test
    x = frame[list("abcd")].to_numpy()
    ours, truth = answers(model, x[test]), p[test]
    linear = LogisticRegression().fit(x[train], frame.y[train] == "yes").predict_proba(x[test])[:, 1]
    assert ours.min() < 0.003
    constant = np.full(len(test), (frame.y[train] == "yes").mean())
    loss, best = expected_loss(truth, ours), expected_loss(truth, truth)
    if is_linear:  # the true function is a logistic regression then
        least = truth < np.quantile(truth, 0.3)
        assert ours[least].mean() < truth[least].mean() + 0.003  # smoothed labels gave 0.016, not 0.001
        assert loss < expected_loss(truth, linear) + 0.006
        assert loss - best < 0.25 * (expected_loss(truth, constant) - best)
    else:
        assert loss < expected_loss(truth, linear) - 0.02


ONE_SIDED = (0.97, 0.03)


def test_a_rare_class_among_others_is_judged_by_the_loss_and_smoothed_by_its_share():
    rare = resolve({}, task="classification", shares=(0.5, 0.48, 0.02), rows=3000)
    assert (rare.label_smoothing, rare.select_by, rare.weight_decay) == (0.1, "loss", 0.2)
    many = resolve({}, task="classification", shares=[0.02] * 50, rows=3000)
    assert (many.label_smoothing, many.select_by, many.weight_decay) == (0.1, "error", 0.02)


def test_one_sided_classes_are_not_smoothed_and_judged_by_the_loss():
    one_sided = resolve({}, task="classification", shares=ONE_SIDED, rows=8000)
    assert (one_sided.label_smoothing, one_sided.select_by, one_sided.weight_decay) == (0.0, "loss", 0.075)
    few, many = (resolve({}, task="classification", shares=ONE_SIDED, rows=rows) for rows in (500, 10**6))
    assert (few.weight_decay, many.weight_decay) == (0.2, 0.02)
    even = resolve({}, task="classification", shares=(0.6, 0.4), rows=500)
    assert (even.label_smoothing, even.select_by, even.weight_decay) == (0.1, "error", 0.02)
    balanced = resolve({"class_weight": "balanced"}, task="classification", shares=ONE_SIDED)
    assert (balanced.label_smoothing, balanced.select_by) == (0.1, "error")
    asked = resolve({"label_smoothing": 0.2, "select_by": "error"}, task="classification", shares=ONE_SIDED)
    assert (asked.label_smoothing, asked.select_by) == (0.2, "error")
    assert resolve({}, task="regression").label_smoothing == 0.0


def test_labels_are_smoothed_towards_the_classes_shares():
    generator = torch.Generator().manual_seed(0)
    shares, smoothing = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), 0.1
    out = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    target = torch.tensor([[0, 1, 2, 1, 0]])
    asked = out.clone().requires_grad_()
    soft = (1 - smoothing) * torch.nn.functional.one_hot(target, 3) + smoothing * shares
    oracle = -(soft * torch.log_softmax(asked, dim=-1)).sum(dim=-1).mean(dim=1)
    oracle.sum().backward()
    gradient = out.clone()
    loss = CrossEntropy(smoothing=smoothing, shares=shares)(gradient, target, None, gradient=True)
    torch.testing.assert_close(loss, oracle.detach())
    torch.testing.assert_close(gradient, asked.grad)


class TestCalibration:
    SHARES = np.array([0.9, 0.07, 0.03])

    def drawn(self, rows, *, temperature=1.0, shift=(0.0, 0.0, 0.0), seed=0):
        """Draws a network's probabilities, and labels from these probabilities after calibration."""
        rng = np.random.default_rng(seed)
        honest = np.log(self.SHARES) + rng.normal(0, 1.5, (rows, 3))
        truth = (softmax(honest).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
        centre = np.log(self.SHARES)
        raw = softmax((honest - centre - np.array(shift)) * temperature + centre)
        return raw[None].astype(np.float32), truth, softmax(honest)

    @pytest.mark.parametrize("temperature", [0.6, 2.0])
    def test_a_temperature_moves_probabilities_about_the_shares(self, temperature):
        raw, truth, honest = self.drawn(20_000, temperature=temperature)
        found = fit_calibration(raw, truth, shares=self.SHARES)
        assert found.temperature == pytest.approx(temperature, rel=0.06)
        served = softmax(np.log(raw[0].astype(np.float64)) / found.temperature + found.shift)
        np.testing.assert_allclose(served, honest, atol=0.03)

    def test_a_class_that_is_named_too_often_is_shifted(self):
        raw, truth, _ = self.drawn(20_000, shift=(0.0, 0.0, -1.5))
        found = fit_calibration(raw, truth, shares=self.SHARES)
        assert found.by_class
        served = softmax(np.log(raw[0].astype(np.float64)) / found.temperature + found.shift)
        # With the most likely shifts, mean probabilities equal the observed shares.
        np.testing.assert_allclose(served.mean(axis=0), np.bincount(truth) / len(truth), atol=0.001)

    def test_a_sample_of_very_many_rows_shifts_a_class(self, monkeypatch):
        raw, truth, _ = self.drawn(20_000, shift=(0.0, 0.0, -1.5))
        whole = fit_calibration(raw, truth, shares=self.SHARES)
        monkeypatch.setattr(calibration, "SHIFTED_CELLS", 3 * 5_000)
        found, again = (fit_calibration(raw, truth, shares=self.SHARES) for _ in range(2))
        assert (found.temperature, found.shift.tolist()) == (again.temperature, again.shift.tolist())
        assert found.by_class
        assert found.shift.tolist() != whole.shift.tolist()
        served = softmax(np.log(raw[0].astype(np.float64)) / found.temperature + found.shift)
        # Four standard errors of the shares in 5,000 rows; without shifts, the rare class is off by 0.12.
        np.testing.assert_allclose(served.mean(axis=0), np.bincount(truth) / len(truth), atol=0.015)

    def test_a_few_rows_shift_no_class(self):
        for seed in range(20):
            raw, truth, _ = self.drawn(60, seed=seed)
            assert not fit_calibration(raw, truth, shares=self.SHARES).by_class

    def test_what_says_nothing_becomes_the_constant_answer(self):
        rng = np.random.default_rng(0)
        truth = rng.choice(3, p=self.SHARES, size=5000)
        noise = softmax(np.log(self.SHARES) + rng.normal(0, 2, (1, 5000, 3))).astype(np.float32)
        found = fit_calibration(noise, truth, shares=self.SHARES)
        served = softmax(np.log(noise[0].astype(np.float64)) / found.temperature + found.shift)
        np.testing.assert_allclose(served.mean(axis=0), self.SHARES, atol=0.03)
        constant = -np.log(self.SHARES)[truth].mean()
        assert -np.log(served[np.arange(5000), truth]).mean() < constant + 0.01

    def test_members_are_calibrated_as_they_are_served(self):
        raw, truth, _ = self.drawn(400, temperature=2.0)
        other, _, _ = self.drawn(400, temperature=2.0, seed=1)
        found = fit_calibration(np.concatenate([raw, other]), truth, shares=self.SHARES)
        assert np.isfinite(found.temperature)
        assert found.shift.mean() == pytest.approx(0.0, abs=1e-12)


def test_a_network_without_bias_is_calibrated_by_a_temperature_alone():
    frame, _ = rare_table(lambda x: x.sum(axis=1), rows=600)
    model = fit(frame, target="y", name="rare", hidden_sizes=(8,), epochs=3, bias=False, device="cpu")
    assert "calibrated_by_class" not in model.checkpoint.training
    assert np.isfinite(model.metrics["test"]["log_loss"])
