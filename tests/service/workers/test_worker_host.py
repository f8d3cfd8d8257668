"""A worker's host: a dead or hung worker is replaced, and no worker outlives its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from service.stream import frames
from service.stream.frames import Kind
from service.workers.worker_host import WorkerHost, _backoff_seconds

PATIENCE_SECONDS = 30


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def predict_nothing(path: Path, log: Path) -> None:
    """Acts as a worker's process towards its host: sends HELLO, and answers each PING."""
    with log.open("a") as file:
        file.write(f"{os.getpid()} {time.monotonic()}\n")
    if (path.parent / "broken").exists():
        os._exit(7)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        while True:
            stream, _ = listener.accept()
            stream.sendall(frames.encode(Kind.HELLO, 0, b"{}"))
            while stream.recv(65536):
                stream.sendall(frames.encode(Kind.PONG, 0))


def run_host(path: Path, log: Path) -> None:
    """Runs a host in a process of its own, as LitServe spawns hosts."""
    WorkerHost(lambda: predict_nothing(path, log), path, hang_seconds=0.4).run_forever()


class Hosted:
    """A host in a process, and the workers that the host has forked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=run_host, args=(folder / "w", self.log)
        )
        self.process.start()

    def started(self) -> list[int]:
        """Returns the process ids of all workers, in the order of their starts."""
        return [int(pid) for pid, _ in self._starts()]

    def start_seconds(self) -> list[float]:
        """Returns the start time of each worker, by the worker's own clock."""
        return [float(seconds) for _, seconds in self._starts()]

    def _starts(self) -> list[list[str]]:
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        return [line.split() for line in lines if line.endswith("\n")]

    def alive(self) -> list[int]:
        return [pid for pid in self.started() if Path(f"/proc/{pid}").exists()]


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    hosted = Hosted(tmp_path)
    yield hosted
    hosted.process.kill()
    hosted.process.join()
    wait_until(lambda: not hosted.alive())


@pytest.mark.slow
def test_one_that_is_killed_is_followed_by_another(hosted: Hosted) -> None:
    for n in range(1, 4):
        wait_until(lambda n=n: len(hosted.started()) == n)  # type: ignore[misc]
        wait_until(lambda: (hosted.folder / "w").exists())
        os.kill(hosted.started()[-1], signal.SIGKILL)
    wait_until(lambda: len(hosted.started()) == 4)
    assert hosted.alive() == hosted.started()[-1:]


@pytest.mark.slow
def test_one_that_hangs_is_killed_and_followed_by_another(hosted: Hosted) -> None:
    wait_until(lambda: (hosted.folder / "w").exists())
    threading.Event().wait(1)  # long enough for several heartbeats
    [hung] = hosted.started()
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: len(hosted.started()) == 2)
    assert hung not in hosted.alive()


@pytest.mark.slow
def test_one_that_cannot_start_is_not_started_at_full_speed(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    hosted = Hosted(tmp_path)
    try:
        wait_until(lambda: len(hosted.started()) == 4)
        first, *_, fourth = hosted.start_seconds()
        assert fourth - first > 1, "0.2 + 0.4 + 0.8 seconds: each waits twice as long as the one before"
        (tmp_path / "broken").unlink()
        wait_until(lambda: (tmp_path / "w").exists())
    finally:
        hosted.process.kill()
        hosted.process.join()
        wait_until(lambda: not hosted.alive())


def test_the_wait_between_starts_that_fail_has_an_end() -> None:
    waits = [_backoff_seconds(failures) for failures in range(1, 2000)]
    assert waits[:3] == [0.2, 0.4, 0.8]
    assert set(waits[10:]) == {5.0}


@pytest.mark.slow
def test_nobody_outlives_a_host_that_is_killed(hosted: Hosted) -> None:
    wait_until(lambda: (hosted.folder / "w").exists())
    hosted.process.kill()
    wait_until(lambda: not hosted.alive())
