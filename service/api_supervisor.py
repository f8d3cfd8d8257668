"""The supervisor starts the API processes, and replaces each one that dies or hangs.

A process that dies is replaced at once. One that dies in its start, or soon after, is replaced after a pause that
grows. If processes die in their start again and again, the server has to end, so that a restart policy can act.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from service.api_forks import ApiHandle, ForkServer, ForkServerLost
from service.api_heartbeats import HangWatch, Heartbeats
from service.logs import get_logger
from service.stream.heartbeat_policy import HeartbeatPolicy

_SETTLED_SECONDS = 2.0  # a process that ends sooner after its start is not replaced at once
_MOST_FAILED_STARTS = 5  # in a row, at one position; the pauses after them take 3.1 s together
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.6
_MOST_ENDS = 100  # at one position within `_ENDS_SECONDS`
_ENDS_SECONDS = 600.0

log = get_logger(__name__)


class CrashLoop(Exception):
    """An error for API processes that cannot be kept running; the message is one sentence for the log."""


@dataclass
class _Position:
    """One of the API processes and its successors.

    Attributes:
        number: number of the position, from 0.
        process: process that runs; None while its successor waits for its start.
        watch: watch over the process, or over the last one.
        is_killed: True once the process was killed because it hung.
        started: time of the last start, on the monotonic clock, in seconds.
        due: time of the next start if `process` is None.
        failed_starts: number of processes in a row that ended before they had started their work.
        early_ends: number of processes in a row that ended within `_SETTLED_SECONDS`, or whose start failed.
        ends: times of the last ends.
    """

    number: int
    process: ApiHandle | None = None
    watch: HangWatch | None = None
    is_killed: bool = False
    started: float = 0.0
    due: float = 0.0
    failed_starts: int = 0
    early_ends: int = 0
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ENDS))

    @property
    def has_beaten(self) -> bool:
        """True once the last process that was started here has started its work."""
        return self.watch is not None and self.watch.has_beaten


class ApiSupervisor:
    """The supervisor, in the main process.

    Args:
        fork_server: fork server.
        heartbeats: heartbeats of the API processes.
        processes: number of API processes.
        hang_seconds: time without a heartbeat after which a process is killed, in seconds.
    """

    def __init__(self, fork_server: ForkServer, heartbeats: Heartbeats, processes: int, hang_seconds: float) -> None:
        self._fork_server = fork_server
        self._heartbeats = heartbeats
        self._policy = HeartbeatPolicy.of(hang_seconds)
        self._hang_seconds = hang_seconds
        self._positions = [_Position(number) for number in range(processes)]
        self._lock = threading.Lock()  # `stop` runs in another thread than `look`
        self._is_stopped = False
        self._is_fork_server_lost = False
        self._was_up = False
        self._next_probe = 0.0
        self._killed: _Position | None = None  # position of the last process that was killed because it hung
        self._killed_at = 0.0

    def start(self) -> None:
        """Starts all API processes.

        Raises:
            ForkServerLost: the fork server has died.
            OSError: no process can be started.
        """
        for position in self._positions:
            self._start(position, is_successor=False)

    def sentinels(self) -> list[int]:
        """Returns the descriptors that become readable when a process ends."""
        fork_server = [] if self._is_fork_server_lost else [self._fork_server.sentinel]
        return fork_server + [process.sentinel for process in self._processes()]

    def seconds_to_next_look(self) -> float:
        """Returns the time after which `look` is due even if no process ends, in seconds."""
        due = [position.due for position in self._positions if position.process is None]
        return max(0.0, min([self._next_probe, *due]) - time.monotonic())

    def look(self) -> None:
        """Replaces the processes that have ended, and kills one that hangs.

        Raises:
            CrashLoop: a process cannot be replaced.
        """
        with self._lock:
            if self._is_stopped:
                return
            if not self._is_fork_server_lost and self._fork_server.has_ended():
                self._is_fork_server_lost = True
                log.error("the fork server has died; the server serves on, until an API process dies too")
            for position in self._positions:
                if position.process is not None and not position.process.is_alive():
                    self._end(position, position.process)
                if position.process is None and position.due <= time.monotonic():
                    self._replace(position)
            if time.monotonic() >= self._next_probe:
                self._next_probe = time.monotonic() + self._policy.probe_seconds
                self._probe()

    def stop(self) -> list[ApiHandle]:
        """Replaces no process from now on; returns all processes, some of which may have ended."""
        with self._lock:
            self._is_stopped = True
            return self._processes()

    def start_last(self) -> ApiHandle | None:
        """Starts one more process after `stop`. The process accepts the connections that are left in the queue.

        Returns:
            The process; None if no process has ever worked, or none can be started.
        """
        with self._lock:
            if not self._is_up():
                return None
            try:
                self._start(self._positions[0], is_successor=True)
            except (ForkServerLost, OSError) as error:
                log.error("an API process could not be started", api_process="api-0", reason=str(error))
                return None
            return self._positions[0].process

    def _processes(self) -> list[ApiHandle]:
        return [position.process for position in self._positions if position.process is not None]

    def _is_up(self) -> bool:
        """Returns True once any API process has started its work."""
        self._was_up = self._was_up or any(position.has_beaten for position in self._positions)
        return self._was_up

    def _start(self, position: _Position, *, is_successor: bool) -> None:
        number = position.number
        watch = HangWatch(number, self._heartbeats, self._policy)
        position.process = process = self._fork_server.start(number, is_successor=is_successor)
        watch.pid = process.pid
        position.watch, position.is_killed, position.started = watch, False, time.monotonic()

    def _end(self, position: _Position, process: ApiHandle) -> None:
        """Decides when the successor of a process that has ended is started."""
        now = time.monotonic()
        if not self._is_up():
            raise CrashLoop("an API process could not start")
        if not position.has_beaten:
            self._count_failed_start(position)
        else:
            position.failed_starts = 0
            position.early_ends = position.early_ends + 1 if now - position.started < _SETTLED_SECONDS else 0
        if len(position.ends) == _MOST_ENDS and now - position.ends[0] < _ENDS_SECONDS:
            raise CrashLoop(f"{process.name} has ended {_MOST_ENDS} times within {_ENDS_SECONDS / 60:g} minutes")
        position.ends.append(now)
        process.close()
        position.process = None
        position.due = now + _pause_seconds(position.early_ends)
        log.error("an API process has died; another takes its place", api_process=process.name, pid=process.pid)

    def _replace(self, position: _Position) -> None:
        """Starts the successor of a process that has ended."""
        try:
            self._start(position, is_successor=True)
        except ForkServerLost:
            raise CrashLoop("the fork server is gone, so that an API process cannot be replaced") from None
        except OSError as error:
            self._count_failed_start(position)
            position.due = time.monotonic() + _pause_seconds(position.early_ends)
            log.error("an API process could not be started", api_process=f"api-{position.number}", reason=str(error))

    def _count_failed_start(self, position: _Position) -> None:
        position.failed_starts += 1
        position.early_ends += 1
        if position.failed_starts > _MOST_FAILED_STARTS:
            raise CrashLoop(f"api-{position.number} could not start {position.failed_starts} times in a row")

    def _probe(self) -> None:
        """Kills the process with the most missed heartbeats, if these are too many.

        One process at a time: if all of them stand still, the machine may be at fault, and a successor shows whether
        it is. The next one is killed when the successor has started its work, or after the time in which it should.
        """
        hung: list[tuple[float, _Position]] = []
        for position in self._positions:
            if position.process is None or position.watch is None or position.is_killed:
                continue
            position.watch.probe()
            if position.watch.is_hung:
                hung.append((position.watch.missed, position))
        if not hung or not self._may_kill():
            return
        _, worst = max(hung, key=lambda found: found[0])
        if worst.process is not None:
            log.error("an API process hung; killed", api_process=worst.process.name, pid=worst.process.pid)
            worst.process.send(signal.SIGKILL)
            worst.is_killed = True
            self._killed, self._killed_at = worst, time.monotonic()

    def _may_kill(self) -> bool:
        """Returns True if the successor of the process that was killed last runs, or has had time enough."""
        killed = self._killed
        if killed is None or time.monotonic() - self._killed_at >= self._hang_seconds:
            return True
        return not killed.is_killed and killed.has_beaten


def _pause_seconds(early_ends: int) -> float:
    """Returns the time until the next start after this many early ends in a row, in seconds."""
    return min(math.ldexp(_FIRST_PAUSE_SECONDS, early_ends - 1), _LONGEST_PAUSE_SECONDS) if early_ends else 0.0
