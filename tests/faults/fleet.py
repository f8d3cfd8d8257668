"""Replicas behind HAProxy with the configuration of `deploy/haproxy`, and clients that retry once."""

from __future__ import annotations

import asyncio
import csv
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import uvloop
import yaml
from serving import ROOT, Oracle, Server, free_port, http_get, wait_until

from models.checkpoint import Checkpoint

CONFIGURATION = (ROOT / "deploy/haproxy/haproxy.cfg").read_text(encoding="utf-8")
_DEPLOYMENT = yaml.safe_load((ROOT / "deploy/kustomize/base/deployment.yml").read_text(encoding="utf-8"))
POD: dict[str, Any] = _DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
GRACE_SECONDS: int = POD["terminationGracePeriodSeconds"]
MIN_READY_SECONDS: int = _DEPLOYMENT["spec"]["minReadySeconds"]
MODEL = "colours"
_DISK_BYTES = 48 << 20
_CLIENTS = 16
_PATIENCE_SECONDS = 30.0
_DIFFERENCE = 1e-4


def chart_settings() -> dict[str, str]:
    """Returns the settings of the chart's container, other than its addresses and folders."""
    ours = {entry["name"].removeprefix("AXON_").lower(): entry["value"] for entry in CONTAINER["env"]}
    return {name: value for name, value in ours.items() if name not in ("store", "port", "runtime_dir")}


