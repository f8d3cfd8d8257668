"""The contestants: each trains a workload for some epochs and returns its rate, in steps per second of its clock.

The first epoch warms up and is not counted. The timed work runs on the clock's device.
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
    """A function that trains a workload."""

    def __call__(self, workload: Workload, clock: Clock = CPU_CLOCK) -> float:
        """Returns the steps per second of the clock."""


def bf16_axon(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """Trains with Axon's engine and matrix products in bfloat16."""
    return axon(workload, clock, precision="bfloat16")


def axon(workload: Workload, clock: Clock = CPU_CLOCK, **settings: Any) -> float:
    """Trains with Axon's engine and validation on one batch per epoch, which the other contestants do not do."""
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
    """Returns a configuration with the classic recipe and the given settings."""
    return resolve({"recipe": "classic", **settings}, task="classification")


def loop(workload: Workload, clock: Clock = CPU_CLOCK) -> float:
    """Trains with the loop of tutorials: DataLoader, Adam at its defaults, clipping, the loss read in each step."""
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
    """Trains scikit-learn's MLPClassifier on the CPU, one `partial_fit` per epoch.

    Its Adam has no clipping; the network has neither BatchNorm nor dropout.
    """
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
    """Computes only the matrix products of a step, in their real shapes, into memory that is already allocated."""
    pairs = itertools.pairwise(workload.sizes)
    products = [product for pair in pairs for product in _products(workload, *pair, device=clock.device)]
    products = [product for i, product in enumerate(products) if i != 2]  # the gradient of the input is not used
    stamps = []
    for _ in range(workload.epochs + 1):
        for _ in range(workload.steps):
            for a, b, out in products:
                torch.mm(a, b, out=out)
        stamps.append(clock.seconds())
    return _rate(stamps, workload)


def _products(workload: Workload, n_in: int, n_out: int, *, device: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Returns a Linear's three products as (a, b, out): forward, weight gradient, input gradient."""
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
    """Returns the steps per second between the end of the first epoch and that of the last."""
    return (len(stamps) - 1) * workload.steps / (stamps[-1] - stamps[0])
