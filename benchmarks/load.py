"""Load generators: many connections that each repeat one request, and the results.

Three drivers that share no code, so that a ratio can be checked: `wrk`, `h2load` (of nghttp2, used over HTTP/1.1), and
one in Python, which is a process of its own: `python -m benchmarks.load URL BODY_FILE CONNECTIONS SECONDS`. On few
cores the Python driver takes more CPU time from a fast server than the others do, so its ratios are lower bounds.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.peer import ROOT

DRIVERS = ("wrk", "h2load", "python")

_LUA = """
local file = io.open(os.getenv("AXON_BENCH_BODY")); wrk.body = file:read("*a"); file:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  io.write(string.format('RESULT {"seconds": %f, "answers": %d, "failed": %d, "p50": %f, "p99": %f}\\n',
    summary.duration / 1e6, summary.requests,
    summary.errors.status + summary.errors.timeout +
      summary.errors.connect + summary.errors.read + summary.errors.write,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""


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
    return [driver for driver in DRIVERS if driver == "python" or shutil.which(driver)]


def drive(driver: str, url: str, body: bytes, connections: int, seconds: float, folder: Path) -> LoadResult:
    """Runs one load.

    Args:
        driver: one of `DRIVERS`.
        url: URL to which requests are posted.
        body: JSON body of every request.
        connections: number of connections that are kept open, with one request at a time on each.
        seconds: length of the load; `wrk` rounds up to whole seconds.
        folder: folder for the driver's files.

    Raises:
        RuntimeError: the driver failed, or nothing was answered.
    """
    body_file = folder / "body.json"
    body_file.write_bytes(body)
    command = {"wrk": _wrk_command, "h2load": _h2load_command, "python": _python_command}[driver](
        url, body_file, connections, seconds
    )
    environment = {**os.environ, "AXON_BENCH_BODY": str(body_file)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    try:
        if driver == "h2load":
            return _read_h2load_log(body_file.with_suffix(".log"))
        found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
        if found is None:
            raise ValueError("no result")
        return LoadResult(**json.loads(found[1]))
    except (OSError, ValueError) as error:
        raise RuntimeError(f"the load driver failed: {error}\n{done.stdout}{done.stderr}") from error


def _wrk_command(url: str, body_file: Path, connections: int, seconds: float) -> list[str]:
    script = body_file.with_suffix(".lua")
    script.write_text(_LUA)
    return ["wrk", "-t1", f"-c{connections}", f"-d{-int(-seconds // 1)}s", "--timeout", "10s", "-s", str(script), url]


def _h2load_command(url: str, body_file: Path, connections: int, seconds: float) -> list[str]:
    log = body_file.with_suffix(".log")
    log.unlink(missing_ok=True)  # h2load appends to the file
    command = ["h2load", "--h1", "-t1", f"-c{connections}", "-D", f"{1000 * seconds:.0f}ms", "-d", str(body_file)]
    return [*command, "-H", "content-type: application/json", "--log-file", str(log), url]


def _python_command(url: str, body_file: Path, connections: int, seconds: float) -> list[str]:
    return [sys.executable, "-m", "benchmarks.load", url, str(body_file), str(connections), str(seconds)]


def _read_h2load_log(log: Path) -> LoadResult:
    """Reads one line per answer: start in microseconds since the epoch, status, and duration in microseconds."""
    answers = [tuple(map(int, line.split("\t")[:3])) for line in log.read_text().splitlines()]
    if not answers:
        raise ValueError("nothing was answered")
    ends = max(start + took for start, _, took in answers)
    failed = sum(not 200 <= status < 300 for _, status, _ in answers)
    return _result((ends - min(answers)[0]) / 1e6, failed, [took / 1e6 for _, _, took in answers])


def _result(seconds: float, failed: int, latencies: list[float]) -> LoadResult:
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

    def __init__(self, url: str, body: bytes, seconds: float) -> None:
        parts = urlsplit(url)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self.request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
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
        return _result(time.perf_counter() - started, self.failed, self.latencies)

    def lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._all_closed.set()


if __name__ == "__main__":
    url, body_file, connections, seconds = sys.argv[1:]
    run = _Run(url, Path(body_file).read_bytes(), float(seconds))
    print("RESULT", json.dumps(asdict(uvloop.run(run.drive(int(connections))))))
