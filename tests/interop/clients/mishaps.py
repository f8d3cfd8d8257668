"""Mishaps in the middle of a job: a scorer that is held until its process is killed, and a version that is replaced."""

import os
import signal
import time
from pathlib import Path
from threading import Thread
from typing import Any

import axon

HELD_ID = 25_000  # row in whose batch the scorer is held
FOLDER = Path(os.environ["HELD_FOLDER"])  # the workers of the engines inherit the variable
GO = FOLDER / "go"


class HeldScorer(axon.Scorer):
    """A scorer that answers the batch with `HELD_ID`, and waits for the file `go` before the return."""

    def __call__(self, batch: Any) -> Any:
        answers = super().__call__(batch)
        if HELD_ID in set(answers["id"].tolist()):
            (FOLDER / f"held-{os.getpid()}").touch()
            while not GO.exists():
                time.sleep(0.02)
        return answers


class Killer(Thread):
    """Kills the first process that holds a batch, and lets the second one go on.

    Attributes:
        killed: name of the process that was killed.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.killed = ""
        self.start()

    def run(self) -> None:
        (first,) = _held(1)
        self.killed = Path(f"/proc/{first}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        os.kill(first, signal.SIGKILL)
        _held(2)
        GO.touch()


def _held(count: int) -> list[int]:
    """Waits until a number of processes have held a batch, and returns their ids."""
    while len(found := [int(path.name.removeprefix("held-")) for path in FOLDER.glob("held-*")]) < count:
        time.sleep(0.02)
    return found


def replace_version(folder: Path) -> None:
    """Replaces `mixed@1` of the store `replaced` by the version in `other`."""
    version = folder / "replaced/mixed/1"
    version.rename(folder / "before")
    (folder / "other").rename(version)
