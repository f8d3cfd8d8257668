"""A GPU learns what the CPU learns: each aim, statistics of categories, folds, a portfolio, distillation."""

import numpy as np
import pandas as pd
import pytest
import torch

from training.config import resolve
from training.engines import torch_engine
from training.engines.engine import Matrices
from training.engines.trainer import Trainer
from training.fit import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def table(rows=1200):
    rng = np.random.default_rng(0)
    shop = rng.integers(0, 40, rows)
    frame = pd.DataFrame({"shop": [f"s{i}" for i in shop], "a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    rate = np.exp(0.8 * frame.a - 0.4 * frame.b + 0.5 * np.random.default_rng(1).normal(size=40)[shop])
    frame["count"] = rng.poisson(rate).astype(float)
    frame["value"] = np.log(rate) + 0.3 * rng.normal(size=rows)
    frame["duration"] = rng.gamma(2.0, rate / 2) + 1e-3
    frame["busy"] = (rng.random(rows) < rate / (1 + rate)).astype(float)
    frame["kind"] = np.where(rate > np.median(rate), "high", "low")
    return frame


def learned(device, target, **settings):
    features = table()[["shop", "a", "b"]].assign(y=table()[target])
    run = {"recipe": "default", "hidden_sizes": (32,), "epochs": 30, "seed": 3, **settings}
    return fit(features, target="y", device=device, **run)


def figures(fitted):
    figures = {name: value for name, value in fitted.metrics["test"].items() if isinstance(value, float)}
    # What a deviance teaches is judged by it alone: squares of a skewed target differ from seed to seed.
    return {name: value for name, value in figures.items() if "deviance" in name} or figures


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"metric": "mae"},
        {"category_statistics": True},
        {"members": 4, "folds": True},
        {"members": 4, "distill": True},
    ],
    ids=str,
)
def test_several_targets_are_learned_on_a_gpu_as_on_the_cpu(settings):
    run = {"target": ["value", "count", "duration"], "hidden_sizes": (32,), "epochs": 30, "seed": 3, **settings}
    on_cpu, on_gpu = (fit(table().drop(columns="kind"), device=device, **run) for device in ("cpu", "cuda"))
    for name, value in figures(on_cpu).items():
        assert figures(on_gpu)[name] == pytest.approx(value, rel=0.25, abs=0.08), name


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("kind", {}),
        ("kind", {"metric": "log-loss"}),
        ("kind", {"metric": "f1"}),
        ("value", {}),
        ("value", {"metric": "mae"}),
        ("value", {"metric": "quantile", "quantile": 0.9}),
        ("count", {"metric": "poisson"}),
        ("duration", {"metric": "gamma"}),
        ("busy", {"metric": "bernoulli"}),
        ("value", {"category_statistics": True}),
        ("value", {"members": 4, "folds": True}),
        ("count", {"metric": "poisson", "members": 4, "folds": True, "category_statistics": True}),
        ("kind", {"members": 4, "folds": True, "portfolio": True}),
        ("value", {"members": 4, "distill": True}),
    ],
    ids=str,
)
def test_a_fit_on_a_gpu_is_as_good_as_on_the_cpu(target, settings):
    on_cpu, on_gpu = (figures(learned(device, target, **settings)) for device in ("cpu", "cuda"))
    assert on_cpu.keys() == on_gpu.keys()
    # Dropout draws other masks on a GPU, so the two are not equal.
    for name, value in on_cpu.items():
        assert on_gpu[name] == pytest.approx(value, rel=0.25, abs=0.08), name


def test_a_member_that_diverges_on_a_gpu_leaves_the_others(monkeypatch):
    epoch = Trainer.epoch

    def poisoned(trainer):
        loss = epoch(trainer)
        trainer.network.parameters.flat[1] = np.nan
        trainer.network.parameters.refresh()
        return loss

    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    rows = Matrices(x=x[:150], y=y[:150], validation_x=x[150:], validation_y=y[150:])
    config = resolve({"hidden_sizes": (8,), "epochs": 5, "members": 3, "batch_size": 50}, task="classification")
    architecture = config.architecture(in_features=4, out_features=2)
    monkeypatch.setattr(Trainer, "epoch", poisoned)
    trained = torch_engine.train(config, architecture, rows, device="cuda")
    assert list(trained.diverged) == [1]
    assert all(np.isfinite(tensor[[0, 2]]).all() for tensor in trained.tensors.values())
