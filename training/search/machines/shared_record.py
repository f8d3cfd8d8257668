"""The record of a search that several machines write to at the same time.

No machine gives out the trials. Each worker first creates a trial, then reads all trials with lower numbers, and gives
its own back if these make it one too many, or if one of them has the same task. The storage numbers trials one after
another, so all workers come to the same decision.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from training.search.machines.storages import Patience
from training.search.trials.search_record import (
    ENDED,
    IS_DEFAULT,
    Point,
    SearchRecord,
    is_interrupted,
    optuna_silenced,
    point_of,
)
from training.search.trials.strategies import make_sampler
from training.search.trials.trial import Trial

MOST_ATTEMPTS = 3  # a point that ends every worker must not end all machines, one after another

_WORKER, _LOST, _WITHDRAWN = "axon_worker", "axon_lost", "axon_withdrawn"
_RETRIES, _ATTEMPT = "axon_retries", "axon_attempt"
_MOST, _STOPPED = "axon_trials", "axon_stopped"
_TRIES = 5  # trials that a worker creates and gives back before it waits a moment


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """All trials of a search at one moment.

    Attributes:
        ended: trials that have ended, by number, with those that were interrupted or lost.
        running: worker of each trial in training, by the number of the trial; None for a worker that died early.
        waiting: number of trials that are queued, or that have to be trained again.
        lost: number of trials whose worker was lost.
        most: number of trials asked for.
        stopped: reason for which the leader ended the search early; None if it goes on.
    """

    ended: tuple[Trial, ...]
    running: Mapping[int, str | None]
    waiting: int
    lost: int
    most: int
    stopped: str | None

    @property
    def done(self) -> int:
        """The number of ended trials that count."""
        return sum(trial.counts for trial in self.ended)


class SharedRecord(SearchRecord):
    """A search record in a storage of several machines.

    Attributes:
        worker: name of this worker.
        most: number of trials asked for, over all machines.
        is_exhausted: True if a grid, or a space of few points, has no point left that nobody has taken.
    """

    def __init__(
        self, *, storage: BaseStorage, study: str, place: str, worker: str, most: int, patience: Patience, **how: Any
    ) -> None:
        """Opens the record; creates the study if missing.

        Args:
            storage: open storage.
            study: name of the study in the storage.
            place: address of the storage, without password.
            worker: name of this worker.
            most: number of trials asked for, over all machines.
            patience: caller of the storage.
            how: other arguments of `SearchRecord`.
        """
        self.worker, self.most, self.is_exhausted = worker, most, False
        self._is_full = False
        self._patience = patience
        self._random = zlib.crc32(worker.encode())
        super().__init__(storage=storage, study=study, place=f"{study!r} of {place}", **how)

    @property
    def study(self) -> optuna.Study:
        """The study, for attributes beside the trials."""
        return self._study

    def ask(self) -> Point | None:
        """Opens a trial and returns the point to train; None if there is no trial to begin at present."""
        with optuna_silenced():
            for _ in range(_TRIES):
                if (point := self._patience(self._try_to_ask)) is not None or self._is_full:
                    return point
        return None

    def report(self, number: int, epoch: int, measures: Mapping[str, float]) -> bool:
        """Records an epoch, as in `SearchRecord`; returns True also if others took this worker for lost."""
        try:
            return self._patience(lambda: super(SharedRecord, self).report(number, epoch, measures))
        except UpdateFinishedTrialError:
            return True

    def end(self, ended: Trial) -> bool:  # type: ignore[override]  # a record of one process always takes an outcome
        """Records the outcome of an open trial; returns False if others took this worker for lost meanwhile."""
        trial = self._open.pop(ended.number)
        self._lowest.pop(ended.number, None)
        with optuna_silenced():
            return self._patience(lambda: self._end(trial, ended))

    def trials(self) -> list[Trial]:
        """Returns the trials that have ended, by number, without those that were given back."""
        return list(self.census().ended)

    def census(self) -> Census:
        """Reads all trials and the leader's wishes."""
        with optuna_silenced():  # Optuna logs a query that fails, with all its SQL
            return self._patience(self._census)

    def release(self, number: int) -> bool:
        """Closes a trial whose worker is lost, for another worker to train; returns False if the trial has ended.

        If the worker died just after it had recorded the outcome, the outcome counts.
        """
        with optuna_silenced():
            return self._patience(lambda: self._release(number))

    def begin(self, most: int) -> None:
        """Sets the number of trials asked for, and lets workers begin trials again after an earlier stop."""
        self.most = most
        self._patience(lambda: self._study.set_user_attr(_MOST, most))
        self._patience(lambda: self._study.set_user_attr(_STOPPED, None))

    def stop(self, reason: str) -> None:
        """Ends the search on all machines, for a reason that their results tell."""
        self._patience(lambda: self._study.set_user_attr(_STOPPED, reason))

    def patiently(self, call: Callable[[], Any]) -> Any:
        """Returns the value of a call to the storage, which is repeated while the storage is away."""
        return self._patience(call)

    def _queue_open_points(self, first_point: Mapping[str, Any]) -> None:
        """Queues nothing when the record is opened: open trials may be in training on other machines."""
        self._first_point = self._to_optuna(first_point)

    def _try_to_ask(self) -> Point | None:
        """Creates a trial, and withdraws the trial if the earlier ones are enough or have the same task."""
        trials = self._all()
        begun = sum(_counts(trial) and trial.state != TrialState.WAITING for trial in trials)
        self._is_full = begun >= self.most or not self._queue(trials)
        if self._is_full:
            return None
        self._study.sampler = make_sampler(self._sampler, self._seed, begun, stream=(self._random,))
        trial = self._study.ask()
        try:
            # The owner comes first: sampling may take long, and a trial without an owner is soon taken for lost.
            trial.set_user_attr(_WORKER, self.worker)
            for name, distribution in self._distributions.items():
                _suggest(trial, name, distribution)
            if not self._is_wanted(trial.number):
                trial.set_user_attr(_WITHDRAWN, True)
                self._study.tell(trial.number, state=TrialState.FAIL)
                return None
        except UpdateFinishedTrialError:  # this process was frozen, and others closed the trial
            return None
        self._open[trial.number] = trial
        is_default = bool(trial.user_attrs.get(IS_DEFAULT, False))
        return Point(number=trial.number, settings=self._from_optuna(trial.params), is_default=is_default)

    def _queue(self, trials: list[FrozenTrial]) -> bool:
        """Queues a point that has to be trained, if there is one; returns False if the space has no more points."""
        if any(trial.state == TrialState.WAITING for trial in trials):
            return True
        kept = [trial for trial in trials if not trial.user_attrs.get(_WITHDRAWN)]
        if not any(trial.user_attrs.get(IS_DEFAULT) for trial in kept):
            self._study.enqueue_trial(self._first_point, user_attrs={IS_DEFAULT: True})
            return True
        for trial in self._owed(kept):
            self._study.enqueue_trial(point_of(trial), user_attrs=_retry_attributes(trial))
            return True
        if self._sampler == "qmc" and len(_points(kept)) >= math.prod(map(_size, self._distributions.values())):
            self.is_exhausted = True
            return False
        if self._sampler != "grid":
            return True
        tried = [point_of(trial) for trial in kept if _counts(trial) and _is_queued(trial)]
        left = next((point for point in map(self._to_optuna, self._grid) if point not in tried), None)
        self.is_exhausted = left is None
        if left is not None:
            self._study.enqueue_trial(left)
        return left is not None

    def _owed(self, kept: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the interrupted trials that have to be trained again, and that no later trial retries."""
        retried = {trial.user_attrs.get(_RETRIES) for trial in kept}
        return [
            trial
            for trial in kept
            if not _counts(trial)
            and trial.number not in retried
            and point_of(trial).keys() == self._distributions.keys()  # unless the worker died before it drew a point
            and (self._sampler != "grid" or _is_queued(trial))  # unless it died before it gave back a random point
        ]

    def _is_wanted(self, number: int) -> bool:
        """Returns True unless the trials with lower numbers are enough, or another trial has the same task."""
        trials = self._all()
        trial = next(trial for trial in trials if trial.number == number)
        earlier = [other for other in trials if other.number < number and not other.user_attrs.get(_WITHDRAWN)]
        if sum(map(_counts, earlier)) >= self.most:
            return False
        retried = trial.user_attrs.get(_RETRIES)
        if retried is not None:
            return all(other.user_attrs.get(_RETRIES) != retried for other in earlier)
        if trial.user_attrs.get(IS_DEFAULT):
            return not any(other.user_attrs.get(IS_DEFAULT) for other in earlier)
        # The trials below include lost ones: their points are trained again, under the numbers of their retries.
        if self._sampler == "grid":
            if not _is_queued(trial):
                return False  # others took the point that was queued, and this one is drawn at random
            return trial.params not in [point_of(other) for other in earlier if _is_queued(other)]
        if self._sampler == "qmc":
            # Two workers may draw the same point of the sequence. The one with the lower number may have written its
            # point after the other looked, so whoever sees the point elsewhere gives it back: perhaps both.
            others = [other for other in trials if other.number != number and not other.user_attrs.get(_WITHDRAWN)]
            return trial.params not in [point_of(other) for other in others]
        return True

    def _end(self, trial: optuna.Trial, ended: Trial) -> bool:
        try:
            self._write_outcome(trial, ended)
        except (UpdateFinishedTrialError, ValueError):  # closed by others, or by a call whose answer was lost
            now = next(other for other in self._all() if other.number == ended.number)
            record = {name: value for name, value in asdict(ended).items() if name not in ("number", "settings")}
            return now.user_attrs.get(_LOST) is None and now.user_attrs.get(ENDED) == _as_stored(record)
        return True

    def _release(self, number: int) -> bool:
        trial = next((trial for trial in self._all() if trial.number == number), None)
        if trial is None or trial.state != TrialState.RUNNING:
            return False
        record = trial.user_attrs.get(ENDED, {})
        try:
            if record.get("state") not in ("finished", "pruned"):
                record = {}
                assert self._storage is not None  # noqa: S101 - open until `close`
                # A mark in front of the state: should the worker wake and finish in between, its state counts.
                self._storage.set_trial_user_attr(trial._trial_id, _LOST, self.worker)
            self._tell(number, record)
        except (UpdateFinishedTrialError, ValueError):
            return False
        return True

    def _census(self) -> Census:
        trials = [trial for trial in self._all() if not trial.user_attrs.get(_WITHDRAWN)]
        attributes = self._study.user_attrs
        self.most = attributes.get(_MOST, self.most)
        return Census(
            ended=tuple(self._trial(trial) for trial in trials if trial.state.is_finished()),
            running={
                trial.number: trial.user_attrs.get(_WORKER) for trial in trials if trial.state == TrialState.RUNNING
            },
            waiting=sum(trial.state == TrialState.WAITING for trial in trials) + len(self._owed(trials)),
            lost=sum(_is_lost(trial) for trial in trials),
            most=self.most,
            stopped=attributes.get(_STOPPED),
        )

    def _trial(self, trial: FrozenTrial) -> Trial:
        if not _is_lost(trial):
            return super()._trial(trial)
        is_default = bool(trial.user_attrs.get(IS_DEFAULT))
        settings, worker = self._from_optuna(point_of(trial)), trial.user_attrs.get(_WORKER, "which is unknown,")
        if _counts(trial):
            reason = f"{MOST_ATTEMPTS} workers were lost over its settings, the last of them {worker}."
            return Trial(number=trial.number, state="failed", settings=settings, is_default=is_default, reason=reason)
        reason = f"its worker {worker} was lost"
        return Trial(number=trial.number, state="interrupted", settings=settings, is_default=is_default, reason=reason)

    def _all(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and trial.user_attrs.get(_LOST) is not None


def _points(trials: Sequence[FrozenTrial]) -> set[tuple[tuple[str, Any], ...]]:
    """Returns the different points of the trials that count."""
    return {tuple(sorted(point_of(trial).items())) for trial in trials if _counts(trial)}


def _size(distribution: BaseDistribution) -> float:
    """Returns the number of values of a parameter; infinity for a range of real numbers."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return len(choices)
        case IntDistribution(low=low, high=high, step=step):
            return (high - low) // step + 1
    return math.inf


def _is_queued(trial: FrozenTrial) -> bool:
    """Returns True if the trial's point was queued, and not drawn by a sampler."""
    return "fixed_params" in trial.system_attrs


def _counts(trial: FrozenTrial) -> bool:
    """Returns True for a trial that counts to the number asked for: begun or ended, and not to be trained again."""
    if trial.user_attrs.get(_WITHDRAWN):
        return False
    if _is_lost(trial):
        return bool(trial.user_attrs.get(_ATTEMPT, 1) >= MOST_ATTEMPTS)
    return not is_interrupted(trial)


def _retry_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the attributes of the trial that trains the point of an interrupted one again."""
    attempt = trial.user_attrs.get(_ATTEMPT, 1) + int(_is_lost(trial))
    default = {IS_DEFAULT: True} if trial.user_attrs.get(IS_DEFAULT) else {}
    return {_RETRIES: trial.number, _ATTEMPT: attempt, **default}


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    match distribution:
        case CategoricalDistribution(choices=choices):
            trial.suggest_categorical(name, choices)
        case FloatDistribution(low=low, high=high, log=log):
            trial.suggest_float(name, low, high, log=log)
        case IntDistribution(low=low, high=high, log=log):
            trial.suggest_int(name, low, high, log=log)


def _as_stored(record: dict[str, Any]) -> Any:
    """Converts a record to the JSON types that a storage returns."""
    return json.loads(json.dumps(record))
