"""What an engine is: architecture, config and matrices in; the best epoch's tensors and the history out.

An engine touches no file, clock or terminal. It reports each epoch to `on_epoch`, and before the next it asks
`should_stop`, so that a person can end a run early and keep what was found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.config import MLPConfig
from training.errors import TrainingError

Stopped = Literal["epochs", "patience", "asked", "converged", "cycled"]


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """What is learned from, and what chooses the best epoch.

    Attributes:
        x, validation_x: `(rows, in_features)` float32, standardised.
        y, validation_y: `(rows,)` int64 class indices, or float32 standardised values.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """One epoch, as it is reported.

    Attributes:
        number: from 1.
        of: epochs that will be made at most.
        measures: figures by name: `train_loss` and `validation_loss`, or a perceptron's `mistakes`.
        is_best: whether this epoch is the one to keep so far.
    """

    number: int
    of: int
    measures: Mapping[str, float]
    is_best: bool


OnEpoch = Callable[[Epoch], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run came to.

    Attributes:
        architecture: of the network.
        tensors: of its best epoch.
        epochs_run: epochs made.
        best_epoch: the one that the tensors are from.
        stopped: `epochs` (all were made), `patience` ran out, somebody `asked`; for a perceptron it `converged`, or
            it `cycled` and never can.
        history: the measures of each epoch, by name.
        verdict: a sentence on how it went, where there is more to say than numbers.
    """

    architecture: MLPConfig
    tensors: Mapping[str, NDArray[np.float32]]
    epochs_run: int
    best_epoch: int
    stopped: Stopped
    history: Mapping[str, list[float]]
    verdict: str | None = None


@dataclass(kw_only=True)
class EpochLog:
    """The history of a run while it is made, and the judgement of each epoch by its validation loss.

    Attributes:
        epochs: that will be made at most.
        patience: epochs without a new best after which it is enough; None for no end of patience.
        on_epoch: told of each epoch.
    """

    epochs: int
    patience: int | None
    on_epoch: OnEpoch
    best_epoch: int = 0
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)

    def add(self, train_loss: float, validation_loss: float) -> bool:
        """Takes an epoch's losses; whether the epoch is the best so far. Of equal ones the first is.

        Raises:
            TrainingError: a loss that is not finite.
        """
        number = len(self.train_losses) + 1
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise TrainingError(
                f"the loss is no longer a finite number in epoch {number}: nothing was kept; "
                "try a smaller learning rate (--learning-rate)."
            )
        is_best = self.best_epoch == 0 or validation_loss < self.validation_losses[self.best_epoch - 1]
        if is_best:
            self.best_epoch = number
        self.train_losses.append(train_loss)
        self.validation_losses.append(validation_loss)
        measures = {"train_loss": train_loss, "validation_loss": validation_loss}
        self.on_epoch(Epoch(number=number, of=self.epochs, measures=measures, is_best=is_best))
        return is_best

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the best epoch lies too far back."""
        return self.patience is not None and len(self.train_losses) - self.best_epoch >= self.patience

    def history(self) -> dict[str, list[float]]:
        """The measures of each epoch, by name."""
        return {"train_loss": self.train_losses, "validation_loss": self.validation_losses}


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """Where each batch begins and ends. A single row that would be left over joins the batch before it.

    BatchNorm cannot tell the spread of one row, and one row's gradient is a poor guide.
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))


def cosine(rate: float, step: int, steps: int) -> float:
    """The learning rate of a step, from 0: half a cosine from `rate` down to 0 (Loshchilov & Hutter 2017, SGDR)."""
    return rate * (1 + math.cos(math.pi * step / steps)) / 2
