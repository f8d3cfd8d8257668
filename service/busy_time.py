"""The busy time of a thread: the time on a processor, and the time of waiting for one."""

from __future__ import annotations

import contextlib
import os
import time


class BusyTime:
    """Measures the busy time of the thread that makes the object, since the thread began.

    CPU time alone would be too little on a machine that has more to do than processors: a thread that always has work,
    and gets half a processor, would look half busy. The kernel counts both times (`Documentation/scheduler/
    sched-stats.rst` of Linux). Where it does not, the CPU time has to do.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def seconds(self) -> float:
        """Returns the busy time in seconds; must be called in the thread that made the object."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError, ValueError, IndexError):
                running, waiting = os.pread(self._descriptor, 64, 0).split()[:2]
                return (int(running) + int(waiting)) / 1e9
        return time.thread_time()

    def close(self) -> None:
        """Closes the kernel's file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
