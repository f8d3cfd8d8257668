"""A session of one worker in a search over machines: trains trials and finds the lost workers."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from training.search.machines.heartbeats import Heartbeats, MissedHeartbeats
from training.search.machines.shared_record import Census, SharedRecord
from training.search.trials.result import Ended
from training.search.trials.search_record import Point
from training.search.trials.session import Progress, Session
from training.search.trials.trial import Outcome, State

_ASK_SECONDS = 1.0  # between two questions for a trial while there is none


def worker_name() -> str:
    """Returns a name for this process that no other has: host, process, and a random part."""
    host = "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in socket.gethostname())
    return f"{host[:40] or 'host'}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


@dataclass(kw_only=True)
class SharedSession(Session):
    """A session of one worker in a search over machines.

    Attributes:
        record: record that the machines share.
        heartbeats: place of the workers' heartbeats.
        interval: seconds between two looks at the other workers, the same as between two heartbeats.
        leads: True for the process that ends the search and publishes its winner.
        tell: callback for a line to the user.
    """

    record: SharedRecord
    heartbeats: Heartbeats
    interval: float
    leads: bool
    tell: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        self._missed = MissedHeartbeats()
        self._workers = 1
        self._own: set[int] = set()
        self._census = self.record.census()
        self.trials = self._census.most
        self._shown = {trial.number for trial in self._census.ended}
        self._watch_due = self._ask_due = self.clock()
        super().__post_init__()

    @property
    def census(self) -> Census:
        """All trials of the search when this worker last looked."""
        return self._census

    @property
    def trained(self) -> int:
        """The number of trials that this worker has ended and that count."""
        return sum(trial.number in self._own and trial.counts for trial in self._census.ended)

    def next(self) -> Point | None:
        """Returns the point to train next; None if there is none at present."""
        if self.is_over() or self.clock() < self._ask_due:
            return None
        if (point := self.record.ask()) is None:
            self._ask_due = self.clock() + min(self.interval, _ASK_SECONDS)
            self._look()
            return None
        self._running[point.number] = point
        self._own.add(point.number)
        return point

    def is_over(self) -> bool:
        """Returns True if no more trials will begin: all have ended, or the leader or this worker ends early."""
        return self._must_end() or self._is_complete()

    def watch(self) -> None:
        """Checks the other workers once an interval, and releases the trials of lost workers."""
        if self.clock() < self._watch_due:
            return
        self._watch_due = self.clock() + self.interval
        if self.leads and self._must_end() and self._census.stopped is None:
            self.record.stop(self.ended)
        self._look()
        beats = self.record.patiently(self.heartbeats.read)
        running = self._census.running
        own = {number for number, worker in running.items() if worker == self.record.worker}
        signs: dict[int | str, object] = {
            number: (worker, beats.get(worker or "")) for number, worker in running.items() if number not in own
        }
        self._missed.observe(signs | beats)
        self._workers = self._missed.alive(beats)
        lost = self._missed.lost()
        # A trial of this worker that it does not train: the storage failed while the trial was created.
        forgotten = own - {*self._running}
        for number in sorted(forgotten | {number for number in running if number in lost}):
            if self.record.release(number):
                worker = running[number] or "its worker"
                self.tell(f"trial {number} is lost, for {worker} gave no sign of life: it is trained again.")
                self._ask_due = self.clock()
        for name in beats:
            if name in lost and name not in running.values():  # without this, dead workers would pile up
                self.record.patiently(partial(self.heartbeats.remove, name))
        # Others took this worker for lost, for example because it was frozen: they train these trials by now.
        self._to_prune |= {*self._running} - {*running}

    def done(self, number: int, outcome: Outcome) -> None:
        """Records the outcome of a trial, unless others took this worker for lost and train the trial again."""
        trial = self._ended_trial(number, outcome)
        if outcome.checkpoint is not None and trial.state == "finished":
            self._known.append(trial)
            if (best := self.best()) is not None and best.number == number:
                self.checkpoints.save(number, outcome.checkpoint)
        if not self.record.end(trial):
            self.tell(f"trial {number} does not count here: this worker was taken for lost, and others train it.")
        self._ask_due = self.clock()
        self._look()
        if (best := self.best()) is not None and best.number == number:
            self.checkpoints.delete_all_but(number)

    def progress(self) -> Progress:
        """Returns the progress of the search over all machines."""
        census = self._census
        return Progress(
            done=census.done,
            of=max(census.most, census.done),
            running=len(census.running),
            best=self.best(),
            seconds_left=self._seconds_left(),
            workers=self._workers,
            lost=census.lost,
        )

    def _look(self) -> None:
        """Reads all trials, and shows those that have ended since the last look."""
        self._census = self.record.census()
        self._known, self.trials = list(self._census.ended), self._census.most
        self.jobs = max(len(self._census.running), 1)
        for trial in self._census.ended:
            if trial.number not in self._shown:
                self._shown.add(trial.number)
                if self.leads or trial.number in self._own:
                    self.listener.on_trial(trial, self.progress())

    def _is_complete(self) -> bool:
        census = self._census
        if census.done >= census.most:
            return True
        is_complete = self.record.is_exhausted and not (census.running or census.waiting)
        if is_complete:
            self.ended = "grid"
        return is_complete

    def _must_end(self) -> bool:
        if super()._must_end():
            return True
        reasons: dict[str | None, Ended] = {"asked": "asked", "time": "time"}
        if self.leads or (reason := reasons.get(self._census.stopped)) is None:
            return False
        self.ended = reason
        return True

    def _state(self, number: int, outcome: Outcome) -> State:
        state = super()._state(number, outcome)
        # Only the leader may count a trial that was cut off: where a worker ends, others go on.
        is_cut = outcome.was_ended and state == "finished"
        return "interrupted" if is_cut and not self.leads else state