class Replica(Server):
    """A server with the chart's settings, whose runtime folder is a disk of its own."""

    def start_from(self, tree: Path = ROOT) -> None:
        """Starts the program of a working tree, and waits for readiness.

        Args:
            tree: folder with the packages.
        """
        mount = 'mount -t tmpfs -o "size=$1" none "$2" && cd "$3" && shift 3 && exec "$@"'
        disk = (str(_DISK_BYTES), str(self.runtime_dir), str(tree))
        self.environment["PYTHONPATH"] = str(tree)
        self.start(("unshare", "--mount", "sh", "-c", mount, "sh", *disk))

    def stop_as_kubernetes(self) -> float:
        """Stops the server as Kubernetes stops a pod; returns the time of the stop in seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=GRACE_SECONDS) == 0, self.log()
        return time.monotonic() - began

    def signal_all(self, number: signal.Signals) -> None:
        """Sends a signal to all processes of the replica at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def fill_disk(self) -> None:
        """Writes to the replica's disk until nothing more fits."""
        assert self.process is not None
        inside = Path(f"/proc/{self.process.pid}/root{self.runtime_dir}")
        with (inside / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
        assert os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize < 1 << 16

    def version(self) -> str:
        """Returns the version of Axon that answers."""
        return str(http_get(f"{self.url}/openapi.json").json()["info"]["version"])


def can_mount() -> bool:
    """Returns True if a process may have a disk of its own here."""
    unshare = shutil.which("unshare")
    return unshare is not None and not subprocess.run([unshare, "--mount", "true"], check=False).returncode


def next_version(folder: Path, version: str) -> Path:
    """Copies the packages of the server as another version of Axon; returns the folder of the copy."""
    for package in ("axon", "inference", "models", "service"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / f"axon-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: axon\nVersion: {version}\n", encoding="utf-8")
    return folder


class Balancer:
    """A running HAProxy.

    Args:
        port: port of its frontend.
        stats: path of its socket for statistics.
        pid: id of its process.
    """

    def __init__(self, port: int, stats: Path, pid: int) -> None:
        self.port = port
        self._pid = pid
        self._stats = stats

    def statistics(self) -> dict[str, dict[str, str]]:
        """Returns the figures of each server of the backend, and the sums under the name `BACKEND`."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self._stats))
            stream.sendall(b"show stat\n")
            text = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["pxname"] == "axon"}

    def up(self) -> set[str]:
        """Returns the names of the servers that get requests."""
        found = self.statistics().items()
        return {name for name, row in found if name != "BACKEND" and row["status"].startswith("UP")}

    def cpu_seconds(self) -> float:
        """Returns the CPU time of HAProxy so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def part(self) -> dict[str, int]:
        """Returns what HAProxy did for the clients, in requests."""
        backend = self.statistics()["BACKEND"]
        names = {"wretr": "sent again", "wredis": "to another replica", "econ": "no connection", "eresp": "no answer"}
        return {said: int(backend[name] or 0) for name, said in names.items()}


@contextmanager
def balanced(folder: Path, ports: list[int]) -> Iterator[Balancer]:
    """Runs HAProxy with the configuration of `deploy/haproxy` and other addresses."""
    port, stats = free_port(), folder / "haproxy.sock"
    text = CONFIGURATION.replace("bind :8000", f"bind 127.0.0.1:{port}").replace("/run/haproxy.sock", str(stats))
    for number, replica in enumerate(ports, 1):
        text, found = re.subn(rf"(server axon-{number}) \S+", rf"\1 127.0.0.1:{replica}", text)
        assert found == 1
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(["haproxy", "-f", str(folder / "haproxy.cfg")], stdout=log, stderr=log)
    balancer = Balancer(port, stats, process.pid)
    try:
        wait_until(lambda: stats.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        wait_until(lambda: len(balancer.up()) == len(ports), lambda: str(balancer.statistics()))
        yield balancer
    finally:
        process.terminate()
        process.wait()


@dataclass
class Outcome:
    """The outcome of all requests.

    Attributes:
        answered: correct answers, by version of the model.
        failed: requests without a correct answer after one retry, by what happened.
        retried: requests that a client sent again because its connection broke.
        slowest: longest time of a request, in seconds.
    """

    answered: Counter[int] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    slowest: float = 0.0

    @property
    def requests(self) -> int:
        """Number of requests that have ended."""
        return self.answered.total() + self.failed.total()


class RetryingClients:
    """Clients in a closed loop on connections of their own, in a thread, for the length of a `with` block.

    A request whose connection breaks is sent once more. Torch has computed what each version must answer.

    Args:
        port: port of the balancer.
        pause: seconds between two requests of a client.
    """

    def __init__(self, port: int, pause: float = 0.0) -> None:
        self.outcome = Outcome()
        self._port = port
        self._pause = pause
        rng = random.Random(0)
        self._rows = [[round(rng.gauss(0, 2), 4) for _ in range(4)] for _ in range(_CLIENTS)]
        self._expected: dict[int, list[list[float]]] = {}
        self._known: set[tuple[int, bytes]] = set()
        self._thread = threading.Thread(target=self._run, name="clients")
        self._stopped = False

    def expect(self, version: int, checkpoint: Checkpoint) -> None:
        """Computes what a version must answer; called before the version is published."""
        oracle = Oracle(checkpoint)
        self._expected[version] = [oracle(row) for row in self._rows]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._ask_all())

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask(number) for number in range(_CLIENTS)))

    async def _ask(self, number: int) -> None:
        body = orjson.dumps({"model": MODEL, "instances": [self._rows[number]]})
        request = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopped:
            began = time.monotonic()
            for is_retry in (False, True):
                try:
                    async with asyncio.timeout(_PATIENCE_SECONDS):
                        if streams is None:
                            streams = await asyncio.open_connection("127.0.0.1", self._port)
                        status, answer, closes = await self._exchange(*streams, request)
                except (OSError, EOFError) as error:
                    if streams is not None:
                        streams[1].close()
                        streams = None
                    if is_retry or isinstance(error, TimeoutError):
                        self.outcome.failed[type(error).__name__] += 1
                        break
                    self.outcome.retried += 1
                    continue
                if closes:
                    streams[1].close()
                    streams = None
                self._count(number, status, answer)
                break
            self.outcome.slowest = max(self.outcome.slowest, time.monotonic() - began)
            await asyncio.sleep(self._pause)
        if streams is not None:
            streams[1].close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[int, bytes, bool]:
        """Sends a request; returns the status, the body, and True if the connection closes."""
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        found = re.search(rb"content-length: *(\d+)", head)
        body = await reader.readexactly(int(found[1]) if found else 0)
        return int(head.split(b" ", 2)[1]), body, b"connection: close" in head

    def _count(self, number: int, status: int, answer: bytes) -> None:
        if status != 200:
            self.outcome.failed[f"status {status}"] += 1
            return
        said = orjson.loads(answer)
        version = said["version"]
        if (number, answer) not in self._known:
            expected, found = self._expected[version][number], said["probabilities"][0]
            if max(abs(a - b) for a, b in zip(expected, found, strict=True)) > _DIFFERENCE:
                self.outcome.failed["a wrong answer"] += 1
                return
            self._known.add((number, answer))
        self.outcome.answered[version] += 1
