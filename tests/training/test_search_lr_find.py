"""The learning-rate finder on a quadratic with a known limit, and on a network that must not change."""

import json

import numpy as np
import pytest
import torch

from models.errors import ConfigError
from models.network.config import MLPConfig
from training.cli import main
from training.config import resolve
from training.engines.engine import Matrices
from training.engines.trainer import Trainer
from training.search.learning_rate.finder import sweep
from training.search.learning_rate.trainer_stepper import TrainerStepper


class Bowl:
    """Gradient descent on curvature·w²/2, which diverges if the rate is 2/curvature or more."""

    def __init__(self, curvature):
        self.curvature = curvature
        self.weight = 1.0

    def step(self, learning_rate):
        loss = self.curvature * self.weight**2 / 2
        self.weight -= learning_rate * self.curvature * self.weight
        return loss

    def state(self):
        return self.weight

    def restore(self, state):
        self.weight = state


@pytest.mark.parametrize("curvature", [0.1, 1.0, 100.0])
def test_the_suggestion_is_below_the_limit_and_the_sweep_ends_beyond_it(curvature):
    bowl = Bowl(curvature)
    seen = sweep(bowl, low=1e-5 / curvature, high=1e3 / curvature)
    limit = 2 / curvature
    assert seen.diverged
    assert seen.rates[-1] > limit
    assert limit / 1000 < seen.suggested < limit
    assert bowl.weight == 1.0


def test_the_suggestion_does_not_depend_on_the_unit_of_the_loss():
    # With a larger curvature the loss grows as the limit falls: the suggestions have the same ratio.
    first, second = (sweep(Bowl(c), low=1e-5 / c, high=1e3 / c).suggested for c in (1.0, 50.0))
    assert first == pytest.approx(50 * second)


def test_a_loss_that_never_falls_suggests_nothing():
    class Flat(Bowl):
        def step(self, learning_rate):
            return 1.0

    seen = sweep(Flat(1.0))
    assert (seen.suggested, seen.diverged) == (None, False)
    assert len(seen.rates) == 150


def test_a_loss_that_is_no_number_ends_the_sweep_and_is_not_kept():
    class Breaking(Bowl):
        def step(self, learning_rate):
            return float("nan") if learning_rate > 1e-2 else super().step(learning_rate)

    seen = sweep(Breaking(1.0))
    assert seen.diverged
    assert seen.rates[-1] <= 1e-2
    assert np.isfinite(seen.losses).all()


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"low": 1.0, "high": 0.1}, {"high": float("inf")}, {"steps": 5}])
def test_rates_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError):
        sweep(Bowl(1.0), **wrong)


def _stepper(**settings):
    config = resolve({"batch_size": 16, "seed": 3, **settings}, task="classification")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    matrices = Matrices(x=x, y=y, validation_x=x, validation_y=y)
    architecture = MLPConfig(
        layer_sizes=(4, 8, 2), dropout=config.dropout, normalization=config.normalization, activation=config.activation
    )
    return TrainerStepper(Trainer(config, architecture, matrices, device=torch.device("cpu")))


def _same(first, second):
    one, two = first.state(), second.state()
    assert one.keys() == two.keys()
    return all(np.array_equal(array, two[name]) for name, array in one.items())


@pytest.mark.parametrize("recipe", ["classic", "default"])
@pytest.mark.parametrize("begun", [0, 10])
def test_the_network_goes_on_as_if_there_had_been_no_sweep(recipe, begun):
    swept, untouched = _stepper(recipe=recipe), _stepper(recipe=recipe)
    for stepper in (swept, untouched):
        for _ in range(begun):
            stepper.step(0.01)
    assert sweep(swept, steps=60).suggested is not None
    assert _same(swept, untouched)
    assert [swept.step(0.01) for _ in range(10)] == [untouched.step(0.01) for _ in range(10)]
    assert _same(swept, untouched)


def test_weights_are_bit_equal_after_a_sweep_that_was_broken_off():
    stepper, untouched = _stepper(recipe="classic"), _stepper(recipe="classic")
    step, calls = stepper.step, []

    def breaking_off(rate):
        calls.append(rate)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return step(rate)

    stepper.step = breaking_off
    with pytest.raises(KeyboardInterrupt):
        sweep(stepper)
    assert _same(stepper, untouched)


def test_the_command_suggests_plots_and_publishes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["lr-find", "iris", "--plot", "rates.svg", "--steps", "60"]) == 0
    out = capsys.readouterr().out
    assert "suggested learning rate" in out.splitlines()[-1]
    assert (tmp_path / "rates.svg").read_text().startswith("<?xml")
    assert main(["lr-find", "iris", "--json", "--steps", "60"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert f"{seen['suggested']:.3g}" in out.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["rates.svg"]
    assert main(["lr-find", "iris", "--plot", "rates.pdf"]) == 2
    assert "rates.pdf" in capsys.readouterr().err
    assert main(["lr-find", "iris", "--engine", "numpy"]) == 2


def test_the_command_looks_at_the_loss_of_a_metric(capsys):
    def losses(*more):
        assert main(["lr-find", "diabetes", "--json", "--steps", "40", *more]) == 0
        return json.loads(capsys.readouterr().out)["losses"]

    assert losses("--metric", "mae") != losses()
    assert main(["lr-find", "iris", "--metric", "auc"]) == 2
    assert "metric auc ranks two classes" in capsys.readouterr().err
