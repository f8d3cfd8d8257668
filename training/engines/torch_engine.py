"""The PyTorch engine: epochs until they are enough, the best of each member kept.

For tables a DataLoader would cost more than the network, since it collates row by row: here a batch is a gather. All
that a step does is in `Trainer`; nothing is read back from the device until an epoch is over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines.engine import EpochLog, Matrices, OnEpoch, OnState, ShouldStop, State, Stopped, Trained
from training.engines.trainer import MemberEvaluation, Trainer


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
) -> Trained:
    """Trains an MLP, or an ensemble of them. On the CPU the same arguments give the same bytes.

    Args:
        config: how to train.
        architecture: what to train.
        data: rows and targets.
        device: where, as torch names it.
        on_epoch: told of each epoch.
        should_stop: asked after each epoch.
        on_state: given, after each epoch, what makes a state to go on from; making one costs a copy of everything.
        resume: such a state, of the same config, architecture and data.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    trainer = Trainer(config, architecture, data, device=torch.device(device))
    log = EpochLog(epochs=config.epochs, patience=config.patience, on_epoch=on_epoch)
    best = _Best(trainer, keeps_later=trainer.config.select_by == "error")
    if resume is not None:
        trainer.restore(resume)
        best.restore(resume)
        _restore_log(log, resume)

    def state() -> State:
        return {**trainer.state(), **best.state(), **_log_state(log)}

    stopped: Stopped = "epochs"
    while log.epochs_run < config.epochs:
        train_loss = trainer.epoch()
        evaluation = trainer.evaluate()
        taken, better = best.take(evaluation)
        figures = (
            train_loss,
            evaluation.loss,
            evaluation.error,
            taken.to(train_loss.dtype),
            better.to(train_loss.dtype),
        )
        loss, validation_loss, error, is_best, is_better = torch.stack([f.mean() for f in figures]).tolist()  # one wait
        of_classes = {} if architecture.output == "linear" else {"validation_error": error}
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
    )


class _Best:
    """The weights of each member's best epoch.

    Attributes:
        weights: as `Trainer.weights` gives them.
    """

    def __init__(self, trainer: Trainer, *, keeps_later: bool) -> None:
        self.weights = trainer.weights()
        self._trainer = trainer
        self._keeps_later = keeps_later
        members = trainer.network.config.members
        self._figure = torch.full((members,), torch.inf, device=self.weights[0].device)

    def take(self, evaluation: MemberEvaluation) -> tuple[Tensor, Tensor]:
        """Keeps the present weights of the members that are at their best.

        Returns:
            (members,) whose weights were kept, and (members,) who is better than ever, and not just as good.
        """
        figure = evaluation.error if self._keeps_later else evaluation.loss
        better = figure < self._figure
        taken = figure <= self._figure if self._keeps_later else better
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
    return {**measures, "best_epoch": np.array(log.best_epoch), "better_epoch": np.array(log.better_epoch)}


def _restore_log(log: EpochLog, state: State) -> None:
    log.measures = {name[4:]: values.tolist() for name, values in state.items() if name.startswith("log.")}
    log.best_epoch, log.better_epoch = int(state["best_epoch"]), int(state["better_epoch"])
