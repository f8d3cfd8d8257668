"""A stepper for the learning-rate finder: the network and the rows that `fit` would train, one step at a time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import MLPConfig
from models.errors import ConfigError
from models.mlp import MLP
from training import fit as fitting
from training.config import TrainConfig
from training.data.preprocessing import encode, fit_schema, scale_target, standardise
from training.data.training_table import TrainingTable
from training.engines.engine import batches


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchState:
    """A copy of everything that a step changes.

    Attributes:
        model: parameters and running statistics.
        optimizer: its moments and settings.
        order: of torch's generator of row orders.
        dropout: of torch's global generator.
        position: of the next batch in the present order.
        rows: the present order.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    order: Tensor
    dropout: Tensor
    position: int
    rows: Tensor


class TorchStepper:
    """An `MLP` with Adam or AdamW on the CPU, stepped at any learning rate.

    Attributes:
        model: the module.
    """

    def __init__(self, config: TrainConfig, architecture: MLPConfig, x: Tensor, y: Tensor) -> None:
        """Prepares training, as the engine begins it.

        Args:
            config: how to train.
            architecture: what to train.
            x: (rows, in_features) float32, standardised.
            y: (rows,) int64 classes, or (rows, 1) float32 standardised values.
        """
        self._generator = torch.Generator().manual_seed(config.seed)
        self.model = MLP(architecture, generator=self._generator)
        self._loss_of = functional.mse_loss if architecture.output == "linear" else functional.cross_entropy
        self._x, self._y, self._clip_norm = x, y, config.clip_norm
        self._cuts = batches(len(x), config.batch_size_for(len(x)))
        make = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = make([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)
        self._rows = torch.randperm(len(x), generator=self._generator)
        self._position = 0

    def step(self, learning_rate: float) -> float:
        """One step on the next batch; its loss before the step."""
        if self._position == len(self._cuts):
            self._rows, self._position = torch.randperm(len(self._x), generator=self._generator), 0
        begin, end = self._cuts[self._position]
        self._position += 1
        rows = self._rows[begin:end]
        self.model.train()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad()
        loss: Tensor = self._loss_of(self.model(self._x[rows]), self._y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        self._optimizer.step()
        return float(loss.detach())

    def state(self) -> TorchState:
        """Everything that a step changes, as a copy."""
        return TorchState(
            model={name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            optimizer=copy.deepcopy(self._optimizer.state_dict()),
            order=self._generator.get_state(),
            dropout=torch.get_rng_state(),
            position=self._position,
            rows=self._rows,
        )

    def restore(self, state: TorchState) -> None:
        """Puts back what `state` gave."""
        self.model.load_state_dict(state.model)
        self._optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        self._generator.set_state(state.order)
        torch.set_rng_state(state.dropout)
        self._position, self._rows = state.position, state.rows


def stepper_of(table: TrainingTable, config: TrainConfig) -> TorchStepper:
    """A stepper for the network that `fit` would train, on the rows that it would train it on.

    Raises:
        ConfigError: an engine that is not torch.
        DataError: the table cannot be split or encoded.
    """
    if config.engine != "torch":
        raise ConfigError(f"the learning-rate finder steps the torch engine, not {config.engine}.")
    config = config.for_task(table.task)
    rows = fitting._split(table, config).train
    schema = fit_schema(table, rows)
    architecture = fitting._architecture(table, schema, config)
    x = torch.from_numpy(standardise(schema, encode(schema, table, rows)))  # (rows, in_features)
    y = torch.from_numpy(np.ascontiguousarray(scale_target(schema, table.target[rows])))  # (rows,)
    return TorchStepper(config, architecture, x, y[:, None] if architecture.output == "linear" else y)
