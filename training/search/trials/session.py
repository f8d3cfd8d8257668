"""A session: one search while it goes on. It decides what is trained next, what ends early, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.engines.engine import Epoch, ShouldStop
from training.search.trials.folder import CheckpointStore
from training.search.trials.result import Ended, ranked
from training.search.trials.search_record import Point, SearchRecord
from training.search.trials.trial import Metric, Outcome, State, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        done: trials that count, those of earlier searches among them.
        of: trials asked for.
        running: trials that are being trained.
        best: the best finished one; None before there is one.
        seconds_left: by what trials have taken so far, and by the time limit; None before anything is known.
    """

    done: int
    of: int
    running: int
    best: Trial | None
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Who is told how a search goes.

    Attributes:
        on_start: of the progress before the first trial.
        on_epoch: of a trial's number and its epoch.
        on_trial: of each trial that ended, and of the progress then.
    """

    on_start: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None
    on_trial: Callable[[Trial, Progress], None] = lambda trial, progress: None


@dataclass(kw_only=True)
class Session:
    """A search in the course of it; it trains nothing itself.

    Attributes:
        record: the record.
        checkpoints: of the best trial's checkpoint.
        metric: what trials are judged by.
        trials: asked for, earlier ones counted.
        jobs: trials at a time.
        timeout: seconds after which no trial begins and those that run end.
        should_stop: whether somebody wants it to end.
        listener: who is told.
        clock: seconds.
    """

    record: SearchRecord
    checkpoints: CheckpointStore
    metric: Metric
    trials: int
    jobs: int = 1
    timeout: float | None = None
    should_stop: ShouldStop = lambda: False
    listener: Listener = field(default_factory=Listener)
    clock: Callable[[], float] = time.monotonic
    ended: Ended = "trials"

    def __post_init__(self) -> None:
        self._begin = self.clock()
        self._running: dict[int, Point] = {}
        self._to_prune: set[int] = set()
        self._is_exhausted = False
        self._known = self.record.trials()
        self.listener.on_start(self.progress())

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self.clock() - self._begin

    def next(self) -> Point | None:
        """What to train next; None where nothing more is to begin, and `ended` says why."""
        if self.is_over():
            return None
        if (point := self.record.ask()) is None:
            self.ended, self._is_exhausted = "grid", True
            return None
        self._running[point.number] = point
        return point

    def is_over(self) -> bool:
        """Whether nothing more is to begin."""
        return self._is_exhausted or self._must_end() or self._count() + len(self._running) >= self.trials

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Takes an epoch of a trial that runs."""
        self.listener.on_epoch(number, epoch)
        if "validation_loss" in epoch.measures and self.record.report(number, epoch.number, epoch.measures):
            self._to_prune.add(number)

    def must_end(self, number: int) -> bool:
        """Whether a trial that runs is to end after its epoch."""
        return number in self._to_prune or self._must_end()

    def done(self, number: int, outcome: Outcome) -> None:
        """Takes what came of a trial."""
        point = self._running.pop(number)
        state = self._state(number, outcome)
        self._to_prune.discard(number)
        trial = Trial(
            number=number,
            state=state,
            settings=point.settings,
            value=outcome.value if state == "finished" else None,
            error=outcome.error if state == "finished" else None,
            metrics=outcome.metrics,
            parameters=outcome.parameters,
            epochs=outcome.epochs,
            seconds=outcome.seconds,
            is_default=point.is_default,
            is_cut=state == "finished" and outcome.was_ended,
            reason=outcome.reason,
        )
        self._known.append(trial)
        is_best = (best := self.best()) is not None and best.number == number
        # The checkpoint first: a record that names a winner without one would have it trained again.
        if is_best and outcome.checkpoint is not None:
            self.checkpoints.save(number, outcome.checkpoint)
        self.record.end(trial)
        if is_best:
            self.checkpoints.delete_all_but(number)
        self.listener.on_trial(trial, self.progress())

    def best(self) -> Trial | None:
        """The best finished trial so far."""
        return next(iter(ranked(self._known, self.metric)), None)

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            done=self._count(),
            of=max(self.trials, self._count()),
            running=len(self._running),
            best=self.best(),
            seconds_left=self._seconds_left(),
        )

    def _state(self, number: int, outcome: Outcome) -> State:
        if outcome.reason is not None:
            return "failed"
        if not outcome.was_ended:
            return "finished"
        if number in self._to_prune:
            return "pruned"
        # Cut off by time or by a person: no fair figure to go on from, but better than no model at all.
        return "interrupted" if self.best() is not None else "finished"

    def _must_end(self) -> bool:
        if self.should_stop():
            self.ended = "asked"
        elif self.timeout is not None and self.seconds >= self.timeout:
            self.ended = "time"
        else:
            return False
        return True

    def _count(self) -> int:
        return sum(trial.state != "interrupted" for trial in self._known)

    def _seconds_left(self) -> float | None:
        taken = [trial.seconds for trial in self._known if trial.state != "interrupted"]
        limit = None if self.timeout is None else max(self.timeout - self.seconds, 0.0)
        if not taken:
            return limit
        by_trials = sum(taken) / len(taken) * max(self.trials - len(taken), 0) / self.jobs
        return by_trials if limit is None else min(by_trials, limit)
