"""A crew: the processes that train trials side by side, as their parent sees them."""

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

_POLL_SECONDS = 0.2  # seconds after which it is looked whether time is up, where no worker says anything
_JOIN_SECONDS = 5.0  # seconds for a process that was told to end


@dataclass
class _Worker:
    """One worker.

    Attributes:
        process: the worker's.
        pipe: to it.
        is_ready: whether it takes trials.
        number: of the trial it trains; None where it is idle.
        is_stopping: whether it was told to end that trial.
    """

    process: SpawnProcess
    pipe: Connection
    is_ready: bool = False
    number: int | None = None
    is_stopping: bool = False


class WorkerPool:
    """Workers, started on entering and ended on leaving, however that comes about.

    They are spawned rather than forked: a fork of a process in which torch has threads may hang.
    """

    def __init__(self, setup: TrialSetup, *, jobs: int) -> None:
        """Describes the crew.

        Args:
            setup: what every trial has in common.
            jobs: how many workers.
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
            worker.pipe.close()  # an idle worker ends by that
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
        """Trains what the session asks for, until it asks for nothing more.

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
            for worker in self._workers:
                if worker.number is not None and not worker.is_stopping and session.must_end(worker.number):
                    worker.is_stopping = True
                    with contextlib.suppress(OSError):  # it has died, which is seen next
                        worker.pipe.send(Stop(worker.number))

    def _assign_trials(self, session: Session) -> bool:
        """Gives every idle worker a trial; whether there are none left for now."""
        for worker in self._workers:
            if not worker.is_ready or worker.number is not None:
                continue
            if (point := session.next()) is None:
                return True
            self._assign(worker, point, session)
        # Where all are busy or not ready yet, there may be more to do.
        return session.is_over()

    def _assign(self, worker: _Worker, point: Point, session: Session) -> None:
        worker.number, worker.is_stopping = point.number, False
        self._begin_times[point.number] = session.clock()
        with contextlib.suppress(OSError):  # it has died, which is seen next
            worker.pipe.send(Begin(point.number, dict(point.settings)))

    def _receive(self, session: Session) -> None:
        """Takes what workers say, and sees which of them have died."""
        pipes: list[Connection | int] = [worker.pipe for worker in self._workers]
        spoke = connection.wait([*pipes, *(worker.process.sentinel for worker in self._workers)], timeout=_POLL_SECONDS)
        for worker in [worker for worker in self._workers if {worker.pipe, worker.process.sentinel} & {*spoke}]:
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
        """Ends the trial of a worker that died, and starts another in its place."""
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
        theirs.close()  # so that its end is seen as the end of the pipe
        return _Worker(process=process, pipe=ours)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Child processes started inside ignore SIGINT and SIGTERM; a signal that arrives meanwhile comes afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
