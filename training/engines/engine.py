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

from models.network.config import MLPConfig
from training.errors import TrainingError

Stopped = Literal["epochs", "patience", "asked", "converged", "cycled", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """What is learned from, and what chooses the best epoch.

    Attributes:
        x, validation_x: `(rows, in_features)` float32, standardised.
        y, validation_y: `(rows,)` int64 class indices, or float32 standardised values.
        weight, validation_weight: `(rows,)` how much each row counts beside the others; None for all alike.
        categories: positions of each categorical column's features, for the columns that take unknown categories.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[Any]
    weight: NDArray[np.float64] | None = None
    validation_weight: NDArray[np.float64] | None = None
    categories: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """Reports one epoch to the caller of an engine.

    Attributes:
        number: from 1.
        of: epochs that will be made at most.
        measures: figures by name: `train_loss` and `validation_loss`, of a classifier's torch engine `validation_error`
            too, means over its members; or a perceptron's `mistakes`.
        is_best: whether this epoch is the one to keep so far.
        learning_rate: of its last step; None where it is the same in all epochs.
    """

    number: int
    of: int
    measures: Mapping[str, float]
    is_best: bool
    learning_rate: float | None = None


OnEpoch = Callable[[Epoch], None]
ShouldStop = Callable[[], bool]
# All that a run's next step depends on, but for its data: arrays by name.
State = Mapping[str, NDArray[Any]]
OnState = Callable[[Callable[[], State]], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run came to.

    Attributes:
        architecture: of the network.
        tensors: of its best epoch.
        epochs_run: epochs made.
        best_epoch: the one that the tensors are from; of an ensemble, the latest of its members' own.
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
    """Records the epochs of a run as they are trained, and which one was best.

    Attributes:
        epochs: that will be made at most.
        patience: epochs without a better one after which it is enough; None for no end of patience.
        on_epoch: told of each epoch.
        best_epoch: the one to keep.
        better_epoch: the last that was better than all before it, and not just as good.
        measures: of each epoch, by name.
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
        """Takes an epoch's measures, `validation_loss` among them; whether the epoch is the best so far.

        Args:
            is_best: the caller's judgement; None for the least validation loss, of equal ones the first.
            is_better: whether it is better than all before it; None where the best always is.
            learning_rate: as `Epoch` has it.
            measures: by name.

        Raises:
            TrainingError: a measure that is not finite.
        """
        number = self.epochs_run + 1
        if not all(map(math.isfinite, measures.values())):
            raise TrainingError(
                f"the loss is no longer a finite number in epoch {number}: nothing was kept; "
                "try a smaller learning rate (--learning-rate)."
            )
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
        """Epochs made."""
        return len(self.measures.get("validation_loss", ()))

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the last epoch that was better lies too far back."""
        return self.patience is not None and self.epochs_run - self.better_epoch >= self.patience

    def history(self) -> dict[str, list[float]]:
        """The measures of each epoch, by name."""
        return self.measures


def batches(rows: int, size: int) -> list[tuple[int, int]]:
    """Where each batch begins and ends. A single row that would be left over joins the batch before it.

    BatchNorm cannot tell the spread of one row, and one row's gradient is a poor guide.
    """
    starts = list(range(0, rows, size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], rows], strict=True))
