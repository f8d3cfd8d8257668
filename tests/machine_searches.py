"""Real processes that search over machines, and their trials as plain Optuna reads a storage."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

ROOT = Path(__file__).parents[1]
SCRIPT = "import sys; from training.cli import main; sys.exit(main(sys.argv[1:]))"
OPTIONS = ("iris", "--engine", "numpy", "--vary", "learning_rate=1e-3..0.5:log", "--vary", "hidden_sizes=4|16")
SECONDS = 300.0  # longest time for anything; only a fault takes so long

Value = TypeVar("Value")


class Member:
    """A process that takes part in a search.

    Args:
        folder: folder of the process, with its output.
        name: name of the process, for its output's files.
        arguments: arguments of `search`.
    """

    def __init__(self, folder: Path, name: str, arguments: Sequence[object]) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "AXON_STORE": str(folder / "store"),
        }
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, "search", *map(str, arguments)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which the names of workers contain."""
        return self.process.pid

    def out(self) -> str:
        """Returns the standard output so far."""
        return self._out.read_text()

    def err(self) -> str:
        """Returns the standard error so far."""
        return self._err.read_text()

    def signal_all(self, number: signal.Signals) -> None:
        """Sends a signal to the process and its trials' processes."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kills the process alone; the processes of its trials must end by their own means."""
        self.process.kill()
        self.process.wait(SECONDS)

    def wait(self) -> int:
        """Waits for the end and returns the exit code."""
        return self.process.wait(SECONDS)

    def end(self) -> None:
        """Kills what is left, frozen processes too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(SECONDS)


@contextlib.contextmanager
def members(folder: Path) -> Iterator[Callable[..., Member]]:
    """Yields a function that starts members by name and arguments; ends all members."""
    started: list[Member] = []

    def start(name: str, *arguments: object) -> Member:
        started.append(Member(folder, name, arguments))
        return started[-1]

    try:
        yield start
    finally:
        for member in started:
            member.end()


def until(condition: Callable[[], Value | None], *watched: Member) -> Value:
    """Returns the first true value of a condition; the watched members must run meanwhile."""
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        for member in watched:
            assert member.process.poll() is None, member.err()
        assert time.monotonic() < deadline, [member.err() for member in watched]
        time.sleep(0.02)
    return value


def trials_of(storage: optuna.storages.BaseStorage, study: str = "iris") -> list[FrozenTrial]:
    """Returns all trials of a study, read afresh; none before the study exists."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with contextlib.suppress(KeyError):
        return optuna.load_study(study_name=study, storage=storage).get_trials()
    return []


def running(trials: Sequence[FrozenTrial], member: Member) -> list[int]:
    """Returns the numbers of the trials that a member trains."""
    return [
        trial.number
        for trial in trials
        if trial.state == TrialState.RUNNING and f"-{member.pid}-" in trial.user_attrs.get("axon_worker", "")
    ]


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that ended with a figure, or were pruned, or failed by their own fault."""
    return [
        trial
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (
            trial.state == TrialState.FAIL
            and trial.user_attrs.get("axon_trial", {}).get("state") == "failed"
            and "axon_lost" not in trial.user_attrs
        )
    ]


def lost(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials whose worker was lost."""
    return [trial for trial in trials if trial.state == TrialState.FAIL and "axon_lost" in trial.user_attrs]


def check_sound(trials: Sequence[FrozenTrial], count: int) -> None:
    """Checks that `count` trials count, that none is open, and that each lost one was trained again exactly once."""
    assert len(counted(trials)) == count
    assert not [trial.number for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    kept = [trial for trial in trials if not trial.user_attrs.get("axon_withdrawn")]
    for gone in lost(trials):
        again = [trial for trial in kept if trial.user_attrs.get("axon_retries") == gone.number]
        point = {**gone.system_attrs.get("fixed_params", {}), **gone.params}
        if len(point) == 2:
            assert [trial.params for trial in again] == [point], gone.number


def _is_free(lock: Path) -> bool:
    """Returns True if a lock file is not there, now or soon."""
    deadline = time.monotonic() + 0.5
    while lock.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def frozen_in_a_trial(
    read: Callable[[], Sequence[FrozenTrial]], worker: Member, other: Member, journal: Path | None = None
) -> int:
    """Freezes a worker in the middle of a trial, without the journal's lock, and returns the trial's number."""

    def frozen() -> list[int] | None:
        if not running(read(), worker):
            return None
        worker.signal_all(signal.SIGSTOP)
        # A lock that goes is the other member's; a frozen worker would keep its own.
        if (journal is None or _is_free(Path(f"{journal}.lock"))) and (found := running(read(), worker)):
            return found
        worker.signal_all(signal.SIGCONT)
        return None

    (number,) = until(frozen, other)
    return number
