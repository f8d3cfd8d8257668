"""How many connections each API process has, in memory that all of them see, and how many more it should accept."""

from __future__ import annotations

import mmap

_BATCH = 64  # connections accepted in one turn of the event loop: about 3 ms
_ALWAYS_FAIR = 16  # a process may be ahead of the one with the fewest by one connection, and one more for each so many
_BYTES = 8


class ConnectionShares:
    """The counters of all API processes. It is made before the processes fork.

    Args:
        processes: number of API processes.
    """

    def __init__(self, processes: int) -> None:
        memory = memoryview(mmap.mmap(-1, 2 * _BYTES * processes)).cast("q")
        self._open, self._looks = memory[:processes], memory[processes:]

    def of(self, process: int) -> Share:
        """Returns the view of one API process."""
        return Share(self._open, self._looks, process)

    def total(self) -> int:
        """Returns how many connections all processes have."""
        return sum(self._open)


class Share:
    """One API process's share of the connections.

    Only this process writes its own counters, so no lock is needed. What it reads of the others may be a moment old,
    which costs balance and nothing else.
    """

    def __init__(self, open_counts: memoryview[int], looks: memoryview[int], process: int) -> None:
        self._open = open_counts
        self._looks = looks
        self._process = process
        self._others = [other for other in range(len(open_counts)) if other != process]
        self._waited_for: dict[int, int] = {}  # looks of the others when this process began to leave them the queue
        self._absent: dict[int, int] = {}  # looks of those that did not come; they count again once they look

    def opened(self) -> None:
        """Counts a connection that was accepted."""
        self._open[self._process] += 1

    def closed(self) -> None:
        """Counts a connection that has ended."""
        self._open[self._process] -= 1

    def room(self) -> int:
        """Returns how many connections this process should accept now; 0 leaves them to the others."""
        self._looks[self._process] += 1
        present = [other for other in self._others if self._looks[other] != self._absent.get(other)]
        if not present:
            return _BATCH
        fewest = min(self._open[other] for other in present)
        ahead = 1 + sum(self._open) // _ALWAYS_FAIR
        return max(0, min(_BATCH, fewest + ahead - self._open[self._process]))

    def leave_to_others(self) -> None:
        """Remembers how often the others have looked at the queue by now."""
        self._waited_for = {other: self._looks[other] for other in self._others}

    def pass_over_absent(self) -> None:
        """Counts no longer on processes that have not looked at the queue since `leave_to_others`."""
        self._absent = {other: looks for other, looks in self._waited_for.items() if looks == self._looks[other]}
