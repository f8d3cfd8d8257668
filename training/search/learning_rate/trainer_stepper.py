"""A stepper for the learning-rate finder: the networks and the rows that `fit` would train, one step at a time."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from models.errors import ConfigError
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.device import choose_device
from training.engines.trainer import Trainer
from training.fit import thread_choice
from training.prepared_rows import prepare
from training.threads import ThreadChoice


class TrainerStepper:
    """A trainer, stepped at any learning rate on batches drawn at random.

    Attributes:
        trainer: what is stepped.
        threads: number of CPU threads that `fit` would train with, and why.
    """

    def __init__(self, trainer: Trainer, *, threads: ThreadChoice | None = None) -> None:
        self.trainer = trainer
        self.threads = threads or ThreadChoice(number=1, reason="")

    def step(self, learning_rate: float) -> float:
        """One step; the mean over the members of their loss on the batch, before it."""
        return float(self.trainer.step(self.trainer.random_batch(), rate=learning_rate).mean())

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that a step changes, as copies."""
        return self.trainer.state()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Puts back what `state` gave."""
        self.trainer.restore(state)


def stepper_of(
    table: TrainingTable, config: TrainConfig, *, device: str = "cpu", threads: int | None = None
) -> TrainerStepper:
    """Makes a stepper for the network that `fit` would train, on the rows that it would train it on.

    Args:
        table: the data.
        config: how to train.
        device: where to train.
        threads: number of CPU threads that the user asks for; None takes what `fit` would.

    Raises:
        ConfigError: an engine that is not torch, or no such device.
        DataError: the table cannot be split or encoded.
    """
    if config.engine != "torch":
        raise ConfigError(f"the learning-rate finder steps the torch engine, not {config.engine}.")
    config = config.for_table(table)
    rows = prepare(table, config)
    where = torch.device(choose_device(device))
    choice = thread_choice(rows, config, device=where.type, asked=threads)
    return TrainerStepper(Trainer(config, rows.architecture, rows.matrices(), device=where), threads=choice)
