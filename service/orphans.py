"""Processes that end as orphans: as PID 1, the main process inherits them, and the kernel keeps what nobody reaps."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from pathlib import Path

_LOOK_SECONDS = 1.0


def reap_orphans(stop: threading.Event | None = None) -> None:
    """Reaps, for ever, children that this process did not start: a killed host's worker, what an `exec` left behind.

    A child of `multiprocessing` is its own to wait for: its exit code would be lost. One that has just been started may
    not be known as such yet, so an unknown one has to be seen twice.

    Args:
        stop: event that ends it; None runs until the process ends.
    """
    stop = threading.Event() if stop is None else stop
    before: set[int] = set()
    while not stop.wait(_LOOK_SECONDS):
        known = {child.pid for child in multiprocessing.active_children()}
        ended = {pid for pid in _children() if pid not in known and _is_zombie(pid)}
        for pid in ended & before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        before = ended - before


def _children() -> list[int]:
    """Returns the process ids of this process's children."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return False
