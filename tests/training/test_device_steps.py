"""Steps whose hyperparameters are on the device train as with Python numbers, also as CUDA graphs if there is a GPU."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sign_matrices import matrices

from training.config import resolve
from training.engines import torch_engine
from training.engines.graphed_steps import Amounts, DeviceSteps, GraphedSteps
from training.engines.network.device_masks import DeviceMasks
from training.engines.trainer import Trainer

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def config_of(**settings):
    # 150 rows in batches of 40: the last batch of an epoch has another size.
    plain = {"hidden_sizes": (16,), "epochs": 5, "batch_size": 40, "drop_last": False, "dropout": 0.0}
    return resolve({**plain, **settings}, task="classification")


def trainer_of(config, device=CPU):
    return Trainer(config, config.architecture(in_features=4, out_features=2), matrices(), device=device)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("members", [1, 3])
def test_amounts_on_the_device_train_as_numbers_do(optimizer, members):
    config = config_of(optimizer=optimizer, members=members, weight_decay=0.1, clip_norm=1.0)
    with_numbers, on_device = trainer_of(config), trainer_of(config)
    steps = DeviceSteps(on_device._step, DeviceMasks(np.zeros(members), seed=0, device=CPU))
    amounts = [Amounts(rate=0.02 / (i + 1), decay=0.1 / (i + 1), regularization=1 / (i + 1)) for i in range(12)]
    table = steps.on_device(amounts)
    assert table.shape == (12, 2 + members)
    order = torch.from_numpy(np.random.default_rng(1).integers(0, 150, size=(12, members, 40)))
    with torch.inference_mode():
        for i, step in enumerate(amounts):
            loss = with_numbers.step(order[i], rate=step.rate, regularization=step.regularization)
            torch.testing.assert_close(steps.take(order[i], table[i]), loss, rtol=1e-4, atol=1e-5)
    for name, expected in with_numbers.network.tensors().items():
        np.testing.assert_allclose(on_device.network.tensors()[name], expected, rtol=1e-3, atol=1e-5)


def test_masks_on_the_device_drop_the_share_that_is_told_and_keep_the_mean():
    masks = DeviceMasks(np.array([0.15, 0.5]), seed=3, device=CPU)
    for share in (1.0, 0.5):
        masks.scale_probabilities(share)
        assert masks.drops
        drawn = masks.draw(torch.empty(2, 400, 500)).numpy()
        for mask, p in zip(drawn, (0.15 * share, 0.5 * share), strict=True):
            assert np.unique(mask) == pytest.approx([0, 1 / (1 - p)])
            assert (mask == 0).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / mask.size))
            assert mask.mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(masks.kept_at(0.5), [0.925, 0.75], rtol=1e-6)
    masks.set_probabilities(np.zeros(2))
    assert not masks.drops


def test_masks_on_the_device_go_on_from_a_state():
    masks = DeviceMasks(np.array([0.5]), seed=3, device=CPU)
    masks.draw(torch.empty(1, 10, 10))
    state = masks.state()
    expected = masks.draw(torch.empty(1, 10, 10))
    again = DeviceMasks(np.array([0.5]), seed=4, device=CPU)
    again.restore(state)
    assert torch.equal(again.draw(torch.empty(1, 10, 10)), expected)


def test_a_step_draws_masks_of_the_share_that_its_amounts_say():
    config = config_of(dropout=0.5)
    trainer = trainer_of(config)
    masks = DeviceMasks(np.array([0.5]), seed=0, device=CPU)
    steps = DeviceSteps(trainer._step, masks)
    table = steps.on_device([Amounts(rate=0.0, decay=0.0, regularization=share) for share in (1.0, 0.25)])
    for line, kept in zip(table, (0.5, 0.875), strict=True):
        with torch.inference_mode():
            steps.take(torch.arange(40)[None], line)
        assert masks.kept.tolist() == [kept]


@pytest.mark.slow
def test_the_benchmark_says_where_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training", "--device", "cuda"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "There is no CUDA device" in done.stderr
    assert not done.stdout


@needs_gpu
@pytest.mark.parametrize("members", [1, 3])
def test_graphs_train_as_the_cpu_does_and_are_what_ran(members):
    config = config_of(members=members, weight_decay=0.1)
    on_cpu, on_gpu = trainer_of(config), trainer_of(config, torch.device("cuda"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            torch.testing.assert_close(on_gpu.epoch().cpu(), on_cpu.epoch(), rtol=1e-2, atol=1e-3)
    assert isinstance(on_gpu._device_steps, GraphedSteps)
    assert sorted(on_gpu._device_steps._graphs) == [30, 40]


@needs_gpu
def test_graphs_draw_other_masks_each_time_and_the_same_from_the_same_seed():
    config = config_of(dropout=0.5, learning_rate=1e-12, batch_size=150)
    first, second = trainer_of(config, torch.device("cuda")), trainer_of(config, torch.device("cuda"))
    losses = [float(first.epoch()) for _ in range(10)]
    assert len(set(losses)) == 10
    assert [float(second.epoch()) for _ in range(10)] == losses


@needs_gpu
def test_a_run_on_a_gpu_that_goes_on_comes_to_where_an_undisturbed_one_does():
    config = resolve({"hidden_sizes": (32,), "epochs": 60, "batch_size": 50}, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    states = []

    def run(**arguments):
        return torch_engine.train(config, architecture, matrices(), device="cuda", **arguments)

    whole = run(on_state=lambda make: states.append(make()) if len(states) < 10 else None)
    again = run(resume=states[-1])
    np.testing.assert_allclose(again.history["train_loss"], whole.history["train_loss"], rtol=1e-3)
    assert min(whole.history["validation_error"]) < 0.3
