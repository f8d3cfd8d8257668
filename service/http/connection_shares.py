"""The number of connections of each API process, in shared memory, and a process's fair share of new ones."""

from __future__ import annotations

import mmap

_BATCH = 64  # connections accepted in one turn of the event loop: about 3 ms
_FAIR_STEP = 16  # a process may have one connection more than the least loaded one, and one for each 16 in total
_BYTES = 8


class ConnectionShares:
    """The counters of all API processes, made before the processes fork.

    Args:
        processes: number of API processes.
    """

    def __init__(self, processes: int) -> None:
        memory = memoryview(mmap.mmap(-1, 2 * _BYTES * processes)).cast("q")
        self._open, self._checks = memory[:processes], memory[processes:]

    def of(self, process: int) -> Share:
        """Returns the share of one API process that starts; the connections of its predecessor have ended."""
        self._open[process] = 0
        return Share(self._open, self._checks, process)

    def total(self) -> int:
        """Returns the number of connections of all processes."""
        return sum(self._open)


class Share:
    """One API process's share of the connections.

    Only this process writes its own counters, so no lock is needed. The counters of other processes may be a moment
    old, which makes the shares a little less even and has no other effect.

    Args:
        open_counts: number of open connections of each process, in shared memory.
        checks: number of times that each process has checked the queue, in shared memory.
        process: number of this process.
    """

    def __init__(self, open_counts: memoryview[int], checks: memoryview[int], process: int) -> None:
        self._open = open_counts
        self._checks = checks
        self._process = process
        self._others = [other for other in range(len(open_counts)) if other != process]
        self._waited_for: dict[int, int] = {}  # checks of the others when this process began to leave the queue to them
        self._absent: dict[int, int] = {}  # checks by absent process, which counts again after its next check

    def opened(self) -> None:
        """Counts a connection that was accepted."""
        self._open[self._process] += 1

    def closed(self) -> None:
        """Counts a connection that has ended."""
        self._open[self._process] -= 1

    def room(self) -> int:
        """Returns the number of connections that this process should accept now; 0 to leave the queue to others."""
        self._checks[self._process] += 1
        present = [other for other in self._others if self._checks[other] != self._absent.get(other)]
        if not present:
            return _BATCH
        fewest = min(self._open[other] for other in present)
        ahead = 1 + sum(self._open) // _FAIR_STEP
        return max(0, min(_BATCH, fewest + ahead - self._open[self._process]))

    def leave_to_others(self) -> None:
        """Remembers how often each other process has checked the queue so far."""
        self._waited_for = {other: self._checks[other] for other in self._others}

    def pass_over_absent(self) -> None:
        """Ignores processes that have not checked the queue since `leave_to_others`."""
        self._absent = {other: checks for other, checks in self._waited_for.items() if checks == self._checks[other]}
