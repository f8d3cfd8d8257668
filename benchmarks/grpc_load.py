"""The load generator for gRPC in Python: `python -m benchmarks.grpc_load URL MESSAGE_FILE CONNECTIONS SECONDS`.

Several processes, each with a share of the connections, so that one interpreter is not the limit.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import grpc.aio

from benchmarks.load import LoadResult, result_of

MOST_PROCESSES = 4


def run(url: str, message: bytes, connections: int, seconds: float) -> LoadResult:
    """Runs a load and returns the result of all processes."""
    processes = min(MOST_PROCESSES, os.cpu_count() or 1, connections)
    shares = [connections // processes + (i < connections % processes) for i in range(processes)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        ran = list(pool.map(_drive, *zip(*((url, message, share, seconds) for share in shares), strict=True)))
    latencies = [latency for _, _, some in ran for latency in some]
    return result_of(max(took for took, _, _ in ran), sum(failed for _, failed, _ in ran), latencies)


def _drive(url: str, message: bytes, connections: int, seconds: float) -> tuple[float, int, list[float]]:
    return asyncio.run(_drive_all(url, message, connections, seconds))


async def _drive_all(url: str, message: bytes, connections: int, seconds: float) -> tuple[float, int, list[float]]:
    """Returns the seconds, the number of failures and the latencies of some connections."""
    latencies: list[float] = []
    failed = 0
    parts = urlsplit(url)

    async def repeat(end: float) -> None:
        nonlocal failed
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        async with grpc.aio.insecure_channel(parts.netloc, own) as channel:
            call = channel.unary_unary(parts.path)
            while (started := time.perf_counter()) < end:
                try:
                    await call(message)
                except grpc.aio.AioRpcError:
                    failed += 1
                latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(repeat(started + seconds) for _ in range(connections)))
    return time.perf_counter() - started, failed, latencies


if __name__ == "__main__":
    url, message_file, connections, seconds = sys.argv[1:]
    found = run(url, Path(message_file).read_bytes(), int(connections), float(seconds))
    print("RESULT", json.dumps(asdict(found)))
