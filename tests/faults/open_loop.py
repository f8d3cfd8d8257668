"""An open loop: requests are sent at their scheduled times, independently of earlier answers.

Clients in a closed loop wait for an overloaded server and so reduce its load; real clients do not. Like the crowd, the
open loop is one thread with one event loop and bare sockets, so that it can offer ten times a worker's capacity.
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
_RAMP_SECONDS = 1.0  # in which a thousand clients of a closed loop connect and send their first requests
_MAX_NOTES = 20


@dataclass(frozen=True)
class CheckedQuery:
    """A request's body, and a function that returns the fault in an answer or None."""

    body: bytes
    rows: int
    fault_in: Callable[[bytes], str | None]


@dataclass
class Outcome:
    """The results of the requests.

    Attributes:
        statuses: number of answers by status.
        latencies: seconds to the whole answer, by status.
        wrong: incorrect answers, and answers with 429 and no valid `Retry-After`.
        unanswered: requests that got no answer, because the connection broke or nothing came.
        good: number of answers with status 200 that came while all clients were sending.
        seconds: time for which all clients were sending.
        lag: longest delay of a request after its scheduled time, which the generator itself caused.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[int, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    good: int = 0
    seconds: float = 0.0
    lag: float = 0.0

    @property
    def goodput(self) -> float:
        """The number of answers with status 200 per second while all clients were sending."""
        return self.good / self.seconds

    def percentile(self, status: int, percent: float) -> float:
        """Returns a percentile of the latencies of one status, in seconds."""
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
    """One connection: one request at a time; returns status, head and body of the answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._awaited: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @property
    def open(self) -> bool:
        """True if a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def exchange(self, request: bytes) -> asyncio.Future[tuple[int, bytes, bytes]]:
        """Sends a request; the future holds the answer or a ConnectionError."""
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
        """Closes the connection from this side."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost.wait()


class OpenLoop:
    """Requests at a steady rate for a time, in a thread of their own.

    Args:
        server: server to load.
        queries: requests, sent in turn and repeated.
        rate: requests per second.
        seconds: length of the load.
        deadline_seconds: deadline that each request sends.
    """

    def __init__(
        self,
        server: Server,
        queries: Sequence[CheckedQuery],
        *,
        rate: float,
        seconds: float,
        deadline_seconds: float,
    ) -> None:
        self._port = server.port
        self._queries = queries
        self._rate = rate
        self._seconds = seconds
        self._deadline = deadline_seconds
        self._idle: deque[_Connection] = deque()
        self._thread = threading.Thread(target=self._run, name="open-loop")
        self._failure: BaseException | None = None
        self.outcome = Outcome()

    def start(self) -> Self:
        """Starts the thread."""
        self._thread.start()
        return self

    def wait(self) -> Outcome:
        """Waits until every request has an answer or has failed; returns the results."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self.outcome

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._send_all())
        except BaseException as failure:  # raised again in the thread that waits
            self._failure = failure

    async def _send_all(self) -> None:
        requests = [(query, _request(query.body, self._deadline)) for query in self._queries]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(int(self._rate * self._seconds)):
                ahead = began + n / self._rate - time.perf_counter()
                if ahead > 0:
                    await asyncio.sleep(ahead)
                else:
                    self.outcome.lag = max(self.outcome.lag, -ahead)
                    if n % 16 == 0:
                        await asyncio.sleep(0)  # lets the loop receive answers
                query, request = requests[n % len(requests)]
                group.create_task(self._ask(query, request))
            self.outcome.seconds = time.perf_counter() - began
        for connection in self._idle:
            await connection.close()

    async def _ask(self, query: CheckedQuery, request: bytes) -> None:
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
            outcome.good += not outcome.seconds
            fault = query.fault_in(body)
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
    server: Server, queries: Sequence[CheckedQuery], *, clients: int, seconds: float, deadline_seconds: float
) -> Outcome:
    """Runs clients that each wait for an answer before the next request; `Outcome.goodput` is the capacity.

    Only answers in the given seconds count for the goodput. Before them, thousands of clients connect and send their
    first request for a second or two. After them, a client that a refusal held back sends its last request a few
    seconds late, when all others have left.
    """

    async def run() -> Outcome:
        outcome = Outcome()
        began = time.perf_counter() + _RAMP_SECONDS * max(1, clients / 1000)
        end = began + seconds
        requests = [(query, _request(query.body, deadline_seconds)) for query in queries]

        async def connect() -> _Connection:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", server.port)
            return connection

        async def client(first: int) -> None:
            connection = await connect()
            n = first
            while time.perf_counter() < end:
                query, request = requests[n % len(requests)]
                n += 1
                asked = time.perf_counter()
                try:
                    status, head, body = await connection.exchange(request)
                except OSError as error:
                    _note(outcome.unanswered, repr(error))
                    connection = await connect()
                    continue
                now = time.perf_counter()
                outcome.statuses[status] += 1
                outcome.latencies.setdefault(status, []).append(now - asked)
                outcome.good += status == 200 and began <= now < end
                fault = query.fault_in(body) if status == 200 else None
                if fault is not None:
                    _note(outcome.wrong, fault)
                if not connection.open or b"\r\nconnection: close" in head:
                    await connection.close()
                    connection = await connect()
            await connection.close()

        await asyncio.gather(*(client(n) for n in range(clients)))
        outcome.seconds = seconds
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
