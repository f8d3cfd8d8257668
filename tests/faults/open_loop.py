"""An open loop: requests leave when their time has come, whether or not the ones before were answered.

Clients of a closed loop wait for an overloaded server and so spare it; the world does not. Like the crowd, it is one
thread with one event loop and bare sockets, so that it can offer ten times what a worker can do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self, cast

import numpy as np
import uvloop
from serving import Server

_PATIENCE_SECONDS = 20.0  # beyond the deadline
_MAX_NOTES = 20


@dataclass(frozen=True)
class Shot:
    """A request's body, and what finds the fault in its answer (None where there is none)."""

    body: bytes
    rows: int
    fault_in: Callable[[bytes], str | None]


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        statuses: answers by status.
        latencies: seconds to the whole answer, by status.
        wrong: answers that are not right, and 429 without a good `Retry-After`.
        unanswered: requests whose connection broke or that were never answered.
        seconds: from the first request to the last.
        lag: the longest time by which a request left late: what the generator could not do.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[int, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    seconds: float = 0.0
    lag: float = 0.0

    @property
    def goodput(self) -> float:
        """Answers with status 200 a second."""
        return self.statuses[200] / self.seconds

    def percentile(self, status: int, percent: float) -> float:
        """Of the latencies of one status, in seconds."""
        found = self.latencies.get(status)
        return float(np.percentile(found, percent)) if found else float("nan")

    def __str__(self) -> str:
        parts = [
            f"{status}: {n} (p50 {self.percentile(status, 50):.3f} s, p99 {self.percentile(status, 99):.3f} s)"
            for status, n in sorted(self.statuses.items())
        ]
        return (
            f"{self.goodput:.1f} answers/s; {', '.join(parts)}; {len(self.unanswered)} unanswered; lag {self.lag:.2f} s"
        )


class _Connection(asyncio.Protocol):
    """One connection: a request at a time, and its answer's status, head and body."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._awaited: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
        """Sends a request; raises ConnectionError where no answer comes."""
        self._awaited = asyncio.get_running_loop().create_future()
        if self._transport is None:
            self._awaited.set_exception(ConnectionResetError("closed"))
        else:
            self._transport.write(request)
        return self._awaited

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        if len(self._received) < end + 4 + length or self._awaited is None or self._awaited.done():
            return
        self._awaited.set_result((int(head[9:12]), head, bytes(self._received[end + 4 : end + 4 + length])))
        self._received.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lost.set()
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(ConnectionResetError(repr(error)))

    async def close(self) -> None:
        """Ends it from this side."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()


class OpenLoop:
    """Requests at a steady rate for a time, in a thread of its own.

    Args:
        server: who is asked.
        shots: what is sent, one after the other, again and again.
        rate: requests a second.
        seconds: for how long.
        deadline_seconds: what each request sends as its deadline.
    """

    def __init__(
        self, server: Server, shots: Sequence[Shot], *, rate: float, seconds: float, deadline_seconds: float
    ) -> None:
        self._port = server.port
        self._shots = shots
        self._rate = rate
        self._seconds = seconds
        self._deadline = deadline_seconds
        self._idle: deque[_Connection] = deque()
        self._thread = threading.Thread(target=self._run, name="open-loop")
        self._failure: BaseException | None = None
        self.outcome = Outcome()

    def start(self) -> Self:
        """Begins."""
        self._thread.start()
        return self

    def wait(self) -> Outcome:
        """Waits until every request has its answer, or will have none."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self.outcome

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._shoot())
        except BaseException as failure:  # told to whoever waits
            self._failure = failure

    async def _shoot(self) -> None:
        requests = [(shot, _request(shot.body, self._deadline)) for shot in self._shots]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(int(self._rate * self._seconds)):
                ahead = began + n / self._rate - time.perf_counter()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                else:
                    self.outcome.lag = max(self.outcome.lag, -ahead)
                    if n % 16 == 0:
                        await asyncio.sleep(0)  # the answers' turn
                shot, request = requests[n % len(requests)]
                group.create_task(self._ask(shot, request))
            self.outcome.seconds = time.perf_counter() - began
        for connection in self._idle:
            await connection.close()

    async def _ask(self, shot: Shot, request: bytes) -> None:
        outcome = self.outcome
        try:
            connection = await self._connection()
            began = time.perf_counter()
            status, head, body = await asyncio.wait_for(
                connection.exchange(request), self._deadline + _PATIENCE_SECONDS
            )
        except (OSError, TimeoutError) as error:
            _note(outcome.unanswered, repr(error))
            return
        took = time.perf_counter() - began
        outcome.statuses[status] += 1
        outcome.latencies.setdefault(status, []).append(took)
        if status == 200:
            fault = shot.fault_in(body)
            if fault is not None:
                _note(outcome.wrong, fault)
        elif status == 429:
            retry = head.partition(b"\r\nretry-after:")[2].partition(b"\r\n")[0].strip()
            if not retry.isdigit() or int(retry) < 1:
                _note(outcome.wrong, f"429 with Retry-After {retry!r}")
        if connection.open and b"\r\nconnection: close" not in head:
            self._idle.append(connection)
        else:
            await connection.close()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._port)
        return connection


def closed_loop(
    server: Server, shots: Sequence[Shot], *, clients: int, seconds: float, deadline_seconds: float
) -> Outcome:
    """What clients get that each wait for their answer before they ask again: `Outcome.goodput` is the capacity."""

    async def run() -> Outcome:
        outcome = Outcome()
        began = time.perf_counter()
        requests = [(shot, _request(shot.body, deadline_seconds)) for shot in shots]

        async def connect() -> _Connection:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", server.port)
            return connection

        async def client(first: int) -> None:
            connection = await connect()
            n = first
            while time.perf_counter() - began < seconds:
                shot, request = requests[n % len(requests)]
                n += 1
                asked = time.perf_counter()
                try:
                    status, head, body = await connection.exchange(request)
                except OSError as error:
                    _note(outcome.unanswered, repr(error))
                    connection = await connect()
                    continue
                outcome.statuses[status] += 1
                outcome.latencies.setdefault(status, []).append(time.perf_counter() - asked)
                fault = shot.fault_in(body) if status == 200 else None
                if fault is not None:
                    _note(outcome.wrong, fault)
                if not connection.open or b"\r\nconnection: close" in head:
                    await connection.close()
                    connection = await connect()
            await connection.close()

        await asyncio.gather(*(client(n) for n in range(clients)))
        outcome.seconds = time.perf_counter() - began
        return outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def _request(body: bytes, deadline_seconds: float) -> bytes:
    lines = (
        "POST /predict HTTP/1.1",
        "Host: axon",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Request-Timeout-Seconds: {deadline_seconds:g}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body


def _note(notes: list[str], text: str) -> None:
    notes.append(text if len(notes) < _MAX_NOTES else "and so on")
    del notes[_MAX_NOTES + 1 :]
