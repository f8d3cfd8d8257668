"""A stepper for the learning-rate finder: trains the network of `fit` on the rows of `fit`, one step at a time."""

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
    """A trainer that makes steps at any learning rate, on batches drawn at random.

    Attributes:
        trainer: trainer that makes the steps.
        threads: number of CPU threads that `fit` would train with, and the reason.
    """

    def __init__(self, trainer: Trainer, *, threads: ThreadChoice | None = None) -> None:
        self.trainer = trainer
        self.threads = threads or ThreadChoice(number=1, reason="")

    def step(self, learning_rate: float) -> float:
        """Makes one step; returns the batch's loss before the step, as the mean over the members."""
        return float(self.trainer.step(self.trainer.random_batch(), rate=learning_rate).mean())

    def state(self) -> dict[str, NDArray[Any]]:
        """Returns copies of all arrays that a step changes."""
        return self.trainer.state()

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Restores the copies that `state` returned."""
        self.trainer.restore(state)


def stepper_of(
    table: TrainingTable, config: TrainConfig, *, device: str = "cpu", threads: int | None = None
) -> TrainerStepper:
    """Makes a stepper for the network and the training rows that `fit` would use.

    Args:
        table: table to train on.
        config: settings of the training.
        device: name of the torch device to train on.
        threads: number of CPU threads that the user asks for; None for the number that `fit` would choose.

    Raises:
        ConfigError: the engine is not torch, the run has a portfolio or a distillation, or the device does not exist.
        DataError: the table cannot be split or encoded.
    """
    if config.engine != "torch":
        raise ConfigError(f"the learning-rate finder steps the torch engine, not {config.engine}.")
    if config.portfolio:
        raise ConfigError("a portfolio has several learning rates, and lr-find suggests one: leave out --portfolio.")
    if config.distill:
        raise ConfigError("a distillation has two trainings, and lr-find looks at one: leave out --distill.")
    rows = prepare(table, config)
    where = torch.device(choose_device(device))
    choice = thread_choice(rows, config, device=where.type, asked=threads)
    return TrainerStepper(Trainer(config, rows.architecture, rows.matrices(), device=where), threads=choice)
