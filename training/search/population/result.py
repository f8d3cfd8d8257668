"""The result of a population: all members in all epochs, the replacements and the winner's lineage. Data only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.model_store import ModelStore
from models.model_version import ModelVersion
from training.fitted_model import FittedModel
from training.metrics import HIGHER_IS_BETTER, MetricFigure

Ended = Literal["epochs", "patience", "time", "asked", "diverged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Exploit:
    """An exploit step: a selection replaced a member by a copy of a better one.

    Attributes:
        epoch: number of the epoch before the step, from 1.
        member: index of the replaced member.
        parent: index of the member whose weights and optimiser state were copied.
        learning_rate: peak learning rate of the replaced member after the step.
        dropout: dropout probability of the replaced member after the step.
    """

    epoch: int
    member: int
    parent: int
    learning_rate: float
    dropout: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A run of epochs in the winner's lineage with the same hyperparameters.

    Attributes:
        epoch: number of the first epoch, from 1.
        member: index of the member that the winner descends from in these epochs.
        learning_rate: peak learning rate of the schedule.
        dropout: peak dropout probability of the schedule.
    """

    epoch: int
    member: int
    learning_rate: float
    dropout: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedMember:
    """A member of the final ranking.

    Attributes:
        member: index of the member, from 0; member 0 began with the recipe's own hyperparameters.
        value: metric on the validation part; None if not finite.
        learning_rate: peak learning rate of the schedule.
        dropout: peak dropout probability of the schedule.
        replaced: numbers of the epochs after which the member was replaced.
    """

    member: int
    value: float | None
    learning_rate: float
    dropout: float
    replaced: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PopulationRun:
    """The training of a population, epoch by epoch.

    Attributes:
        values: (epochs, members) metric on the validation part.
        measures: (epochs, members) arrays by name: `train_loss`, `validation_loss` and, for a classifier,
            `validation_error`.
        learning_rates: (epochs, members) peak learning rates that each epoch was trained with.
        dropouts: (epochs, members) peak dropout probabilities that each epoch was trained with.
        ranking: (members,) indices of the members after the last epoch, the best first.
        exploits: exploit steps in the order of their epochs.
        best_epoch: number of the epoch after which the winner was kept, from 1.
        best_member: index of the member that the winner was in this epoch.
        tensors: tensors of the winner by name.
        ended: reason for the end: all `epochs` were trained, `patience` or `time` ran out, the user `asked` for it, or
            every member `diverged`.
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
        """The number of epochs trained."""
        return len(self.values)

    @property
    def members(self) -> int:
        """The number of members."""
        return len(self.ranking)

    @property
    def best_value(self) -> float:
        """The winner's metric on the validation part."""
        return float(self.values[self.best_epoch - 1, self.best_member])

    def lineage(self) -> list[int]:
        """Returns the member that the winner descends from, for each epoch up to the best one."""
        parents = {(exploit.epoch, exploit.member): exploit.parent for exploit in self.exploits}
        members = [self.best_member]
        for epoch in range(self.best_epoch - 1, 0, -1):
            members.append(parents.get((epoch, members[-1]), members[-1]))
        return members[::-1]

    def stages(self) -> list[Stage]:
        """Returns the winner's hyperparameters over time."""
        stages: list[Stage] = []
        for row, member in enumerate(self.lineage()):
            rate, dropout = float(self.learning_rates[row, member]), float(self.dropouts[row, member])
            if not stages or (stages[-1].learning_rate, stages[-1].dropout) != (rate, dropout):
                stages.append(Stage(epoch=row + 1, member=member, learning_rate=rate, dropout=dropout))
        return stages

    def history(self) -> dict[str, list[float]]:
        """Returns the measures of the winner's lineage, up to the best epoch."""
        rows = np.arange(self.best_epoch)
        # In place of an overflow that the lineage recovered from: a checkpoint's header has no infinity.
        most = float(np.finfo(np.float32).max)
        return {
            name: np.nan_to_num(values[rows, self.lineage()], nan=most, posinf=most).tolist()
            for name, values in self.measures.items()
        }

    def final_ranking(self) -> list[RankedMember]:
        """Returns the members after the last epoch, the best first."""
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
    """The result of a search by population.

    Attributes:
        metric: metric on the validation part that ranked the members.
        every: number of epochs from one selection to the next.
        run: training of the population.
        model: the winner, with its metrics on the test part.
        seconds: duration of the search.
    """

    metric: MetricFigure
    every: int
    run: PopulationRun
    model: FittedModel
    seconds: float

    @property
    def name(self) -> str:
        """The name that the winner is published under."""
        return self.model.name

    @property
    def higher_is_better(self) -> bool:
        """True if a higher value of the metric is better."""
        return self.metric in HIGHER_IS_BETTER

    def publish(self, store: ModelStore | Path | str, name: str | None = None) -> ModelVersion:
        """Publishes the winner to a store as the next version.

        Raises:
            StoreError: the name is not valid, or the disk refuses the write.
        """
        return self.model.publish(store, name)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types, without the tensors and the single epochs."""
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
