"""A crowd: 64 clients of three protocols in a closed loop, each with rows of its own; torch checks every answer.

The crowd runs beside a fault and uses little of the server's cores: one thread, one event loop and bare sockets. An
answer that equals a checked one byte for byte is not checked again.
"""

from __future__ import annotations

import asyncio
import functools
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import uvloop
from numpy.typing import NDArray
from protocol_queries import CODECS, JsonCodec
from serving import CHECKPOINTS, Oracle, Server, http_get, wait_until

from models.columns.schema import ClassTarget, NumericTarget

CLIENTS = 64
# Relative to a value and the target's spread. Rows of different clients are much further apart. Layer normalisation of
# a row whose hidden units are nearly equal has rounding errors of this size.
TOLERANCE = 1e-4
LATE_SECONDS = 0.5  # the wait of this process and of the server for their share of two busy cores
PATIENCE_SECONDS = 10.0  # a request without an answer this long after its deadline counts as unanswered
_SCRAPE_SECONDS = 60.0  # a scrape gives way to predictions, and waits for the start of a process on a busy machine
_RETRY_SECONDS = 0.02  # between two attempts to connect
_ROWS = (1, 1, 1, 2, 5, 33)
_MAX_NOTES = 20  # enough for a fault that every client sees


class Query:
    """A request for one model in one protocol, and torch's answer: `(rows, width)`."""

    def __init__(
        self, model: str, rows: Sequence[Any], expected: NDArray[np.float64], codec: JsonCodec = CODECS[0]
    ) -> None:
        self.model = model
        self.rows = len(rows)
        self.path, self.headers, self.body = codec.request(model, rows)
        self._codec = codec
        target = CHECKPOINTS[model].schema.target
        self._labels = target.labels if isinstance(target, ClassTarget) else None
        # A value near 0 is a difference of numbers as large as the target's spread, and has their rounding error.
        scale = target.std if isinstance(target, NumericTarget) else 1.0
        self._expected = expected
        self._room = TOLERANCE * (scale + np.abs(expected))
        self._known = b""  # the last correct answer

    def fault_in(self, answer: bytes) -> str | None:
        """Returns the fault in an answer's body, or None for a correct answer."""
        if answer == self._known:
            return None
        model, predictions, probabilities = self._codec.answer(answer)
        ours = np.array(probabilities or [[value] for value in predictions], dtype=np.float64)
        if model != self.model or ours.shape != self._expected.shape:
            return f"an answer to another request: {answer[:200]!r} to {self.body[:200]!r}"
        far = np.argwhere(~(np.abs(ours - self._expected) <= self._room))
        if len(far):
            at = tuple(far[0])
            return f"{self.model}: {ours[at]} instead of {self._expected[at]} in row {at[0]}, and {len(far) - 1} more"
        if self._labels is not None and predictions != [self._labels[i] for i in ours.argmax(axis=1)]:
            return f"{self.model}: {predictions} for probabilities {probabilities}"
        self._known = answer
        return None


def random_row(rng: random.Random, model: str) -> list[Any]:
    """Returns a random row for a model."""
    match model:
        case "colours":
            return [round(rng.gauss(0, 2), 4) for _ in range(4)]
        case "price":
            return [round(rng.uniform(20, 200), 2), rng.randint(1, 8)]
        case _:
            return [rng.randint(18, 90), rng.choice(["Rome", "Oslo", "Lima"])]


@functools.cache
def oracle_of(model: str) -> Oracle:
    """Returns torch's view of one of the three models."""
    return Oracle(CHECKPOINTS[model])


def make_query(rng: random.Random, model: str, rows: int, codec: JsonCodec = CODECS[0]) -> Query:
    """Makes a request of random rows."""
    drawn = [random_row(rng, model) for _ in range(rows)]
    return Query(model, drawn, np.array([oracle_of(model)(row) for row in drawn], dtype=np.float64), codec)


@functools.cache
def queries_of(client: int, codec: JsonCodec | None = None) -> tuple[Query, ...]:
    """Returns a client's requests: one for each model, of rows that no other client has, in one protocol.

    Args:
        client: number of the client.
        codec: protocol of the requests; None for the client's own.
    """
    rng, codec = random.Random(client), codec or CODECS[client % len(CODECS)]
    return tuple(make_query(rng, model, rng.choice(_ROWS), codec) for model in CHECKPOINTS)


