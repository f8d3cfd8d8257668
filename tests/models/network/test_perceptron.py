import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from models.errors import ConfigError, DataError
from models.network.config import MLPConfig
from models.network.perceptron import Perceptron, PerceptronHistory

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])


@pytest.mark.parametrize("learning_rate", [1.0, 0.1, 0.3])
@pytest.mark.parametrize("y", [AND, OR], ids=["AND", "OR"])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_it_learns_what_a_line_separates(y, learning_rate, seed):
    perceptron = Perceptron(2)
    rng = None if seed is None else np.random.default_rng(seed)
    history = perceptron.fit(X, y, learning_rate=learning_rate, rng=rng)
    assert history.converged
    assert not history.cycled
    assert history.mistakes[-1] == 0
    assert 0 not in history.mistakes[:-1]
    np.testing.assert_array_equal(perceptron.predict(X), y)


def test_it_follows_rosenblatts_rule_step_by_step():
    perceptron = Perceptron(2)
    history = perceptron.fit([[1, 2], [3, -1]], [0, 1], learning_rate=0.5, max_epochs=1)
    # Row 0: z = 0, so ŷ = 1, y = 0: w = [-.5, -1], b = -.5. Row 1: z = -1.5 + 1 - .5 < 0, y = 1: w = [1, -1.5], b = 0.
    np.testing.assert_array_equal(perceptron.weight, [1, -1.5])
    assert perceptron.bias == 0
    assert history.mistakes == (2,)


def test_on_xor_the_weights_return_and_prove_that_it_never_converges():
    seen = []
    perceptron = Perceptron(2)
    history = perceptron.fit(X, XOR, max_epochs=1000, on_epoch=lambda *epoch: seen.append(epoch))
    assert history.cycled
    assert not history.converged
    assert history.epochs < 50
    assert seen == list(enumerate(history.mistakes, start=1))
    assert "cannot converge" in history.verdict
    # The oracle: one more cycle gives the same mistakes and weights again.
    weights = perceptron.to_tensors()
    again = perceptron.fit(X, XOR, max_epochs=history.cycle_length)
    assert again.mistakes == history.mistakes[-history.cycle_length :]
    for name, tensor in perceptron.to_tensors().items():
        np.testing.assert_array_equal(tensor, weights[name])


def test_on_xor_in_random_order_it_stops_at_the_limit_and_claims_no_proof():
    history = Perceptron(2).fit(X, XOR, max_epochs=40, rng=np.random.default_rng(0))
    assert history.epochs == 40
    assert not history.converged
    assert not history.cycled
    assert str(history).startswith("did not converge in 40 epochs: ")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=8, max_size=8))
def test_it_converges_on_exactly_the_threshold_functions_of_three_inputs(y):
    x = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    sign = np.where(y, 1, -1)
    # Separable if some (w, b) has sign·(w·x + b) ≥ 1 on every row: a linear programme without an objective.
    separable = linprog(
        np.zeros(4), A_ub=-sign[:, None] * np.c_[x, np.ones(8)], b_ub=-np.ones(8), bounds=[(None, None)] * 4
    ).success
    history = Perceptron(3).fit(x, y, max_epochs=2000)
    assert history.converged == separable
    assert history.cycled == (not separable)


def test_a_fixed_order_is_repeatable_and_a_seed_is_too():
    def run(rng):
        perceptron = Perceptron(2)
        perceptron.fit(X, OR, rng=rng)
        return perceptron.to_tensors()["layers.0.weight"]

    np.testing.assert_array_equal(run(None), run(None))
    np.testing.assert_array_equal(run(np.random.default_rng(3)), run(np.random.default_rng(3)))


