"""What a population came to: every member in every epoch, who took over from whom, the winner's line. Data only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.store import ModelVersion, Store
from training.fit import FittedModel
from training.search.trials.trial import HIGHER_IS_BETTER, Metric

Ended = Literal["epochs", "patience", "time", "asked", "diverged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploit:
    """A member that was replaced.

    Attributes:
        epoch: after which, from 1.
        member: which.
        parent: whose weights and optimiser it went on with.
        learning_rate: at its highest, that it then had.
        dropout: that it then had.
    """

    epoch: int
    member: int
    parent: int
    learning_rate: float
    dropout: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of the winner's line with the same hyperparameters.

    Attributes:
        epoch: its first, from 1.
        member: whose place it was in.
        learning_rate: at its highest.
        dropout: at its highest.
    """

    epoch: int
    member: int
    learning_rate: float
    dropout: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedMember:
    """A member at the end.

    Attributes:
        member: which, from 0; the first began with the recipe's own hyperparameters.
        value: the metric on the validation part; None where it is no finite number.
        learning_rate: at its highest.
        dropout: at its highest.
        replaced: after which epochs it was.
    """

    member: int
    value: float | None
    learning_rate: float
    dropout: float
    replaced: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PopulationRun:
    """A population's training, epoch by epoch.

    Attributes:
        values: (epochs, members) the metric on the validation part.
        measures: (epochs, members) by name, `train_loss` and `validation_loss` and of a classifier `validation_error`.
        learning_rates: (epochs, members) at their highest, as each epoch was trained with.
        dropouts: (epochs, members) likewise.
        ranking: (members,) after the last epoch, the best first.
        exploits: in order.
        best_epoch: from 1, after which the winner was as it is kept.
        best_member: whose place the winner was in.
        tensors: the winner's.
        ended: why: all `epochs` were made, `patience` or `time` ran out, somebody `asked`, or every member `diverged`.
    """

    values: NDArray[np.float64]
    measures: Mapping[str, NDArray[np.float64]]
    learning_rates: NDArray[np.float64]
    dropouts: NDArray[np.float64]
    ranking: tuple[int, ...]
    exploits: tuple[Exploit, ...]
    best_epoch: int
    best_member: int
    tensors: Mapping[str, NDArray[np.float32]]
    ended: Ended

    @property
    def epochs(self) -> int:
        """That were made."""
        return len(self.values)

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self.ranking)

    @property
    def best_value(self) -> float:
        """The winner's figure."""
        return float(self.values[self.best_epoch - 1, self.best_member])

    def lineage(self) -> list[int]:
        """In whose place the winner, or whom it goes back to, was in each epoch up to its best."""
        parents = {(exploit.epoch, exploit.member): exploit.parent for exploit in self.exploits}
        places = [self.best_member]
        for epoch in range(self.best_epoch - 1, 0, -1):
            places.append(parents.get((epoch, places[-1]), places[-1]))
        return places[::-1]

    def stages(self) -> list[Stage]:
        """The winner's hyperparameters over time."""
        stages: list[Stage] = []
        for row, member in enumerate(self.lineage()):
            rate, dropout = float(self.learning_rates[row, member]), float(self.dropouts[row, member])
            if not stages or (stages[-1].learning_rate, stages[-1].dropout) != (rate, dropout):
                stages.append(Stage(epoch=row + 1, member=member, learning_rate=rate, dropout=dropout))
        return stages

    def history(self) -> dict[str, list[float]]:
        """The measures of the winner's line, up to its best epoch."""
        rows = np.arange(self.best_epoch)
        most = float(np.finfo(np.float32).max)  # an overflow that was outlived; a checkpoint's header has no infinity
        return {
            name: np.nan_to_num(values[rows, self.lineage()], nan=most, posinf=most).tolist()
            for name, values in self.measures.items()
        }

    def final_ranking(self) -> list[RankedMember]:
        """The members after the last epoch, the best first."""
        return [
            RankedMember(
                member=member,
                value=float(self.values[-1, member]) if math.isfinite(self.values[-1, member]) else None,
                learning_rate=float(self.learning_rates[-1, member]),
                dropout=float(self.dropouts[-1, member]),
                replaced=tuple(exploit.epoch for exploit in self.exploits if exploit.member == member),
            )
            for member in self.ranking
        ]


@dataclass(frozen=True, kw_only=True)
class PopulationResult:
    """A population that has ended.

    Attributes:
        metric: what members were ranked by, on the validation part.
        every: epochs from one selection to the next.
        run: how it went.
        model: the winner, with its figures on the test part.
        seconds: that it took.
    """

    metric: Metric
    every: int
    run: PopulationRun
    model: FittedModel
    seconds: float

    @property
    def name(self) -> str:
        """Under which the winner is published."""
        return self.model.name

    @property
    def higher_is_better(self) -> bool:
        """Whether of the metric more is better."""
        return self.metric in HIGHER_IS_BETTER

    def publish(self, store: Store | Path | str, name: str | None = None) -> ModelVersion:
        """Writes the winner to a store as the next version.

        Raises:
            StoreError: the name is none, or the disk refuses.
        """
        return self.model.publish(store, name)

    def to_json(self) -> dict[str, Any]:
        """Everything but tensors and the single epochs, as JSON types."""
        run = self.run
        return {
            "name": self.name,
            "metric": self.metric,
            "members": run.members,
            "every": self.every,
            "epochs": run.epochs,
            "ended": run.ended,
            "seconds": round(self.seconds, 3),
            "winner": {
                "member": run.best_member,
                "epoch": run.best_epoch,
                "value": run.best_value,
                "stages": [asdict(stage) for stage in run.stages()],
            },
            "metrics": self.model.metrics,
            "ranking": [asdict(member) for member in run.final_ranking()],
            "takeovers": [asdict(exploit) for exploit in run.exploits],
            "notes": list(self.model.notes),
        }
