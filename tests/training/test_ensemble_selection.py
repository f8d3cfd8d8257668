"""Greedy ensemble selection beside all possible weights, and the best single model where no mean is better."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import log_loss, root_mean_squared_error

from training.ensemble_selection import LEAST_GAIN, select
from training.errors import TrainingError


def mean_of(answers, counts):
    return np.average(answers, axis=0, weights=counts)


def classifiers(seed, models=4, rows=80):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, rows)
    logits = 2 * np.eye(3)[truth] + rng.normal(0, rng.uniform(0.5, 3, (models, 1, 1)), (models, rows, 3))
    shares = np.exp(logits)
    return shares / shares.sum(axis=2, keepdims=True), truth


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.slow
def test_the_mean_is_nearly_as_good_as_the_best_of_all_weights(seed):
    answers, truth = classifiers(seed)
    counts = select(answers, lambda found: (log_loss(truth, found),))
    every = (weights for weights in itertools.product(range(6), repeat=4) if 0 < sum(weights) <= 7)
    best = min(log_loss(truth, mean_of(answers, weights)) for weights in every)
    reached = log_loss(truth, mean_of(answers, counts))
    assert reached <= best * (1 + LEAST_GAIN)
    assert reached <= min(log_loss(truth, own) for own in answers)
    assert all(isinstance(count, int) and count >= 0 for count in counts)
    for model in np.flatnonzero(counts) if np.count_nonzero(counts) > 1 else ():
        without = [0 if at == model else count for at, count in enumerate(counts)]
        assert log_loss(truth, mean_of(answers, without)) > reached


def test_errors_that_cancel_out_get_the_weights_that_cancel_them():
    rng = np.random.default_rng(0)
    truth, error = rng.normal(size=50), rng.normal(size=50)
    answers = np.stack([truth + 2 * error, truth - error, truth + rng.normal(0, 9, 50)])[..., None]
    assert select(answers, lambda found: (root_mean_squared_error(truth, found[:, 0]),)) == (1, 2, 0)


def test_the_best_model_stays_alone_where_no_mean_is_better():
    truth = np.arange(30.0)
    worse = np.stack([truth + 3, truth + 1, truth + 2])[..., None]  # all err to one side

    def figure(found):
        return (root_mean_squared_error(truth, found[:, 0]),)

    assert select(worse, figure) == (0, 1, 0)
    assert select(np.stack([worse[2]] * 3), figure) == (1, 0, 0)
    assert select(worse[:1], figure) == (1,)


def test_later_numbers_of_a_figure_decide_between_equal_ones():
    answers = np.array([[[0.2]], [[0.1]], [[0.3]]])
    assert select(answers, lambda found: (0.0, float(found[0, 0]))) == (0, 1, 0)


@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_with_answers_that_are_not_finite_is_as_if_it_were_not_there(place, value):
    answers, truth = classifiers(3)

    def figure(found):
        places = np.arange(len(truth))
        wrong = float(np.mean(found.argmax(axis=1) != truth))  # is finite for answers that are not
        return wrong, float(-np.log(np.maximum(found[places, truth], 1e-30)).mean())

    expected = select(np.delete(answers, place, axis=0), figure)
    answers[place, 5] = value
    counts = select(answers, figure)
    assert counts[place] == 0
    assert counts[:place] + counts[place + 1 :] == expected


def test_a_figure_that_is_not_finite_is_never_the_best():
    truth = np.arange(30.0)
    answers = np.stack([truth + 1e200, truth + 2, truth - 1])[..., None]

    def figure(found):
        with np.errstate(over="ignore"):
            return (float(np.sqrt(np.square(found[:, 0] - truth).mean())),)

    assert select(answers, figure) == (0, 1, 2)


def test_models_that_all_diverged_are_an_error():
    with pytest.raises(TrainingError, match=r"none of 2 models has finite answers.*smaller learning rate"):
        select(np.full((2, 5, 1), np.nan), lambda found: (float(found.mean()),))