@dataclass
class Report:
    """The results of a crowd's clients.

    Attributes:
        statuses: number of answers by model and status.
        latencies: seconds from sending to the whole answer, of each answer with status 200.
        rows: number of rows in these answers.
        wrong: answers that differ from torch's, or have an unexpected status.
        unanswered: requests that were sent and got no answer, because the connection broke or nothing came.
        lost: number of requests that were sent on a used connection, which broke before the answer.
        late: answers that came after the request's deadline.
        refused: number of failed attempts to connect, or to send the first request of a connection. A server that stops
            closes its listener, and a connection that nobody has accepted by then is reset.
        outage: longest time in which no client had an answer with status 200, in seconds.
    """

    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    rows: int = 0
    wrong: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    lost: int = 0
    refused: int = 0
    outage: float = 0.0

    @property
    def answers(self) -> int:
        """The number of answers of any status."""
        return self.statuses.total()

    def percentile(self, percent: float) -> float:
        """Returns a percentile of the latencies in seconds."""
        return float(np.percentile(self.latencies, percent)) if self.latencies else float("nan")

    def check(self, *statuses: int, may_refuse: bool = False) -> None:
        """Fails if a request was unanswered, wrong or late.

        Also fails on a status other than 200 and those given, and, unless `may_refuse`, on a refused connection.
        """
        assert not self.wrong, self.wrong
        assert may_refuse or not self.refused, f"{self.refused} connections were refused"
        assert not self.unanswered, self.unanswered
        assert not self.late, self.late
        assert {int(status) for _, status in self.statuses} <= {200, *statuses}, self.statuses

    def __str__(self) -> str:
        figures = "  ".join(f"p{percent} {self.percentile(percent) * 1000:.1f} ms" for percent in (50, 99, 100))
        statuses: Counter[str] = Counter()
        for (_, status), n in self.statuses.items():
            statuses[status] += n
        lost = f"{len(self.unanswered)} unanswered, {self.refused} refused" if self.unanswered or self.refused else ""
        outage = f"longest outage {self.outage * 1000:.0f} ms"
        return "  ".join(filter(None, (f"{self.answers} answers {dict(statuses)}", figures, outage, lost)))


