"""The tutorials run: every command is typed in an empty folder, in order, and prints the lines below the command.

Of shown lines `…` alone stands for any number of lines, and within a line for any text. Commands that need Docker, a
cluster or the network are not typed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from closeness import is_close

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs/tutorials").glob("*.md"))
START_SECONDS = 60
NOT_TYPED = re.compile(r"(docker|kubectl|make|\.) ")
SERVES = re.compile(r"(\w+=\S+ )*axon serve\b")


class Typist:
    """A folder for the commands of one tutorial, and the server that these commands start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Not in pytest's folder: the paths of Unix sockets have to be short.
        self._runtime_dir = tempfile.mkdtemp(prefix="axon-tutorial-")
        self._server: subprocess.Popen[bytes] | None = None
        commands = folder / ".commands"
        commands.mkdir()
        (commands / "axon").write_text(f'#!/bin/sh\nexec {sys.executable} -m axon "$@"\n', encoding="utf-8")
        (commands / "axon").chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AXON_")},
            "AXON_DEVICE": "cpu",
            "AXON_HOST": "127.0.0.1",
            "AXON_PORT": str(self._port),
            "AXON_RUNTIME_DIR": self._runtime_dir,
            "OMP_NUM_THREADS": "1",
            "LC_ALL": "C",
            "PATH": f"{commands}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
        }

    def type(self, command: str) -> str:
        """Returns the standard output of a command, which has to succeed."""
        line = command.replace("localhost:8000", f"127.0.0.1:{self._port}")
        run = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def serve(self, command: str) -> None:
        """Starts a server and waits until the server is ready. Ends an earlier one first."""
        self.stop()
        with (self.folder / ".log").open("wb") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self._environment, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            said = (self.folder / ".log").read_text()
            assert self._server.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server, if one is running, by a signal to the whole process group."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGTERM)
            assert self._server.wait(timeout=60) == 0, (self.folder / ".log").read_text()
            self._server = None

    def close(self) -> None:
        """Leaves nothing behind."""
        self.stop()
        shutil.rmtree(self._runtime_dir)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/health/ready").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def typist(tmp_path: Path) -> Iterator[Typist]:
    """An empty folder."""
    typist = Typist(tmp_path)
    yield typist
    typist.close()


def _commands_of(tutorial: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields each command of a tutorial with the lines below the command."""
    for block in re.findall(r"```console\n(.*?)```", tutorial.read_text(encoding="utf-8"), re.DOTALL):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield command, shown.splitlines()


def _is_shown(shown: list[str], printed: list[str]) -> bool:
    """Returns True if the printed lines are those that a page shows."""
    if not shown:
        return not printed
    first, rest = shown[0], shown[1:]
    if first == "…":
        return any(_is_shown(rest, printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and _is_line(first, printed[0]) and _is_shown(rest, printed[1:])


def _is_line(shown: str, printed: str) -> bool:
    if "…" in shown:
        return re.fullmatch(".*".join(map(re.escape, shown.rstrip().split("…"))), printed.rstrip()) is not None
    try:
        return is_close(json.loads(printed), json.loads(shown))
    except ValueError:
        return printed.rstrip() == shown.rstrip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="types the tutorials' curl lines")
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=[path.stem for path in TUTORIALS])
def test_a_tutorial_runs_and_prints_what_it_shows(tutorial: Path, typist: Typist) -> None:
    typed = 0
    for command, shown in _commands_of(tutorial):
        if NOT_TYPED.match(command):
            assert not shown, f"{command}: nobody checks what it prints"
        elif SERVES.match(command):
            typist.serve(command)
        else:
            printed = typist.type(command).splitlines()
            assert not shown or _is_shown(shown, printed), "\n".join([command, *printed])
        typed += 1
    assert typed > 5


def test_shown_lines_are_told_from_others() -> None:
    assert _is_shown(["a", "…", "c"], ["a", "b", "b", "c"])
    assert _is_shown(["…"], [])
    assert _is_shown(['{"p":[0.5]}'], ['{"p":[0.51]}'])
    assert _is_shown(["n …"], ["n 12"])
    assert not _is_shown(["a"], ["a", "b"])
    assert not _is_shown(["…", "c"], ["a", "b"])
    assert not _is_shown(['{"p":[0.5]}'], ['{"p":[0.6]}'])


def test_the_three_tutorials_are_there() -> None:
    assert [path.stem for path in TUTORIALS] == ["engineer", "platform", "student"]
