"""The PyTorch engine: trains epoch by epoch until the run ends, and keeps the best epoch of each member.

For tables, a DataLoader would cost more than the network, since it collates row by row; here a batch is one gather.
`Trainer` runs the steps. Nothing is read back from the device before the end of an epoch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines.diverged_members import DivergedMembers
from training.engines.engine import (
    SELECTION_MEASURES,
    EpochLog,
    Matrices,
    OnEpoch,
    OnState,
    Pacing,
    ShouldStop,
    State,
    Stopped,
    Trained,
)
from training.engines.member_rates import portfolio_rates
from training.engines.pacing import PlannedPacing
from training.engines.trainer import MemberEvaluation, Trainer
from training.recipes import Selection


def train(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    device: str = "cpu",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    on_state: OnState = lambda state: None,
    resume: State | None = None,
    pacing: Pacing | None = None,
) -> Trained:
    """Trains an MLP or an ensemble of MLPs. On the CPU, the same arguments give the same bytes.

    Args:
        config: settings of the run.
        architecture: architecture of the networks.
        data: rows and targets.
        device: name of the torch device.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.
        on_state: callback after each epoch; its argument is a function that makes a state to resume from, at the cost
            of a copy of all tensors.
        resume: state of an earlier run with the same config, architecture and data; None for a new run.
        pacing: rule that may change the number of epochs during the run; None for the plan of the config.

    Raises:
        TrainingError: the loss of each member is no longer finite; by folds that of one member, and in a portfolio that
            of one member in each configuration.
    """
    trainer = Trainer(config, architecture, data, device=torch.device(device), rates=portfolio_rates(config))
    pacing = pacing or PlannedPacing(config.epoch_plan)
    log = EpochLog(epochs=config.epochs, patience=config.patience, on_epoch=on_epoch)
    best = _Best(trainer, select_by=trainer.config.select_by)
    diverged = DivergedMembers.of(config, trainer)
    if resume is not None:
        trainer.restore(resume)
        best.restore(resume)
        diverged.restore(resume)
        _restore_log(log, resume)
        pacing.restore(resume)

    def state() -> State:
        return {**trainer.state(), **best.state(), **diverged.state(), **_log_state(log), **pacing.state()}

    stopped: Stopped = "epochs"
    while True:
        log.epochs = pacing.epochs_after(log.epochs_run, log.epochs)
        if log.epochs_run >= log.epochs:
            break
        trainer.plan(log.epochs)
        train_loss = trainer.epoch()
        evaluation = trainer.evaluate()
        figures = [train_loss, evaluation.loss, evaluation.error]
        if evaluation.figure is not None:
            figures.append(evaluation.figure)
        remaining = diverged.add(figures, epoch=log.epochs_run + 1)
        taken, better = best.take(evaluation, remaining)
        flags = [taken.to(train_loss.dtype), better.to(train_loss.dtype)]
        is_best, is_better, loss, validation_loss, error, *figure = diverged.means([*flags, *figures])
        of_classes = {} if architecture.task == "regression" else {"validation_error": error}
        if figure:
            of_classes |= {SELECTION_MEASURES[config.select_by]: figure[0]}
        log.add(
            is_best=is_best > 0,
            is_better=is_better > 0,
            learning_rate=trainer.learning_rate,
            train_loss=loss,
            validation_loss=validation_loss,
            **of_classes,
        )
        on_state(state)
        if log.is_out_of_patience:
            stopped = "patience"
            break
        if should_stop():
            stopped = "asked"
            break
    return Trained(
        architecture=architecture,
        tensors=trainer.tensors_of(best.weights),
        epochs_run=log.epochs_run,
        best_epoch=log.best_epoch,
        stopped=stopped,
        history=log.history(),
        diverged=diverged.epochs(),
    )


class _Best:
    """The weights of each member's best epoch.

    Attributes:
        weights: tensors (members, …), in the order of `Trainer.weights`.
    """

    def __init__(self, trainer: Trainer, *, select_by: Selection) -> None:
        self.weights = trainer.weights()
        self._trainer = trainer
        self._select_by = select_by
        self._keeps_later = select_by != "loss"  # shares of few rows are often equal, and later epochs have converged
        members = trainer.network.config.members
        self._figure = torch.full((members,), torch.inf, device=self.weights[0].device)

    def take(self, evaluation: MemberEvaluation, remaining: Tensor) -> tuple[Tensor, Tensor]:
        """Keeps the present weights of the members for which this epoch is the best.

        Args:
            evaluation: figures of the epoch.
            remaining: (members,) False for the members whose weights are not to be kept any more.

        Returns:
            (members,) True if the member's weights were kept, and (members,) True if it is strictly better than before.
        """
        figure = evaluation.figure
        if figure is None:
            figure = evaluation.error if self._select_by == "error" else evaluation.loss
        if self._select_by == "last":
            figure = torch.zeros_like(figure)  # each epoch is as good as the one before, and the later one is kept
        better = (figure < self._figure) & remaining
        taken = (figure <= self._figure) & remaining if self._keeps_later else better
        self._figure = torch.where(taken, figure, self._figure)
        for kept, tensor in zip(self.weights, self._trainer.current(), strict=True):
            torch.where(taken.view(-1, *[1] * (tensor.ndim - 1)), tensor, kept, out=kept)
        return taken, better

    def state(self) -> dict[str, NDArray[Any]]:
        arrays = {f"best.{i}": tensor.cpu().numpy().copy() for i, tensor in enumerate(self.weights)}
        return {**arrays, "best.figure": self._figure.cpu().numpy().copy()}

    def restore(self, state: State) -> None:
        for i, tensor in enumerate(self.weights):
            tensor.copy_(torch.from_numpy(state[f"best.{i}"]))
        self._figure.copy_(torch.from_numpy(state["best.figure"]))


def _log_state(log: EpochLog) -> dict[str, NDArray[Any]]:
    measures = {f"log.{name}": np.array(values) for name, values in log.measures.items()}
    numbers = {"epochs": log.epochs, "best_epoch": log.best_epoch, "better_epoch": log.better_epoch}
    return {**measures, **{name: np.array(number) for name, number in numbers.items()}}


def _restore_log(log: EpochLog, state: State) -> None:
    log.measures = {name[4:]: values.tolist() for name, values in state.items() if name.startswith("log.")}
    log.epochs = int(state.get("epochs", log.epochs))  # an earlier version of Axon wrote no plan
    log.best_epoch, log.better_epoch = int(state["best_epoch"]), int(state["better_epoch"])
