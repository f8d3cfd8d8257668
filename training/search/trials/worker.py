"""A worker: a process that trains trials one after the other, and ends when its parent does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from typing import Any

from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.engine import Epoch
from training.search.trials.trial import Metric, Outcome, run_trial


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """What is the same for every trial of a search.

    Attributes:
        table: the data.
        config: of the first trial; what does not vary is every trial's.
        metric: what trials are judged by.
        device: where to train.
        threads: CPU threads of one trial; None takes what `fit` would.
        most_threads: CPU threads that one trial may take at most where `threads` is None.
    """

    table: TrainingTable
    config: TrainConfig
    metric: Metric
    device: str
    threads: int | None = None
    most_threads: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first word: it takes trials from now on."""


@dataclass(frozen=True, slots=True)
class Begin:
    """To a worker: train this."""

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: end this trial after its epoch."""

    number: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """From a worker: an epoch is over."""

    number: int
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Done:
    """From a worker: a trial has ended."""

    number: int
    outcome: Outcome


def run_worker(pipe: Connection, setup: TrialSetup) -> None:
    """Trains what it is told to until the pipe is closed."""
    # A Ctrl-C reaches every process of the terminal, and a service manager's SIGTERM every process of the service; it
    # is the parent that decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send(Ready())
        while True:
            message = pipe.recv()
            if isinstance(message, Begin):  # a Stop between trials came too late for the last one
                pipe.send(Done(message.number, _train(pipe, setup, message)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _train(pipe: Connection, setup: TrialSetup, begin: Begin) -> Outcome:
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        while pipe.poll():
            message = pipe.recv()
            stopped = stopped or (isinstance(message, Stop) and message.number == begin.number)
        return stopped

    return run_trial(
        setup.table,
        replace(setup.config, **begin.settings),
        metric=setup.metric,
        device=setup.device,
        on_epoch=lambda epoch: pipe.send(Progressed(begin.number, epoch)),
        should_stop=should_stop,
        threads=setup.threads,
    )


def _end_with_parent() -> None:
    """Ends the process when the parent is gone, even in the midst of an epoch: nobody would hear of it any more."""
    if (parent := parent_process()) is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
