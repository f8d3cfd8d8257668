"""Load: many connections that each send the same request again and again, and what came of it.

Two drivers that have nothing in common, so that a ratio can be checked: `wrk` where it is installed, and one in
Python, run as a process of its own: `python -m benchmarks.load URL BODY_FILE CONNECTIONS SECONDS`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

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
    """One load run: its length, answers of any status, failures among them or without one, latencies in seconds."""

    seconds: float
    answers: int
    failed: int
    p50: float
    p99: float


def drive(driver: str, url: str, body: bytes, connections: int, seconds: float, folder: Path) -> LoadResult:
    """Runs one load with `wrk` or `python`."""
    (folder / "body.json").write_bytes(body)
    (folder / "load.lua").write_text(_LUA)
    if driver == "wrk":
        command = ["wrk", "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--timeout", "2s"]
        command += ["-s", str(folder / "load.lua"), url]
    else:
        command = [
            sys.executable,
            "-m",
            "benchmarks.load",
            url,
            str(folder / "body.json"),
            str(connections),
            str(seconds),
        ]
    environment = {**os.environ, "AXON_BENCH_BODY": str(folder / "body.json")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the load driver failed: {done.stdout}{done.stderr}")
    return LoadResult(**json.loads(found[1]))


async def _drive(url: str, body: bytes, connections: int, seconds: float) -> LoadResult:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    latencies: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def connection() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while time.perf_counter() < end:
            started = time.perf_counter()
            writer.write(request)
            header = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: (\d+)", header)
            await reader.readexactly(int(length[1]) if length else 0)
            latencies.append(time.perf_counter() - started)
            failed += not header.startswith(b"http/1.1 2")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    took = time.perf_counter() - started
    latencies.sort()
    return LoadResult(
        took, len(latencies), failed, latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    )


if __name__ == "__main__":
    url, body_file, connections, seconds = sys.argv[1:]
    result = asyncio.run(_drive(url, Path(body_file).read_bytes(), int(connections), float(seconds)))
    print("RESULT", json.dumps(asdict(result)))
