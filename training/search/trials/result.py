"""The result of a search: all trials, the winner with its checkpoint, and statistics of the trials. Data only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from models.checkpoint import Checkpoint
from models.model_store import ModelStore
from models.model_version import ModelVersion
from models.open_store import open_store
from training.metrics import HIGHER_IS_BETTER, MetricFigure
from training.search.space import SearchSpace
from training.search.trials.trial import Trial

Ended = Literal["trials", "grid", "time", "asked"]

DEFAULTS, NEAREST = "defaults", "nearest to the defaults"  # what the first trial trains

_NEAR_SHARE = 0.01  # fraction of the winner's figure, used if no standard error is known


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """The result of a search that has ended.

    Attributes:
        name: name that the winner is published under.
        metric: metric on the validation part that ranked the trials.
        space: search space.
        trials: all trials that ended, by number.
        winner: best of the finished trials.
        first: words for the settings of the first trial, `defaults` or `nearest to the defaults`.
        checkpoint: checkpoint of the winner, with its metrics on the test part.
        importances: fraction of the metric's variance that each parameter explains, by name; None with too few trials.
        ended: reason for the end: all `trials` were trained, the `grid` had no more points, `time` was up, or the user
            `asked` for it.
        seconds: wall-clock time of this session; resumed sessions do not count.
        notes: sentences for the user.
    """

    name: str
    metric: MetricFigure
    space: SearchSpace
    trials: tuple[Trial, ...]
    winner: Trial
    first: str
    checkpoint: Checkpoint
    importances: Mapping[str, float] | None
    ended: Ended
    seconds: float
    notes: tuple[str, ...]

    def called(self, trial: Trial) -> str:
        """Returns the number of a trial, with a word on the one of the defaults."""
        return f"{trial.number} ({self.first})" if trial.is_default else f"{trial.number}"

    def ranking(self) -> list[Trial]:
        """Returns the finished trials, the best first."""
        return ranked(self.trials, self.metric)

    def history(self) -> list[tuple[int, float, float]]:
        """Returns (number, value, best value so far) of each trial of the ranking, by number."""
        points: list[tuple[int, float, float]] = []
        choose = max if self.metric in HIGHER_IS_BETTER else min
        for trial in sorted(self.ranking(), key=lambda trial: trial.number):
            if trial.value is not None:
                before = points[-1][2] if points else trial.value
                points.append((trial.number, trial.value, choose(trial.value, before)))
        return points

    def near(self) -> list[Trial]:
        """Returns the finished trials that the validation part cannot distinguish from the winner, the best first.

        The figure of such a trial differs from the winner's by at most the standard error of the difference of two
        independent figures, or by at most 1 % if no standard error is known. Figures on the same rows are not
        independent, so the list has too many trials rather than too few.
        """
        return [trial for trial in self.ranking() if trial.number != self.winner.number and self._is_near(trial)]

    def counts(self) -> dict[str, int]:
        """Returns the number of trials in each state."""
        ranking = self.ranking()
        states = ["interrupted" if trial.is_cut and trial not in ranking else trial.state for trial in self.trials]
        return {state: states.count(state) for state in ("finished", "pruned", "failed", "interrupted")}

    def publish(self, store: ModelStore | Path | str, name: str | None = None) -> ModelVersion:
        """Publishes the winner to a store as the next version.

        Raises:
            StoreError: the name is not valid, or the disk refuses the write.
        """
        target = open_store(store)
        return target.publish(name or self.name, self.checkpoint)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON types, without the checkpoint's tensors."""
        return {
            "name": self.name,
            "metric": self.metric,
            "ended": self.ended,
            "seconds": round(self.seconds, 3),
            "counts": self.counts(),
            "winner": _record(self.winner),
            "near": [trial.number for trial in self.near()],
            "metrics": dict(self.checkpoint.metrics),
            "importances": None if self.importances is None else dict(self.importances),
            "space": self.space.to_json(),
            "trials": [_record(trial) for trial in self.trials],
            "notes": list(self.notes),
        }

    def _is_near(self, trial: Trial) -> bool:
        if trial.value is None or self.winner.value is None:
            return False
        if trial.error is None or self.winner.error is None:
            reach = abs(self.winner.value) * _NEAR_SHARE
        else:
            reach = math.hypot(trial.error, self.winner.error)
        return abs(trial.value - self.winner.value) <= reach


def ranked(trials: Sequence[Trial], metric: MetricFigure) -> list[Trial]:
    """Returns the finished trials, the best first; equal trials stay in the order of their numbers.

    A trial that was ended early is among them only if no other has finished.
    """
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    finished = [trial for trial in trials if trial.state == "finished" and trial.value is not None]
    whole = [trial for trial in finished if not trial.is_cut]
    return sorted(whole or finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def _record(trial: Trial) -> dict[str, Any]:
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in trial.settings.items()}
    return asdict(trial) | {"settings": settings}