class Connection(asyncio.Protocol):
    """One connection: sends a request; returns the status, whether the server will close, and the body."""

    def __init__(self) -> None:
        self.carried = 0  # number of answers
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._awaited: asyncio.Future[tuple[int, bool, bytes]] | None = None

    @property
    def open(self) -> bool:
        """True if a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport of the new connection."""
        self._transport = cast(asyncio.Transport, transport)

    def exchange(self, request: bytes) -> asyncio.Future[tuple[int, bool, bytes]]:
        """Sends a request; the future holds the answer or a ConnectionError."""
        assert self._transport is not None
        self._awaited = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._awaited

    def data_received(self, data: bytes) -> None:
        """Takes a part of the answer."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        size = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < size:
            return
        body = bytes(self._received[end + 4 : size])
        del self._received[:size]
        if self._awaited is not None and not self._awaited.done():
            self.carried += 1
            self._awaited.set_result((int(head[9:12]), b"\r\nconnection: close" in head, body))

    def connection_lost(self, error: Exception | None) -> None:
        """Drops the transport: the server has closed the connection or died."""
        self._transport = None
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_exception(ConnectionResetError(repr(error)))

    def close(self) -> None:
        """Closes the connection from this side."""
        if self._transport is not None:
            self._transport.abort()


class Crowd:
    """Clients that send, check and send again, from `start` (or `with`) until `stop`.

    Args:
        server: server to load.
        clients: number of clients.
        pause_seconds: pause of each client between an answer and the next request.
        deadline_seconds: deadline that each request sends; later answers count as `late`. None sends no deadline and
            assumes the server's default.
        leave_when_asked: True if a client that gets `Connection: close` does not connect again, as behind a load
            balancer that follows readiness; False if the client connects again.
    """

    def __init__(
        self,
        server: Server,
        *,
        clients: int = CLIENTS,
        pause_seconds: float = 0.005,
        deadline_seconds: float | None = None,
        leave_when_asked: bool = False,
    ) -> None:
        self._port = server.port
        self._pause = pause_seconds
        self._deadline = deadline_seconds
        self._leave = leave_when_asked
        self._patience = (30.0 if deadline_seconds is None else deadline_seconds) + PATIENCE_SECONDS
        self._plans = [queries_of(client) for client in range(clients)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crowd")
        self._failure: BaseException | None = None
        self._last_good = 0.0
        self.report = Report()

    def start(self) -> Self:
        """Starts the clients."""
        self._last_good = time.perf_counter()
        self._thread.start()
        return self

    def stop(self) -> Report:
        """Stops the clients, each after the answer to its last request; returns their report."""
        self._stop.set()
        return self.wait()

    def wait(self) -> Report:
        """Waits until every client has left (see `leave_when_asked`); returns the report."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self.report

    def warm(self, answers: int = 10 * CLIENTS) -> Self:
        """Waits for the given number of further answers."""
        wanted = self.report.answers + answers
        wait_until(lambda: self.report.answers >= wanted or not self._thread.is_alive(), lambda: str(self.report))
        return self

    def run_for(self, seconds: float) -> None:
        """Sleeps while the clients work."""
        self._stop.wait(seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._clients())
        except BaseException as failure:  # raised again in the thread that waits for the report
            self._failure = failure

    async def _clients(self) -> None:
        await asyncio.gather(*(self._client(plan) for plan in self._plans))

    async def _client(self, plan: Sequence[Query]) -> None:
        timeout = b"" if self._deadline is None else b"X-Request-Timeout-Seconds: %g\r\n" % self._deadline
        requests = [(query, _request(query, timeout)) for query in plan]
        connection = Connection()
        turn = 0
        try:
            while not self._stop.is_set():
                if not connection.open:
                    connection = await self._connect()
                    continue
                query, request = requests[turn % len(requests)]
                turn += 1
                if await self._ask(connection, query, request) and self._leave:
                    return
                if self._pause:
                    await asyncio.sleep(self._pause)
        finally:
            connection.close()

    async def _connect(self) -> Connection:
        """Returns a connection, which is closed if the server accepts none now."""
        connection = Connection()
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self._port)
        except OSError:
            self.report.refused += 1
            await asyncio.sleep(_RETRY_SECONDS)
        return connection

    async def _ask(self, connection: Connection, query: Query, request: bytes) -> bool:
        """Sends one request and records the result; returns True if the server closes the connection."""
        report = self.report
        began = time.perf_counter()
        try:
            status, closes, body = await asyncio.wait_for(connection.exchange(request), self._patience)
        except ConnectionError as error:
            if connection.carried:
                report.lost += 1
                _note(report.unanswered, f"{query.model}: {error}")
            else:
                report.refused += 1
                await asyncio.sleep(_RETRY_SECONDS)
            return False
        except TimeoutError:
            _note(report.unanswered, f"{query.model}: nothing came within {self._patience} s")
            connection.close()
            return False
        now = time.perf_counter()
        report.statuses[query.model, str(status)] += 1
        if self._deadline is not None and now - began > self._deadline + LATE_SECONDS:
            _note(report.late, f"{query.model}: {status} after {now - began:.3f} s")
        if status == 200:
            report.latencies.append(now - began)
            report.rows += query.rows
            report.outage = max(report.outage, now - self._last_good)
            self._last_good = now
            fault = query.fault_in(body)
            if fault is not None:
                _note(report.wrong, fault)
        if closes:
            connection.close()
        return closes


def _request(query: Query, timeout: bytes) -> bytes:
    """Returns the bytes of a request.

    Args:
        query: request to write.
        timeout: header line with the deadline; empty for none.
    """
    headers = {"Host": "axon", "Content-Type": "application/json", **query.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {query.path} HTTP/1.1\r\n{lines}".encode() + timeout
    return head + b"Content-Length: %d\r\n\r\n" % len(query.body) + query.body


def _note(notes: list[str], text: str) -> None:
    if len(notes) < _MAX_NOTES:
        notes.append(text)


def counted(server: Server) -> Counter[tuple[str, str]]:
    """Returns the service's own counts of answers, by model and status."""
    text = http_get(f"{server.url}/metrics", timeout=_SCRAPE_SECONDS).text
    found = re.findall(r'^axon_requests_total\{model="(.*?)",status="(.*?)",version=".*?"\} (\S+)$', text, re.MULTILINE)
    totals: Counter[tuple[str, str]] = Counter()
    for model, status, n in found:
        totals[model, status] += int(float(n))
    return totals


def totals_agree(server: Server, *reports: Report, since: Counter[tuple[str, str]] | None = None) -> None:
    """Waits until the server's request counts equal the clients' reports plus the earlier counts.

    The metrics are at most one flush behind.
    """
    seen: Counter[tuple[str, str]] = Counter(since)
    for report in reports:
        seen += report.statuses
    wait_until(lambda: counted(server) == seen, lambda: f"{counted(server)} is not {seen}")
