"""The interface of an engine: its data, its reports and its result.

An engine uses no file, clock or terminal. After each epoch, it calls `on_epoch` and then `should_stop`, so that a
person can end a run early and keep the best epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from training.errors import TrainingError
from training.recipes import Selection

# Names of the measures in the history of a run that only one rule of the best epoch has. Of both, less is better.
SELECTION_MEASURES: Mapping[Selection, str] = {
    "balanced-error": "validation_balanced_error",
    "auc": "validation_ranking_error",
}

Stopped = Literal["epochs", "patience", "asked", "time", "converged", "cycled", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """The training part, and the validation part that decides which epoch is best.

    Attributes:
        x, validation_x: `(rows, in_features)` float32, standardised.
        y, validation_y: `(rows,)` int64 class indices or float32 standardised values; `(rows, out_features)` values of
            several targets.
        weight, validation_weight: `(rows,)` relative weight of each row; None for equal weights.
        folds: `(rows,)` fold of each row. Of K folds, member m does not learn from fold m modulo K, and is evaluated on
            it in place of the validation part; None if all members learn from all rows.
        taught: `(rows, out_features)` float32 answers of a teacher to the training part, probabilities or standardised
            values, which a student learns in place of `y`; None without a teacher.
        categories: positions of each categorical column's features, for the columns that take unknown categories.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[Any]
    weight: NDArray[np.float64] | None = None
    validation_weight: NDArray[np.float64] | None = None
    folds: NDArray[np.int64] | None = None
    taught: NDArray[np.float32] | None = None
    categories: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """Reports one epoch to the caller of an engine.

    Attributes:
        number: number of the epoch, from 1.
        of: largest number of epochs of the run.
        measures: figures by name: `train_loss` and `validation_loss`, and for a classifier of the torch engine
            `validation_error`, means over the members; or `mistakes` of a perceptron.
        is_best: True if this epoch is the best so far.
        learning_rate: learning rate of the last step; None if all epochs have the same.
        phase: name of the training that the epoch belongs to, in a run of several trainings; None for a run of one.
    """

    number: int
    of: int
    measures: Mapping[str, float]
    is_best: bool
    learning_rate: float | None = None
    phase: str | None = None


class Pacing(Protocol):
    """Decides during a run how many epochs the run has in all.

    The schedules of the run end with the last epoch of the latest plan: after a change they continue from the present
    point to their end.
    """

    def epochs_after(self, done: int, planned: int) -> int:
        """Returns the number of epochs in all.

        Args:
            done: number of epochs done.
            planned: number of epochs planned so far.

        Returns:
            The new plan; `done` to end the run now.
        """

    def state(self) -> State:
        """Returns what a resumed run needs, as arrays by name."""

    def restore(self, state: State) -> None:
        """Restores a `state`; names of other parts of a run are ignored."""


OnEpoch = Callable[[Epoch], None]
ShouldStop = Callable[[], bool]
# Everything that the next step of a run depends on, except the data: arrays by name.
State = Mapping[str, NDArray[Any]]
OnState = Callable[[Callable[[], State]], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of a run.

    Attributes:
        architecture: architecture of the network.
        tensors: parameters of the best epoch, by name.
        epochs_run: number of epochs trained.
        best_epoch: epoch of the tensors; for an ensemble, the latest of the members' best epochs.
        stopped: reason for the end: `epochs` (all were trained), `patience` (no better epoch for too long), `asked`
            (a person stopped the run), `time` (the limit of a population), `diverged`; for a perceptron `converged`, or
            `cycled`, which never converges.
        history: measures of each epoch, by name.
        verdict: sentence with information that the numbers do not show, or None.
        diverged: epoch in which the loss of a member was no longer finite, by member, counted from 0. The tensors of
            such members are those of their best epoch before.
    """

    architecture: MLPConfig
    tensors: Mapping[str, NDArray[np.float32]]
    epochs_run: int
    best_epoch: int
    stopped: Stopped
    history: Mapping[str, list[float]]
    verdict: str | None = None
    diverged: Mapping[int, int] = field(default_factory=dict)


@dataclass(kw_only=True)
class EpochLog:
    """A record of the epochs of a run, and of the best one.

    Attributes:
        epochs: largest number of epochs of the run.
        patience: number of epochs without a better one after which the run stops; None for no early stop.
        on_epoch: callback for each epoch.
        best_epoch: number of the epoch to keep.
        better_epoch: number of the last epoch that was strictly better than all before.
        measures: measures of each epoch, by name.
    """

    epochs: int
    patience: int | None
    on_epoch: OnEpoch
    best_epoch: int = 0
    better_epoch: int = 0
    measures: dict[str, list[float]] = field(default_factory=dict)

    def add(
        self,
        *,
        is_best: bool | None = None,
        is_better: bool | None = None,
        learning_rate: float | None = None,
        **measures: float,
    ) -> bool:
        """Adds and reports an epoch; returns True for the best epoch so far.

        Args:
            is_best: True if the caller finds the epoch best; None to choose the least validation loss, and the first of
                equal ones.
            is_better: True if the epoch is strictly better than all before; None to take `is_best`.
            learning_rate: learning rate of the last step, as in `Epoch`.
            measures: figures of the epoch by name, `validation_loss` included.

        Raises:
            TrainingError: a measure is not finite.
        """
        number = self.epochs_run + 1
        if not all(map(math.isfinite, measures.values())):
            raise diverged_error("the loss", epoch=number)
        if is_best is None:
            losses = self.measures.get("validation_loss", [])
            is_best = self.best_epoch == 0 or measures["validation_loss"] < losses[self.best_epoch - 1]
        if is_best:
            self.best_epoch = number
        if is_best if is_better is None else is_better:
            self.better_epoch = number
        for name, value in measures.items():
            self.measures.setdefault(name, []).append(value)
        self.on_epoch(
            Epoch(number=number, of=self.epochs, measures=measures, is_best=is_best, learning_rate=learning_rate)
        )
        return is_best

    @property
    def epochs_run(self) -> int:
        """The number of epochs trained."""
        return len(self.measures.get("validation_loss", ()))

    @property
    def is_out_of_patience(self) -> bool:
        """True if the last strictly better epoch is at least `patience` epochs ago."""
        return self.patience is not None and self.epochs_run - self.better_epoch >= self.patience

    def history(self) -> dict[str, list[float]]:
        """Returns the measures of each epoch, by name."""
        return self.measures


def diverged_error(loss: str, *, epoch: int, reason: str = "") -> TrainingError:
    """Returns the error of a run that diverged.

    Args:
        loss: the loss in words, as the subject of the sentence.
        epoch: number of the epoch, from 1.
        reason: words on why the run cannot go on without it, if the loss is not the only one.
    """
    return TrainingError(
        f"{loss} is no longer a finite number in epoch {epoch}: nothing was kept{reason}; "
        "try a smaller learning rate (--learning-rate)."
    )


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """Returns the first row of each batch and the row after the last. A single remaining row joins the previous batch.

    BatchNorm cannot estimate a variance from one row, and the gradient of one row is noisy.
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))
