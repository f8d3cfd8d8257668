"""The supervisor of the API processes: small real processes die, stop and compute, and each has the right successor."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from service.api_forks import ApiHandle, ForkServer
from service.api_heartbeats import HangWatch, Heartbeats, _weight
from service.api_supervisor import ApiSupervisor, CrashLoop
from service.stream.heartbeat_policy import HeartbeatPolicy

pytestmark = pytest.mark.slow

HANG_SECONDS = 0.8
PATIENCE_SECONDS = 60


def wait_until(condition: Callable[[], bool]) -> None:  # not that of `serving`, which imports torch in each process
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def note(folder: Path, *words: object) -> None:
    with (folder / "notes").open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def beat_for_ever(number: int, heartbeats: Heartbeats, folder: Path) -> None:
    """Acts as an API process towards the supervisor."""
    note(folder, "start", number, os.getpid())
    if (folder / "broken").exists():
        os._exit(7)
    heartbeats.beat(number)
    note(folder, "beat", number, os.getpid())
    while True:
        heartbeats.beat(number)
        time.sleep(0.02)


class NotingForkServer(ForkServer):
    """A fork server that notes the signals to its processes."""

    folder: Path

    def start(self, number: int, *, is_successor: bool) -> ApiHandle:
        handle = super().start(number, is_successor=is_successor)
        send = handle.send

        def noting(signum: signal.Signals) -> None:
            note(self.folder, signum.name, number, handle.pid)
            send(signum)

        handle.send = noting  # type: ignore[method-assign]
        return handle


def supervise(folder: Path, processes: int) -> None:
    """Runs a fork server and a supervisor as the main process does, in a process without threads."""
    heartbeats = Heartbeats(processes)

    def start(number: int, _: bool) -> BaseProcess:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=beat_for_ever, args=(number, heartbeats, folder))
        process.start()
        return process

    fork_server = NotingForkServer(start, orphans_seconds=0.1)
    fork_server.folder = folder
    supervisor = ApiSupervisor(fork_server, heartbeats, processes, HANG_SECONDS)
    supervisor.start()
    try:
        while True:
            wait(supervisor.sentinels(), supervisor.seconds_to_next_look())
            supervisor.look()
    except CrashLoop as loop:
        note(folder, "end", loop)
    finally:
        fork_server.close()


class Supervised:
    """A supervisor in a process, and the notes of its API processes."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self.process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=supervise, args=(folder, processes)
        )
        self.process.start()
        wait_until(lambda: len(self.notes("beat")) == processes)

    def notes(self, kind: str = "") -> list[list[str]]:
        """Returns all notes, or those of one kind, in order."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [line.split() for line in lines if line.endswith("\n") and line.startswith(kind)]

    def started(self, number: int) -> list[int]:
        """Returns the ids of all processes at a position, in order."""
        return [int(pid) for _, at, pid in self.notes("start") if int(at) == number]

    def alive(self) -> list[int]:
        return [int(pid) for _, _, pid in self.notes("start") if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path, 2)
    yield supervised
    supervised.process.kill()
    supervised.process.join()
    wait_until(lambda: not supervised.alive())


def test_one_that_is_killed_is_replaced_at_its_position_and_its_sibling_stays(supervised: Supervised) -> None:
    [first], [sibling] = supervised.started(0), supervised.started(1)
    for n in range(2, 4):
        os.kill(supervised.started(0)[-1], signal.SIGKILL)
        wait_until(lambda n=n: len(supervised.started(0)) == n)  # type: ignore[misc]
    assert supervised.started(1) == [sibling]
    assert supervised.alive() == [sibling, supervised.started(0)[-1]]
    assert first not in supervised.alive()


def test_all_that_stop_at_once_are_replaced_one_after_the_other(supervised: Supervised) -> None:
    stopped = [*supervised.started(0), *supervised.started(1)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: len(supervised.notes("start")) == 4)
    wait_until(lambda: not set(stopped) & set(supervised.alive()))
    events = [(kind, number) for kind, number, _ in supervised.notes() if kind != "beat"]
    (_, one), (_, other) = killed = [event for event in events if event[0] == "SIGKILL"]
    assert {one, other} == {"0", "1"}, killed
    assert events[2:] == [("SIGKILL", one), ("start", one), ("SIGKILL", other), ("start", other)]


def test_one_that_dies_in_each_start_ends_the_server_after_a_few_pauses(supervised: Supervised) -> None:
    (supervised.folder / "broken").touch()
    began = time.monotonic()
    os.kill(supervised.started(0)[0], signal.SIGKILL)
    supervised.process.join(60)
    assert supervised.process.exitcode == 0
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4 + 0.8 + 1.6, "each pause is twice as long as the one before"
    assert len(supervised.started(0)) == 7, "the first one had started its work"
    [[_, *sentence]] = supervised.notes("end")
    assert " ".join(sentence) == "api-0 could not start 6 times in a row"
    wait_until(lambda: not supervised.alive())


def test_one_that_is_killed_again_and_again_after_its_start_is_replaced_each_time(supervised: Supervised) -> None:
    for n in range(2, 10):
        wait_until(lambda: str(supervised.started(0)[-1]) in {pid for _, _, pid in supervised.notes("beat")})
        os.kill(supervised.started(0)[-1], signal.SIGKILL)
        wait_until(lambda n=n: len(supervised.started(0)) == n)  # type: ignore[misc]
    assert not supervised.notes("end")


def test_api_processes_of_a_killed_main_process_do_not_outlive_the_fork_server(supervised: Supervised) -> None:
    supervised.process.kill()
    wait_until(lambda: not supervised.alive())


@pytest.mark.parametrize(
    ("state", "share", "weight"),
    [
        *(("T", 0.0, 1.0), ("t", 0.9, 1.0), ("S", 0.0, 1.0), ("D", 0.01, 1.0)),
        *(("R", 0.9, 0.25), ("S", 0.9, 0.25), ("R", 0.0, 0.0), ("R", 0.1, 0.0)),
    ],
)
def test_what_computes_is_given_time_and_what_waits_for_a_processor_is_not_at_fault(
    state: str, share: float, weight: float
) -> None:
    assert _weight(state, share) == weight


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        yield child
        child.kill()


def test_a_stopped_process_misses_heartbeats_but_none_in_a_probe_that_comes_late(
    child: subprocess.Popen[bytes],
) -> None:
    heartbeats, policy = Heartbeats(2), HeartbeatPolicy(probe_seconds=60, max_missed=2)
    watch = HangWatch(1, heartbeats, policy)
    watch.pid = child.pid
    child.send_signal(signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T")
    for missed in (1, 2):
        watch.probe()
        assert watch.missed == missed
    assert watch.is_hung
    assert not watch.has_beaten
    heartbeats.beat(0)
    watch.probe()
    assert watch.missed == 3, "the heartbeat of another process"
    heartbeats.beat(1)
    watch.probe()
    assert watch.missed == 0
    assert watch.has_beaten
    late = HangWatch(1, heartbeats, HeartbeatPolicy(probe_seconds=1e-6, max_missed=2))
    late.pid = child.pid
    for _ in range(5):
        late.probe()
    assert late.missed == 0, "the main process itself had no processor meanwhile"
