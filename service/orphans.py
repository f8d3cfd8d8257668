"""Orphaned processes: as PID 1, the main process inherits orphans and has to reap ended ones."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from pathlib import Path

_POLL_SECONDS = 1.0


def reap_orphans(stop: threading.Event | None = None) -> None:
    """Reaps ended children that this process did not start: the worker of a killed host, leftovers of an `exec`.

    Children of `multiprocessing` are left to `multiprocessing`, which would otherwise lose their exit codes. A child
    that has just started may not be known to `multiprocessing` yet, so an unknown child is reaped when it is seen for
    the second time.

    Args:
        stop: event that ends the loop; None runs until the process ends.
    """
    stop = threading.Event() if stop is None else stop
    before: set[int] = set()
    while not stop.wait(_POLL_SECONDS):
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
