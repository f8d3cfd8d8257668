"""The worker process: trains one trial after another, and ends when the parent process ends."""

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
from training.metrics import MetricFigure
from training.search.trials.trial import Outcome, run_trial


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """The arguments that are the same for all trials of a search.

    Attributes:
        table: table to train on.
        config: settings of the first trial; the fields that do not vary apply to every trial.
        metric: metric on the validation part that ranks the trials.
        device: name of the torch device to train on.
        threads: number of CPU threads of one trial; None for the number that `fit` would choose.
        most_threads: maximum number of CPU threads of one trial if `threads` is None.
    """

    table: TrainingTable
    config: TrainConfig
    metric: MetricFigure
    device: str
    threads: int | None = None
    most_threads: int | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message from a worker: ready for trials."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A message to a worker: train this trial."""

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """A message to a worker: end this trial after the current epoch."""

    number: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """A message from a worker: an epoch has ended."""

    number: int
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Done:
    """A message from a worker: a trial has ended."""

    number: int
    outcome: Outcome


def run_worker(pipe: Connection, setup: TrialSetup) -> None:
    """Trains the trials that arrive through the pipe until the pipe is closed."""
    # Ctrl-C reaches every process of the terminal, and a service manager's SIGTERM every process of the service. The
    # parent alone decides which trials end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        pipe.send(Ready())
        while True:
            message = pipe.recv()
            if isinstance(message, Begin):  # a Stop that arrives between trials came too late for the last trial
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
    """Ends this process as soon as the parent has ended, even during an epoch: no process would receive the outcome."""
    if (parent := parent_process()) is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
