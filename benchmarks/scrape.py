"""The cost of a scrape of `/metrics`: its own time, and the latency of predictions during a scrape and otherwise.

    python -m benchmarks.scrape --models 500 --rounds 3

Predictions and scrapes alternate in one run on one server, so that noise of the machine affects both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from bisect import bisect_right
from pathlib import Path

import numpy as np

from benchmarks.peer import ROOT
from benchmarks.process import free_port
from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.store import Store

FEATURES = 8
START_SECONDS = 120.0
_SCRAPER = """
import sys, time, urllib.request
url, pause, end = sys.argv[1], float(sys.argv[2]), time.perf_counter() + float(sys.argv[3])
while time.perf_counter() < end:
    time.sleep(pause)
    began = time.perf_counter()
    with urllib.request.urlopen(url) as answer:
        size = len(answer.read())
    print(began, time.perf_counter(), size, flush=True)
"""


def fill(store: Store, models: int) -> None:
    """Publishes the given number of small models."""
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0) for i in range(FEATURES))
    schema = Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes")))
    config = MLPConfig(layer_sizes=(FEATURES, 8, 2))
    for model in range(models):
        tensors = NumpyMLP(config, rng=np.random.default_rng(model)).to_tensors()
        store.publish(f"model-{model:03}", Checkpoint(config=config, schema=schema, tensors=tensors))


class Client:
    """Connections that repeat: send a prediction, wait for the answer, pause, and go on to another model."""

    def __init__(self, port: int, models: int, pause: float) -> None:
        self._port, self._models, self._pause = port, models, pause
        self.spans: list[tuple[float, float]] = []

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, model: int) -> None:
        body = json.dumps({"model": f"model-{model:03}", "instances": [[0.1] * FEATURES]}).encode()
        writer.write(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        answer = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())

    async def touch_all(self) -> None:
        """Sends one prediction to each model, so that each has its series."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for model in range(self._models):
            await self._ask(reader, writer, model)
        writer.close()

    async def run(self, connections: int, seconds: float) -> None:
        """Sends predictions for a time; `spans` gets each request's start and end."""
        await asyncio.gather(*(self._run(number, time.perf_counter() + seconds) for number in range(connections)))

    async def _run(self, number: int, end: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        model = number
        while time.perf_counter() < end:
            began = time.perf_counter()
            await self._ask(reader, writer, model % self._models)
            self.spans.append((began, time.perf_counter()))
            model += 7
            await asyncio.sleep(self._pause)
        writer.close()


def percentile(seconds: list[float], share: float) -> float:
    """Returns a percentile in milliseconds."""
    return 1000 * sorted(seconds)[int(len(seconds) * share)]


def report(spans: list[tuple[float, float]], scrapes: list[tuple[float, float]]) -> float:
    """Prints the latencies of requests that overlapped a scrape and of the others; returns the ratio of p99."""
    begins = [began for began, _ in scrapes]
    during: list[float] = []
    apart: list[float] = []
    for began, ended in spans:
        at = bisect_right(begins, ended) - 1  # the last scrape that began before the request's end
        (during if at >= 0 and scrapes[at][1] > began else apart).append(ended - began)
    print("| | requests | p50 ms | p99 ms |\n|---|--:|--:|--:|")
    for name, seconds in (("without a scrape", apart), ("during a scrape", during)):
        print(f"| {name} | {len(seconds)} | {percentile(seconds, 0.5):.2f} | {percentile(seconds, 0.99):.2f} |")
    ratio = percentile(during, 0.99) / percentile(apart, 0.99)
    print(f"\np99 during a scrape: {ratio:.2f} ×")
    return ratio


def measure(url: str, port: int, arguments: argparse.Namespace) -> float:
    """Loads and scrapes a ready server at the same time and prints the latencies; returns the ratio of p99."""
    client = Client(port, arguments.models, arguments.pause)
    asyncio.run(client.touch_all())
    command = [sys.executable, "-c", _SCRAPER, f"{url}/metrics", str(arguments.every), str(arguments.seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scraper:
        asyncio.run(client.run(arguments.connections, arguments.seconds))
        lines = [line.split() for line in scraper.communicate()[0].splitlines()]
    scrapes = [(float(began), float(ended)) for began, ended, _ in lines]
    took = sorted(ended - began for began, ended in scrapes)
    print(f"{len(took)} scrapes of {int(lines[-1][2]) / 1e6:.1f} MB, {took[len(took) // 2]:.3f} s each (median)\n")
    ratio = report(client.spans, scrapes)
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        print(f"series: {sum(not line.startswith(b'#') for line in answer.read().splitlines())}\n")
    return ratio


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Waits until the server is ready."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/health/ready").close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the server did not become ready.")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between two requests of a connection")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two scrapes")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="axon-bench-") as folder:
        fill(Store(Path(folder) / "store"), arguments.models)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AXON_")} | {
            "AXON_STORE": f"{folder}/store",
            "AXON_HOST": "127.0.0.1",
            "AXON_PORT": str(port),
            "AXON_DEVICE": "cpu",
            "AXON_MODEL_CACHE": str(2 * arguments.models),
            "AXON_LOG_LEVEL": "error",
            "AXON_RELOAD_SECONDS": "3600",  # looking for new versions of 500 models is not measured here
        }
        server = subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", server)
            ratios = [measure(f"http://127.0.0.1:{port}", port, arguments) for _ in range(arguments.rounds)]
            print(f"median of the rounds: {statistics.median(ratios):.2f} ×")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


if __name__ == "__main__":
    main()
