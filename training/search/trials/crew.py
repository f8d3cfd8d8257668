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
from training.search.trials.session import Session
from training.search.trials.study import Point
from training.search.trials.trial import Outcome
from training.search.trials.worker import Begin, Done, Progressed, Ready, Stop, Work, work
from training.threads import thread_variables

_TICK = 0.2  # seconds after which it is looked whether time is up, where no worker says anything
_PATIENCE = 5.0  # seconds for a process that was told to end


@dataclass
class _Member:
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


class Crew:
    """Workers, started on entering and ended on leaving, however that comes about.

    They are spawned rather than forked: a fork of a process in which torch has threads may hang.
    """

    def __init__(self, given: Work, *, jobs: int) -> None:
        """Describes the crew.

        Args:
            given: what every trial has in common.
            jobs: how many workers.
        """
        self._given = given
        self._jobs = jobs
        self._members: list[_Member] = []
        self._begin_times: dict[int, float] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            member.pipe.close()  # an idle worker ends by that
            if member.number is not None or not member.is_ready:
                member.process.kill()
        for member in self._members:
            member.process.join(_PATIENCE)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.process.close()
        self._members.clear()

    def run(self, session: Session) -> None:
        """Trains what the session asks for, until it asks for nothing more.

        Raises:
            SearchError: workers cannot be started.
        """
        for _ in range(min(self._jobs, session.trials)):
            self._members.append(self._start())
        while True:
            is_out = self._give_out(session)
            if all(member.number is None for member in self._members) and is_out:
                return
            self._hear(session)
            for member in self._members:
                if member.number is not None and not member.is_stopping and session.must_end(member.number):
                    member.is_stopping = True
                    with contextlib.suppress(OSError):  # it has died, which is seen next
                        member.pipe.send(Stop(member.number))

    def _give_out(self, session: Session) -> bool:
        """Gives every idle worker a trial; whether there are none left for now."""
        for member in self._members:
            if not member.is_ready or member.number is not None:
                continue
            if (point := session.next()) is None:
                return True
            self._give(member, point, session)
        # Where all are busy or not ready yet, there may be more to do.
        return session.is_over()

    def _give(self, member: _Member, point: Point, session: Session) -> None:
        member.number, member.is_stopping = point.number, False
        self._begin_times[point.number] = session.clock()
        with contextlib.suppress(OSError):  # it has died, which is seen next
            member.pipe.send(Begin(point.number, dict(point.settings)))

    def _hear(self, session: Session) -> None:
        """Takes what workers say, and sees which of them have died."""
        pipes: list[Connection | int] = [member.pipe for member in self._members]
        spoke = connection.wait([*pipes, *(member.process.sentinel for member in self._members)], timeout=_TICK)
        for member in [member for member in self._members if {member.pipe, member.process.sentinel} & {*spoke}]:
            try:
                while member.pipe.poll():
                    self._take(member, member.pipe.recv(), session)
            except (EOFError, OSError):
                self._replace(member, session)

    def _take(self, member: _Member, message: object, session: Session) -> None:
        match message:
            case Ready():
                member.is_ready = True
            case Progressed(number=number, epoch=epoch):
                session.epoch(number, epoch)
            case Done(number=number, outcome=outcome):
                member.number = None
                session.done(number, outcome)

    def _replace(self, member: _Member, session: Session) -> None:
        """Ends the trial of a worker that died, and starts another in its place."""
        member.process.join()
        code = member.process.exitcode
        if not member.is_ready:
            raise SearchError(
                f"a worker process ended with code {code} before its first trial: a script that searches with jobs "
                "needs `if __name__ == '__main__':`; with jobs=1 nothing is started."
            )
        self._members.remove(member)
        member.pipe.close()
        member.process.close()
        if member.number is not None:
            seconds = session.clock() - self._begin_times[member.number]
            how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
            session.done(member.number, Outcome(seconds=seconds, reason=f"its process ended with {how}."))
        self._members.append(self._start())

    def _start(self) -> _Member:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, self._given), daemon=True)
        with _without_interrupts(), thread_variables(self._given.threads or self._given.most_threads):
            process.start()
        theirs.close()  # so that its end is seen as the end of the pipe
        return _Member(process=process, pipe=ours)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Child processes started inside ignore SIGINT and SIGTERM; a signal that arrives meanwhile comes afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
