"""The worker pool: the parent's side of the processes that train trials in parallel."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

from training.errors import SearchError
from training.search.trials.search_record import Point
from training.search.trials.session import Session
from training.search.trials.trial import Outcome
from training.search.trials.worker import Begin, Done, Progressed, Ready, Stop, TrialSetup, run_worker
from training.threads import thread_variables

_POLL_SECONDS = 0.2  # interval between checks of the time limit while no worker sends a message
_JOIN_SECONDS = 5.0  # grace period of a process that was told to end


@dataclass
class _Worker:
    """A worker process.

    Attributes:
        process: process of the worker.
        pipe: pipe to the worker.
        is_ready: True if the worker accepts trials.
        number: number of the trial that the worker trains; None if the worker is idle.
        is_stopping: True if the worker was told to end this trial.
    """

    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False
    number: int | None = None
    is_stopping: bool = False


class WorkerPool:
    """A pool of worker processes: `run` starts the workers, and leaving the context always ends all workers.

    Workers are spawned, not forked: a fork of a process in which torch has threads may hang.
    """

    def __init__(self, setup: TrialSetup, *, jobs: int) -> None:
        """Stores the setup; starts no process.

        Args:
            setup: arguments that all trials share.
            jobs: number of workers.
        """
        self._setup = setup
        self._jobs = jobs
        self._workers: list[_Worker] = []
        self._begin_times: dict[int, float] = {}

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pipe.close()  # an idle worker ends when its pipe is closed
            if worker.number is not None or not worker.is_ready:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(_JOIN_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        self._workers.clear()

    def run(self, session: Session) -> None:
        """Starts the workers and trains the session's trials until the session is over.

        Raises:
            SearchError: workers cannot be started.
        """
        for _ in range(min(self._jobs, session.trials)):
            self._workers.append(self._start())
        while True:
            is_over = self._assign_trials(session)
            if all(worker.number is None for worker in self._workers) and is_over:
                return
            self._receive(session)
            session.watch()
            for worker in self._workers:
                if worker.number is not None and not worker.is_stopping and session.must_end(worker.number):
                    worker.is_stopping = True
                    with contextlib.suppress(OSError):  # the worker has died; `_receive` notices this next
                        worker.pipe.send(Stop(worker.number))

    def _assign_trials(self, session: Session) -> bool:
        """Gives every idle worker a trial if there is one; returns True if no further trial will begin."""
        for worker in self._workers:
            if not worker.is_ready or worker.number is not None:
                continue
            if (point := session.next()) is None:
                break
            self._assign(worker, point, session)
        # Trials may remain while all workers are busy, and while those of other machines may still be lost.
        return session.is_over()

    def _assign(self, worker: _Worker, point: Point, session: Session) -> None:
        worker.number, worker.is_stopping = point.number, False
        self._begin_times[point.number] = session.clock()
        with contextlib.suppress(OSError):  # the worker has died; `_receive` notices this next
            worker.pipe.send(Begin(point.number, dict(point.settings)))

    def _receive(self, session: Session) -> None:
        """Receives messages from workers, and replaces workers that have died."""
        pipes: list[Connection | int] = [worker.pipe for worker in self._workers]
        sentinels = [worker.process.sentinel for worker in self._workers]
        ready = connection.wait([*pipes, *sentinels], timeout=_POLL_SECONDS)
        for worker in [worker for worker in self._workers if {worker.pipe, worker.process.sentinel} & {*ready}]:
            try:
                while worker.pipe.poll():
                    self._handle(worker, worker.pipe.recv(), session)
            except (EOFError, OSError):
                self._replace(worker, session)

    def _handle(self, worker: _Worker, message: object, session: Session) -> None:
        match message:
            case Ready():
                worker.is_ready = True
            case Progressed(number=number, epoch=epoch):
                session.epoch(number, epoch)
            case Done(number=number, outcome=outcome):
                worker.number = None
                session.done(number, outcome)

    def _replace(self, worker: _Worker, session: Session) -> None:
        """Records the trial of a dead worker as failed, and starts a new worker."""
        worker.process.join()
        code = worker.process.exitcode
        if not worker.is_ready:
            raise SearchError(
                f"a worker process ended with code {code} before its first trial: a script that searches with jobs "
                "needs `if __name__ == '__main__':`; with jobs=1 nothing is started."
            )
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.close()
        if worker.number is not None:
            seconds = session.clock() - self._begin_times[worker.number]
            how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
            session.done(worker.number, Outcome(seconds=seconds, reason=f"its process ended with {how}."))
        self._workers.append(self._start())

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=run_worker, args=(theirs, self._setup), daemon=True)
        with _without_interrupts(), thread_variables(self._setup.threads or self._setup.most_threads):
            process.start()
        theirs.close()  # so that reading the pipe raises EOFError once the worker has ended
        return _Worker(process=process, pipe=ours)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks SIGINT and SIGTERM, also in child processes started inside; delivers pending signals afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
