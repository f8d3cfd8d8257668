"""The contestants: each trains a workload for some epochs and says at which rate, in steps a second of its clock.

The first epoch warms up and is not counted. What is timed runs on the clock's device.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.training.clock import CPU_CLOCK, Clock
from benchmarks.training.networks import CLIP_NORM, DROPOUT, LEARNING_RATE, Workload
from training.config import TrainConfig, resolve
from training.engines.engine import Matrices
from training.engines.torch_engine import train


class Contestant(Protocol):
    """One that trains a workload."""

    def __call__(self, workload: Workload, clock: Clock = CPU_CLOCK) -> float:
        """Steps a second of the clock."""


def narrow_axon(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """Axon's engine with products of bfloat16 numbers."""
    return axon(workload, clock, precision="bfloat16")


def axon(workload: Workload, clock: Clock = CPU_CLOCK, **settings: Any) -> float:
    """Axon's engine, with validation on one batch at each epoch's end, which the others do without."""
    x, y = workload.data()
    data = Matrices(x=x, y=y, validation_x=x[: workload.batch_size], validation_y=y[: workload.batch_size])
    config = plain_config(
        hidden_sizes=workload.sizes[1:-1],
        normalization="batch" if workload.is_normalised else "none",
        dropout=DROPOUT if workload.is_normalised else 0.0,
        activation="relu",
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
        batch_size=workload.batch_size,
        epochs=workload.epochs + 1,
        patience=None,
        clip_norm=CLIP_NORM,
        **settings,
    )
    architecture = config.architecture(in_features=workload.sizes[0], out_features=workload.sizes[-1])
    stamps: list[float] = []
    train(config, architecture, data, device=clock.device, on_epoch=lambda epoch: stamps.append(clock.seconds()))
    return _rate(stamps, workload)


def plain_config(**settings: Any) -> TrainConfig:
    """A run of the classic recipe, where there is a choice of recipes, with all that matters set."""
    return resolve({"recipe": "classic", **settings}, task="classification")


def loop(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """The tutorials' loop: DataLoader over a TensorDataset, Adam at its defaults, a clip, the loss read each step."""
    x, y = workload.data()
    batches = DataLoader(
        TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=workload.batch_size, shuffle=True
    )
    model = _torch_model(workload).to(clock.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    stamps = []
    for _ in range(workload.epochs + 1):
        model.train()
        total = 0.0
        for rows, classes in batches:
            optimizer.zero_grad()
            loss = loss_of(model(rows.to(clock.device)), classes.to(clock.device))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            total += loss.item()
        stamps.append(clock.seconds())
    return _rate(stamps, workload)


def scikit_learn(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """scikit-learn's MLPClassifier, a `partial_fit` an epoch: Adam, no clip, no BatchNorm, no dropout; on the CPU."""
    x, y = workload.data()
    model = MLPClassifier(
        workload.sizes[1:-1], batch_size=workload.batch_size, learning_rate_init=LEARNING_RATE, random_state=0
    )
    stamps = []
    for _ in range(workload.epochs + 1):
        model.partial_fit(x, y, classes=np.arange(workload.sizes[-1]))
        stamps.append(clock.seconds())
    return _rate(stamps, workload)


def matrix_products(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """Nothing but the matrix products of a step, at their very shapes, into memory that is there already."""
    pairs = itertools.pairwise(workload.sizes)
    products = [product for pair in pairs for product in _products(workload, *pair, device=clock.device)]
    products = [product for i, product in enumerate(products) if i != 2]  # the input's own gradient has no use
    stamps = []
    for _ in range(workload.epochs + 1):
        for _ in range(workload.steps):
            for a, b, out in products:
                torch.mm(a, b, out=out)
        stamps.append(clock.seconds())
    return _rate(stamps, workload)


def _products(workload: Workload, n_in: int, n_out: int, *, device: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """A Linear's three products as (a, b, out): forward, weight gradient, input gradient."""
    batch = workload.batch_size
    x, weight, gradient = (
        torch.randn(shape, device=device) for shape in ((batch, n_in), (n_out, n_in), (batch, n_out))
    )
    return [
        (x, weight.T, torch.empty(batch, n_out, device=device)),
        (gradient.T, x, torch.empty(n_out, n_in, device=device)),
        (gradient, weight, torch.empty(batch, n_in, device=device)),
    ]


def _torch_model(workload: Workload) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(workload.sizes[:-1]):
        normalised = [nn.BatchNorm1d(n_out)] if workload.is_normalised else []
        dropped = [nn.Dropout(DROPOUT)] if workload.is_normalised else []
        layers += [nn.Linear(n_in, n_out), *normalised, nn.ReLU(), *dropped]
    return nn.Sequential(*layers, nn.Linear(workload.sizes[-2], workload.sizes[-1]))


def _rate(stamps: list[float], workload: Workload) -> float:
    """Steps a second between the end of the first epoch and that of the last."""
    return (len(stamps) - 1) * workload.steps / (stamps[-1] - stamps[0])
