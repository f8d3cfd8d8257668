"""The heartbeats of the API processes, in shared memory, and the watch that finds a process without one.

The event loop of each API process counts up a number. The main process looks at the numbers, and at what the kernel
says of a process whose number stands still: a stopped process, or one that sleeps, hangs. A process that computes is
given more time, and a process that waits for a processor is not at fault.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from pathlib import Path

from service.stream.heartbeat_policy import HeartbeatPolicy

_BYTES = 8
_BEATS_PER_PROBE = 3  # so that two probes never fall between two heartbeats
_BUSY_SHARE = 0.25  # share of a processor from which a process counts as computing
_BUSY_WEIGHT = 0.25  # an event loop that computes may hold its connections for four times as long
_LATE_PROBES = 2.0  # a probe this many times too late says that the main process itself had no processor
_TICKS = os.sysconf("SC_CLK_TCK")


class Heartbeats:
    """The heartbeats of all API processes, made before the processes fork.

    Args:
        processes: number of API processes.
    """

    def __init__(self, processes: int) -> None:
        self._beats = memoryview(mmap.mmap(-1, _BYTES * processes)).cast("q")

    def count(self, number: int) -> int:
        """Returns the number of heartbeats at one position, those of all predecessors included."""
        return self._beats[number]

    def beat(self, number: int) -> None:
        """Counts a heartbeat. Only the process at this position calls it."""
        self._beats[number] += 1


class Beat:
    """The heartbeat of this process, which beats while the event loop runs.

    Args:
        heartbeats: heartbeats of all API processes.
        number: position of this process.
        policy: policy of the main process, which looks at the heartbeats.
    """

    def __init__(self, heartbeats: Heartbeats, number: int, policy: HeartbeatPolicy) -> None:
        self._heartbeats = heartbeats
        self._number = number
        self._seconds = policy.probe_seconds / _BEATS_PER_PROBE
        self._loop = asyncio.get_running_loop()
        self._beat()

    def close(self) -> None:
        """Ends the heartbeat."""
        self._timer.cancel()

    def _beat(self) -> None:
        self._heartbeats.beat(self._number)
        self._timer = self._loop.call_later(self._seconds, self._beat)


class HangWatch:
    """The watch over one API process. Make it before the process starts.

    Args:
        number: position of the process.
        heartbeats: heartbeats of all API processes.
        policy: heartbeat policy.

    Attributes:
        pid: process id, from the start of the process on.
        missed: number of missed heartbeats in a row; a part of one for a process that computes.
    """

    def __init__(self, number: int, heartbeats: Heartbeats, policy: HeartbeatPolicy) -> None:
        self.pid = 0
        self.missed = 0.0
        self._number = number
        self._heartbeats = heartbeats
        self._policy = policy
        self._first = self._seen = heartbeats.count(number)
        self._probed = time.monotonic()
        self._cpu_seconds = 0.0

    @property
    def has_beaten(self) -> bool:
        """True once the process has started its work."""
        return self._heartbeats.count(self._number) != self._first

    @property
    def is_hung(self) -> bool:
        """True if the process has missed too many heartbeats."""
        return self.missed >= self._policy.max_missed

    def probe(self) -> None:
        """Looks at the heartbeats since the last probe."""
        now, beats = time.monotonic(), self._heartbeats.count(self._number)
        state, cpu_seconds = _state(self.pid)
        seconds, computed = now - self._probed, cpu_seconds - self._cpu_seconds
        self._probed, self._cpu_seconds = now, cpu_seconds
        if beats != self._seen:
            self._seen, self.missed = beats, 0.0
        elif seconds < _LATE_PROBES * self._policy.probe_seconds:
            self.missed += _weight(state, computed / max(seconds, 1e-3))


def _weight(state: str, share: float) -> float:
    """Returns how much a missed heartbeat counts.

    Args:
        state: state of the process in the kernel's letters.
        share: share of a processor that the process had since the last probe.
    """
    if state in "Tt":
        return 1.0
    if share >= _BUSY_SHARE:
        return _BUSY_WEIGHT
    return 0.0 if state == "R" else 1.0


def _state(pid: int) -> tuple[str, float]:
    """Returns the state of a process in the kernel's letters, and the used CPU time in seconds.

    A process that has ended has the state "?" and no time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "?", 0.0
    return fields[0], (int(fields[11]) + int(fields[12])) / _TICKS
