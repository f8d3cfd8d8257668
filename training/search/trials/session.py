"""A search session: decides which point is trained next, which trials end early, and which checkpoint is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from training.engines.engine import Epoch, ShouldStop
from training.metrics import MetricFigure
from training.search.trials.folder import CheckpointStore
from training.search.trials.result import Ended, ranked
from training.search.trials.search_record import Point, SearchRecord
from training.search.trials.trial import Outcome, State, Trial


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a search.

    Attributes:
        done: number of trials that count, those of earlier sessions included.
        of: number of trials asked for.
        running: number of trials in training.
        best: best finished trial; None before the first one.
        seconds_left: estimated remaining time, from the duration of the trials so far and the time limit; None if
            neither is known.
        workers: number of machines' workers; None for a search on one machine.
        lost: number of trials whose worker was lost, and that are trained again.
    """

    done: int
    of: int
    running: int
    best: Trial | None
    seconds_left: float | None
    workers: int | None = None
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Callbacks for the progress of a search.

    Attributes:
        on_start: callback before the first trial, with the progress.
        on_epoch: callback for each epoch of a trial, with the trial's number and the epoch.
        on_trial: callback for each trial that ended, with the trial and the progress.
        on_again: callback after the last trial, with the winner, if its checkpoint is missing and it is trained again.
    """

    on_start: Callable[[Progress], None] = lambda progress: None
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None
    on_trial: Callable[[Trial, Progress], None] = lambda trial, progress: None
    on_again: Callable[[Trial], None] = lambda winner: None


@dataclass(kw_only=True)
class Session:
    """A search in progress; the caller trains the points.

    Attributes:
        record: record of the search.
        checkpoints: store of the best trial's checkpoint.
        metric: metric that ranks the trials.
        trials: total number of trials asked for, earlier ones included.
        jobs: number of trials at the same time.
        timeout: time limit in seconds; then no trial begins, and the running trials end.
        should_stop: callback that returns True if the search should end.
        listener: callbacks for the progress.
        clock: monotonic clock in seconds.
        ended: reason for the end, as in `SearchResult`.
    """

    record: SearchRecord
    checkpoints: CheckpointStore
    metric: MetricFigure
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
        """The wall-clock time since this session began."""
        return self.clock() - self._begin

    def next(self) -> Point | None:
        """Returns the point to train next; None if no more trials should begin, for the reason in `ended`."""
        if self.is_over():
            return None
        if (point := self.record.ask()) is None:
            self.ended, self._is_exhausted = "grid", True
            return None
        self._running[point.number] = point
        return point

    def is_over(self) -> bool:
        """Returns True if no more trials should begin."""
        return self._is_exhausted or self._must_end() or self._count() + len(self._running) >= self.trials

    def epoch(self, number: int, epoch: Epoch) -> None:
        """Records an epoch of a running trial."""
        self.listener.on_epoch(number, epoch)
        if "validation_loss" in epoch.measures and self.record.report(number, epoch.number, epoch.measures):
            self._to_prune.add(number)

    def must_end(self, number: int) -> bool:
        """Returns True if a running trial should end after the current epoch."""
        return number in self._to_prune or self._must_end()

    def done(self, number: int, outcome: Outcome) -> None:
        """Records the outcome of a trial."""
        trial = self._ended_trial(number, outcome)
        self._known.append(trial)
        is_best = (best := self.best()) is not None and best.number == number
        # The checkpoint is saved first: if the record named a winner without a checkpoint, it would be trained again.
        if is_best and outcome.checkpoint is not None:
            self.checkpoints.save(number, outcome.checkpoint)
        self.record.end(trial)
        if is_best:
            self.checkpoints.delete_all_but(number)
        self.listener.on_trial(trial, self.progress())

    def watch(self) -> None:
        """Does nothing; a search over machines checks the other workers here. Called several times a second."""

    def best(self) -> Trial | None:
        """Returns the best finished trial so far; None before the first one."""
        return next(iter(ranked(self._known, self.metric)), None)

    def progress(self) -> Progress:
        """Returns the progress of the search."""
        return Progress(
            done=self._count(),
            of=max(self.trials, self._count()),
            running=len(self._running),
            best=self.best(),
            seconds_left=self._seconds_left(),
        )

    def _ended_trial(self, number: int, outcome: Outcome) -> Trial:
        """Removes a trial from the running ones and returns the trial with an outcome."""
        point = self._running.pop(number)
        state = self._state(number, outcome)
        self._to_prune.discard(number)
        return Trial(
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

    def _state(self, number: int, outcome: Outcome) -> State:
        if outcome.reason is not None:
            return "failed"
        if not outcome.was_ended:
            return "finished"
        if number in self._to_prune:
            return "pruned"
        # Ended by the time limit or by the user: its figure is not comparable, but its model is better than none.
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
        return sum(trial.counts for trial in self._known)

    def _seconds_left(self) -> float | None:
        taken = [trial.seconds for trial in self._known if trial.counts]
        limit = None if self.timeout is None else max(self.timeout - self.seconds, 0.0)
        if not taken:
            return limit
        by_trials = sum(taken) / len(taken) * max(self.trials - len(taken), 0) / self.jobs
        return by_trials if limit is None else min(by_trials, limit)