@pytest.mark.parametrize("learning_rate", [1.0, 0.1, 1e-3, 1 / 3])
def test_the_exported_weights_answer_every_training_row_as_the_trained_ones_did(learning_rate):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 5))
    y = (x @ rng.normal(size=5) + 0.3 >= 0).astype(int)
    perceptron = Perceptron(5)
    perceptron.fit(x, y, learning_rate=learning_rate, max_epochs=20)
    tensors = perceptron.to_tensors()
    assert {name: (t.shape, t.dtype) for name, t in tensors.items()} == {
        "layers.0.weight": ((1, 5), np.float32),
        "layers.0.bias": ((1,), np.float32),
    }
    restored = Perceptron.from_tensors(perceptron.config, tensors)
    np.testing.assert_array_equal(restored.predict(x), perceptron.predict(x))


def test_a_row_alone_is_answered_as_in_a_crowd():
    rng = np.random.default_rng(5)
    x, perceptron = rng.normal(size=(300, 37)), Perceptron(37)
    perceptron.fit(x, rng.integers(0, 2, 300), max_epochs=2)
    np.testing.assert_array_equal(perceptron.predict(x), [perceptron.predict(row[None])[0] for row in x])


def test_exported_tensors_do_not_change_with_further_learning():
    perceptron = Perceptron(2)
    before = perceptron.to_tensors()
    perceptron.fit(X, AND)
    assert not before["layers.0.weight"].any()


def test_memory_does_not_grow_with_the_epochs():
    x, y = np.random.default_rng(6).normal(size=(2, 5000)), [0, 1]
    perceptron = Perceptron(5000)
    tracemalloc.start()
    try:
        perceptron.fit(np.vstack([x[0], x[0]]), y, max_epochs=300, rng=np.random.default_rng(0))
        perceptron.fit(np.vstack([x[0], x[0]]), y, max_epochs=300)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * perceptron.weight.nbytes


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (PerceptronHistory((2, 0)), "converged in 2 epochs: no mistake in the last one."),
        (PerceptronHistory((0,)), "converged in 1 epoch: no mistake in the last one."),
        (PerceptronHistory((1,)), "did not converge in 1 epoch: 1 mistake in the last one; "),
        (PerceptronHistory((3, 4), cycle_length=1), "cannot converge: 4 mistakes in the last one of 2 epochs, "),
    ],
)
def test_the_verdict_is_a_sentence(history, sentence):
    assert str(history).startswith(sentence)
    assert str(history).endswith(".")


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan"), 1e-46, 1e39])
def test_a_learning_rate_that_cannot_learn_is_refused(rate):
    with pytest.raises(ConfigError, match="learning_rate"):
        Perceptron(2).fit(X, AND, learning_rate=rate)


def test_no_epochs_and_no_inputs_are_refused():
    with pytest.raises(ConfigError, match="max_epochs"):
        Perceptron(2).fit(X, AND, max_epochs=0)
    with pytest.raises(ConfigError, match="got 0"):
        Perceptron(0)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, :1], AND, r"\(rows, 2\), got \(4, 1\)"),
        (X[0], AND, r"\(rows, 2\), got \(2,\)"),
        (X * np.nan, AND, "finite"),
        (X * 1e300, AND, "finite"),
        (X, AND[:3], "one class for each"),
        (X[:0], AND[:0], "at least one row"),
        (X, AND + 1, "classes 0 and 1, got 2"),
        (X, AND * 0.5, "classes 0 and 1, got 0.5"),
    ],
)
def test_data_that_does_not_fit_is_refused(x, y, message):
    with pytest.raises(DataError, match=message):
        Perceptron(2).fit(x, y)


@pytest.mark.parametrize(
    "config",
    [
        MLPConfig(layer_sizes=(2, 3, 1), output="step"),
        MLPConfig(layer_sizes=(2, 1), output="linear"),
        MLPConfig(layer_sizes=(2, 1), output="step", bias=False),
    ],
)
def test_another_architecture_is_not_a_perceptron(config):
    with pytest.raises(ConfigError, match="one step unit"):
        Perceptron.from_tensors(config, {})


def test_tensors_of_another_shape_are_named():
    tensors = Perceptron(3).to_tensors()
    with pytest.raises(ConfigError, match=r"'layers.0.weight' has shape \(1, 3\), but the architecture needs \(1, 2\)"):
        Perceptron.from_tensors(Perceptron(2).config, tensors)
