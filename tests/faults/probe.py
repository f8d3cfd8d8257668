"""Readiness from an orchestrator's view: polled every 50 ms on a new connection, with the times of all changes."""

from __future__ import annotations

import http.client
import threading
import time
from types import TracebackType
from typing import Self

from serving import Server

_EVERY_SECONDS = 0.05
NO_ANSWER = 0


def readiness(server: Server, timeout: float = 5) -> int:
    """Returns the status of `/health/ready`, or `NO_ANSWER` if nobody listens or answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return NO_ANSWER
    finally:
        connection.close()


class Probe:
    """A poller of readiness for the length of a `with` block.

    Attributes:
        changes: time of the first observation (`time.monotonic`) and status of each change, in order.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe")
        self.changes: list[tuple[float, int]] = []

    @property
    def statuses(self) -> list[int]:
        """The observed statuses in order, without repetitions."""
        return [status for _, status in self.changes]

    def first(self, status: int) -> float:
        """Returns the time at which a status was first seen."""
        return next(at for at, seen in self.changes if seen == status)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            status = readiness(self._server)
            if not self.changes or self.changes[-1][1] != status:
                self.changes.append((time.monotonic(), status))
            self._stop.wait(_EVERY_SECONDS)
