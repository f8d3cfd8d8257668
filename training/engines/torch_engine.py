"""The PyTorch engine: mini-batches cut from tensors, Adam or AdamW, a cosine schedule, the best epoch kept.

For tables a DataLoader would cost more than the network: it collates row by row. Here the rows are put in a new
order once an epoch and the batches are slices of them; the optimiser is fused; and nothing is read back from the
device until the epoch is over.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.config import MLPConfig
from models.errors import ConfigError
from models.mlp import MLP
from training.config import TrainConfig
from training.engines.engine import EpochLog, Matrices, OnEpoch, ShouldStop, Stopped, Trained, batches, cosine

Loss = Callable[[Tensor, Tensor], Tensor]

_EVALUATION_ROWS = 65_536  # rows a validation pass takes at once: bounds memory, not arithmetic


def choose_device(asked: str = "auto") -> str:
    """The device to train on: `auto` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: a device that torch does not know or this machine does not have.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # an AssertionError from a torch built without CUDA
        raise ConfigError(f"this machine has no device {asked!r}: use auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):  # on others the fused optimiser is not known to work
        raise ConfigError(f"training runs on cpu or cuda, not on {asked!r}.")
    return asked


def train(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
) -> Trained:
    """Trains an MLP. On the CPU the same arguments give the same bytes; torch's global generators stay as they were.

    Args:
        config: how to train.
        architecture: what to train.
        data: rows and targets.
        device: where, as torch names it.
        on_epoch: told of each epoch.
        should_stop: asked after each epoch.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    where = torch.device(device)
    generator = torch.Generator().manual_seed(config.seed)
    model = MLP(architecture, generator=generator).to(where)
    loss_of = functional.mse_loss if architecture.output == "linear" else functional.cross_entropy
    x, y = _to_device(data.x, where), _to_device(_as_targets(data.y, architecture), where)
    validation_x = _to_device(data.validation_x, where)
    validation_y = _to_device(_as_targets(data.validation_y, architecture), where)
    optimizer = _optimizer(config, model)
    cuts = batches(len(x), config.batch_size_for(len(x)))
    log = EpochLog(epochs=config.epochs, patience=config.patience, on_epoch=on_epoch)
    stopped: Stopped = "epochs"
    best: list[Tensor] = []
    # Dropout draws from torch's global generator, whose state is the caller's.
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        torch.manual_seed(config.seed)
        for epoch in range(config.epochs):
            order = torch.randperm(len(x), generator=generator).to(where)
            rates = [cosine(config.rate, epoch * len(cuts) + i, config.epochs * len(cuts)) for i in range(len(cuts))]
            train_loss = _learn(model, optimizer, loss_of, x[order], y[order], cuts, rates, clip_norm=config.clip_norm)
            validation_loss = _mean_loss(model, loss_of, validation_x, validation_y)
            if log.add(*torch.stack([train_loss, validation_loss]).tolist()):  # the epoch's one wait for the device
                best = [tensor.clone() for tensor in model.state_dict().values()]
            if log.is_out_of_patience:
                stopped = "patience"
                break
            if should_stop():
                stopped = "asked"
                break
    with torch.no_grad():
        for tensor, value in zip(model.state_dict().values(), best, strict=True):
            tensor.copy_(value)
    return Trained(
        architecture=architecture,
        tensors=model.to_tensors(),
        epochs_run=len(log.train_losses),
        best_epoch=log.best_epoch,
        stopped=stopped,
        history=log.history(),
    )


def _learn(
    model: MLP,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    x: Tensor,  # (rows, in_features), in this epoch's order
    y: Tensor,  # (rows,) or (rows, 1)
    cuts: list[tuple[int, int]],
    rates: list[float],
    *,
    clip_norm: float,
) -> Tensor:
    """One epoch; the mean training loss, still on the device."""
    model.train()
    parameters = list(model.parameters())
    total = torch.zeros((), device=x.device)
    for (begin, end), rate in zip(cuts, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = loss_of(model(x[begin:end]), y[begin:end])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, clip_norm, foreach=True)
        optimizer.step()
        total += loss.detach() * (end - begin)
    return total / len(x)


def _mean_loss(model: MLP, loss_of: Loss, x: Tensor, y: Tensor) -> Tensor:
    """The mean loss over rows in inference, still on the device."""
    model.eval()
    total = torch.zeros((), device=x.device)
    with torch.no_grad():
        for rows, targets in zip(torch.split(x, _EVALUATION_ROWS), torch.split(y, _EVALUATION_ROWS), strict=True):
            total += loss_of(model(rows), targets) * len(rows)
    return total / len(x)


def _optimizer(config: TrainConfig, model: MLP) -> torch.optim.Optimizer:
    """Adam or AdamW, fused, with weight decay on the matrices only: a bias or a scale has nothing to shrink for."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.decay == 0:
        groups = [{"params": parameters, "weight_decay": 0.0}]  # one fused call a step rather than two
    make = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return make([group for group in groups if group["params"]], lr=config.rate, fused=True)


def _as_targets(y: NDArray[np.generic], architecture: MLPConfig) -> NDArray[np.generic]:
    """`(rows,)` classes as they are; values as `(rows, 1)`, beside the network's."""
    return y[:, None] if architecture.output == "linear" else y


def _to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
