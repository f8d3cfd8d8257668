"""Load generators: many connections that each repeat one request, and the results.

Three drivers that share no code, so that a ratio can be checked: `wrk`, `h2load` (of nghttp2, used over HTTP/1.1), and
one in Python, which is a process of its own: `python -m benchmarks.load URL REQUEST_FILE CONNECTIONS SECONDS`. On few
cores the Python driver takes more CPU time from a fast server than the others do, so its ratios are lower bounds.

gRPC is HTTP/2 with POST, so `h2load` drives gRPC too; without `h2load`, `benchmarks.grpc_load` does. A fourth driver,
Triton's `perf_analyzer`, drives servers of the Open Inference Protocol over both. It sends more requests than it
counts, so that the CPU seconds of a request are too many with it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.field.environments import is_set_up, perf_analyzer
from benchmarks.peer import ROOT
from benchmarks.perf_analyzer import Unavailable
from benchmarks.wire import Message, Rows

DRIVERS = ("wrk", "h2load", "python", "perf_analyzer")

_GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
_LUA = """
local file = io.open(os.getenv("AXON_BENCH_BODY")); wrk.body = file:read("*a"); file:close()
wrk.method = "POST"
done = function(summary, latency, requests)
  io.write(string.format('RESULT {"seconds": %f, "answers": %d, "failed": %d, "p50": %f, "p99": %f}\\n',
    summary.duration / 1e6, summary.requests,
    summary.errors.status + summary.errors.timeout +
      summary.errors.connect + summary.errors.read + summary.errors.write,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


@dataclass(frozen=True)
class Load:
    """A load: connections that repeat one request.

    Attributes:
        url: URL to which requests are posted.
        message: body and headers of the request.
        rows: number of rows of the request.
        connections: number of connections that are kept open, with one request at a time on each.
        grpc: True if the message travels over gRPC.
        tensor: name of the input in the Open Inference Protocol, for `perf_analyzer`.
        data: rows of the request, for `perf_analyzer`.
        answer_bytes: size of the answer to the request, which shows whether a gRPC call succeeded.
    """

    url: str
    message: Message
    rows: int
    connections: int
    grpc: bool = False
    tensor: str = ""
    data: Rows = field(default_factory=list)
    answer_bytes: int = 0


@dataclass(frozen=True)
class LoadResult:
    """The result of one load run: its length, the number of answers and of failures, and the latencies in seconds."""

    seconds: float
    answers: int
    failed: int
    p50: float
    p99: float


def available_drivers() -> list[str]:
    """Returns the drivers that are installed, the best first."""
    return [
        driver
        for driver in DRIVERS
        if driver == "python" or (is_set_up(driver) if driver == "perf_analyzer" else shutil.which(driver))
    ]


def drive(driver: str, load: Load, seconds: float, folder: Path) -> LoadResult:
    """Runs one load.

    Args:
        driver: one of `DRIVERS`.
        load: load to run.
        seconds: length of the load; `wrk` rounds up to whole seconds.
        folder: folder for the driver's files.

    Raises:
        RuntimeError: the driver failed, or nothing was answered.
    """
    if driver == "perf_analyzer":
        return _analyze(load, seconds)
    framed = b"\0" + len(load.message.body).to_bytes(4, "big") if load.grpc else b""
    body_file = folder / "body"
    body_file.write_bytes(framed + load.message.body)
    if load.grpc:
        driver = "h2load" if shutil.which("h2load") else "python"
    command = {"wrk": _wrk_command, "h2load": _h2load_command, "python": _python_command}[driver](
        load, body_file, seconds
    )
    environment = {**os.environ, "AXON_BENCH_BODY": str(body_file)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    try:
        if driver == "h2load":
            return _read_h2load(body_file.with_suffix(".log"), done.stdout, 5 + load.answer_bytes if load.grpc else 0)
        found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
        if found is None:
            raise ValueError("no result")
        return LoadResult(**json.loads(found[1]))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the load driver failed: {error}\n{done.stdout}{done.stderr}") from error


def _analyze(load: Load, seconds: float) -> LoadResult:
    """Runs `perf_analyzer`, which makes requests of its own."""
    try:
        found = perf_analyzer().analyze(
            "mlp",
            urlsplit(load.url).netloc,
            "grpc" if load.grpc else "http",
            load.tensor,
            load.data,
            connections=load.connections,
            rows=load.rows,
            seconds=seconds,
        )
    except Unavailable as error:
        raise RuntimeError(str(error)) from error
    return LoadResult(found.requests / found.per_second, found.requests, 0, found.p50, found.p99)


def _wrk_command(load: Load, body_file: Path, seconds: float) -> list[str]:
    script = body_file.with_suffix(".lua")
    headers = (f"wrk.headers[{json.dumps(name)}] = {json.dumps(text)}\n" for name, text in load.message.headers.items())
    script.write_text("".join([_LUA, *headers]))
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{-int(-seconds // 1)}s", "--timeout", "10s"]
    return [*command, "-s", str(script), load.url]


def _h2load_command(load: Load, body_file: Path, seconds: float) -> list[str]:
    log = body_file.with_suffix(".log")
    log.unlink(missing_ok=True)  # h2load appends to the file
    command = ["h2load", "-t1", f"-c{load.connections}", "-D", f"{1000 * seconds:.0f}ms", "-d", str(body_file)]
    if not load.grpc:
        command.append("--h1")
    for name, text in (_GRPC_HEADERS if load.grpc else load.message.headers).items():
        command += ["-H", f"{name}: {text}"]
    return [*command, "--log-file", str(log), load.url]


def _python_command(load: Load, body_file: Path, seconds: float) -> list[str]:
    if load.grpc:
        body_file.write_bytes(load.message.body)
        module, request_file = "benchmarks.grpc_load", body_file
    else:
        module, request_file = "benchmarks.load", body_file.with_suffix(".request")
        request_file.write_bytes(_request(load.url, load.message))
    return [sys.executable, "-m", module, load.url, str(request_file), str(load.connections), str(seconds)]


def _request(url: str, message: Message) -> bytes:
    """Returns the bytes of a POST over HTTP/1.1."""
    parts = urlsplit(url)
    headers: Mapping[str, str] = {"host": parts.netloc, **message.headers, "content-length": str(len(message.body))}
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + message.body


def _read_h2load(log: Path, summary: str, answer_bytes: int) -> LoadResult:
    """Reads one line per answer: start in microseconds since the epoch, status, and duration in microseconds.

    Args:
        log: file with the lines.
        summary: standard output, with the number of bytes received.
        answer_bytes: size of an answer over gRPC, whose failures have status 200 and no body; 0 for other answers.
    """
    answers = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    if not answers:
        raise ValueError("nothing was answered")
    ends = max(start + took for start, _, took in answers)
    failed = sum(not 200 <= status < 300 for _, status, _ in answers)
    if answer_bytes:
        received = re.search(r"\((\d+)\) data$", summary, re.MULTILINE)
        if received is None:
            raise ValueError("no number of bytes")
        failed += max(len(answers) - int(received[1]) // answer_bytes, 0)
    return result_of((ends - min(answers)[0]) / 1e6, failed, [took / 1e6 for _, _, took in answers])


def result_of(seconds: float, failed: int, latencies: list[float]) -> LoadResult:
    """Returns the result with the given latencies, which this function sorts.

    Raises:
        ValueError: nothing was answered.
    """
    if not latencies:
        raise ValueError("nothing was answered")
    latencies.sort()
    n = len(latencies)
    return LoadResult(seconds, n, failed, latencies[n // 2], latencies[int(n * 0.99)])


_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"0\r\n\r\n"


class _Client(asyncio.Protocol):
    """One connection, which sends the next request when the last answer is complete.

    The client parses as little of an answer as possible, because it shares the server's cores.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._run.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._complete():
            return
        now = time.perf_counter()
        self._run.latencies.append(now - self._started)
        self._run.failed += self._received[9:10] != b"2"
        self._received = b""
        if now < self._run.end:
            self.ask()
        else:
            self._transport.close()

    def _complete(self) -> bool:
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            return False
        length = _LENGTH.search(self._received, 0, head_end)
        if length is None:  # chunked
            return self._received.endswith(_LAST_CHUNK)
        return len(self._received) >= head_end + len(_HEAD_END) + int(length[1])

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._run.end:
            self._run.failed += 1
        self._run.lost()


class _Run:
    """A run of the Python driver: all connections and their results."""

    def __init__(self, url: str, request: bytes, seconds: float) -> None:
        parts = urlsplit(url)
        self.request = request
        self.latencies: list[float] = []
        self.failed = 0
        self._address = parts.hostname or "127.0.0.1", parts.port or 80
        self._seconds = seconds

    async def drive(self, connections: int) -> LoadResult:
        loop = asyncio.get_running_loop()
        self._open = connections
        self._all_closed = asyncio.Event()
        self.end = math.inf
        clients = [(await loop.create_connection(lambda: _Client(self), *self._address))[1] for _ in range(connections)]
        started = time.perf_counter()
        self.end = started + self._seconds
        for client in clients:
            client.ask()
        async with asyncio.timeout(self._seconds + 30):
            await self._all_closed.wait()
        return result_of(time.perf_counter() - started, self.failed, self.latencies)

    def lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._all_closed.set()


if __name__ == "__main__":
    url, request_file, connections, seconds = sys.argv[1:]
    run = _Run(url, Path(request_file).read_bytes(), float(seconds))
    print("RESULT", json.dumps(asdict(uvloop.run(run.drive(int(connections))))))
