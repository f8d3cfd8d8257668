"""Helpers for tests of the running service: the server as a process, and models with torch as their oracle."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import torch

from models.checkpoint import Checkpoint
from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, NumericTarget, Schema, ValuesTarget
from models.network.config import MLPConfig
from models.network.mlp import MLP
from models.store import Store

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 60
_MARK = "TESTED_SERVER"  # an environment variable of the server's processes; AXON_… would be a setting

# No certificates are loaded, since plain HTTP needs none; loading them takes 70 ms per client.
http_get = partial(httpx.get, verify=False)
http_post = partial(httpx.post, verify=False)
http_client = partial(httpx.Client, verify=False)


def wait_until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "") -> None:
    """Waits for a condition; fails with the text of `what` after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def parent_of(pid: int) -> int | None:
    """Returns the id of a process's parent; None if the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def process_name(pid: int) -> str:
    """Returns the name of a process, such as `axon-api-0`; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def free_port() -> int:
    """Returns a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def marked_processes(mark: str) -> dict[int, str]:
    """Returns the command lines of the processes with a variable in their environment, by process id.

    Args:
        mark: name and value of the variable, as `NAME=value`.
    """
    marked = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{mark}\0" in (folder / "environ").read_bytes().decode(errors="replace"):
                marked[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
    return {pid: command for pid, command in marked.items() if command}


class Server:
    """`python -m service` over a store, on a free port."""

    command: tuple[str, ...] = ("-m", "service")

    def __init__(self, store: Path, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # Not in pytest's folder, because the paths of Unix sockets have to be short.
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="axon-e2e-"))
        self._log = folder / "server.log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AXON_")},
            "AXON_STORE": str(store),
            "AXON_HOST": "127.0.0.1",
            "AXON_PORT": str(self.port),
            "AXON_RUNTIME_DIR": str(self.runtime_dir),
            "AXON_RELOAD_SECONDS": "0.1",
            _MARK: str(folder),  # marks the server's processes
            **{f"AXON_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Starts the server and waits for readiness."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, *self.command], cwd=ROOT, env=self.environment, stderr=log
            )
        wait_until(self.ready, self.log)

    def ready(self) -> bool:
        """Returns True if the server is ready.

        A server is asked every 20 ms while it starts, so this uses the standard library's client. With httpx, the
        polling of one start costs this process 0.5 s of CPU, with this client 0.1 s.
        """
        assert self.process is None or self.process.poll() is None, self.log()
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=5)) as client:
            try:
                client.request("GET", "/health/ready")
                return client.getresponse().status == 200
            except (OSError, HTTPException):
                return False

    def log(self) -> str:
        """Returns the server's log so far."""
        return self._log.read_text()

    def processes(self) -> dict[int, str]:
        """Returns the command lines of the server's processes, by process id."""
        return marked_processes(f"{_MARK}={self.environment[_MARK]}")

    def host_pids(self) -> list[int]:
        """Returns the ids of the workers' hosts."""
        return self._named("axon-host-")

    def worker_pids(self) -> list[int]:
        """Returns the ids of the workers, which the hosts fork."""
        return self._named("axon-worker-")

    def api_pids(self) -> list[int]:
        """Returns the ids of the API processes."""
        return self._named("axon-api-")

    def _named(self, start: str) -> list[int]:
        return [pid for pid in self.processes() if process_name(pid).startswith(start)]

    def stop(self, expected: int = 0) -> None:
        """Sends SIGTERM and checks the exit code, and that neither processes nor files are left."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.ended(expected)

    def ended(self, expected: int) -> None:
        """Waits until the server has ended; checks the exit code, and that neither processes nor files are left."""
        assert self.process is not None
        assert (code := self.process.wait(timeout=PATIENCE_SECONDS)) == expected, f"exit code {code}\n{self.log()}"
        wait_until(lambda: not self.processes(), lambda: f"{self.processes()}\n{self.log()}")
        assert not list(self.runtime_dir.glob("*"))

    def kill(self) -> None:
        """Kills all processes that are left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()
        shutil.rmtree(self.runtime_dir, ignore_errors=True)


@contextmanager
def running(store: Path, folder: Path, kind: type[Server] = Server, **settings: object) -> Iterator[Server]:
    """Runs a server for the length of a block, with an orderly stop at the end."""
    server = kind(store, folder, **settings)
    try:
        server.start()
        yield server
        if server.process is not None and server.process.poll() is None:
            server.stop()
    finally:
        server.kill()


class Oracle:
    """A model evaluated by torch: each row alone, standardised, through the module that training fits."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._module = MLP.from_tensors(checkpoint.config, checkpoint.tensors).eval()
        self._encoder = RowEncoder(checkpoint.schema)

    @torch.inference_mode()
    def __call__(self, row: Any) -> list[float]:
        """Returns a row's probabilities, or its value in the target's unit."""
        mean, std = self._checkpoint.schema.standardisation()
        x = (self._encoder.encode_matrix([row]).astype(np.float64) - mean) / std
        answer = self._module.predict_probabilities(torch.from_numpy(x.astype(np.float32)))[0].tolist()
        target = self._checkpoint.schema.target
        return [value * target.std + target.mean for value in answer] if isinstance(target, NumericTarget) else answer


def numeric(name: str, mean: float = 0.3, std: float = 1.7) -> NumericColumn:
    return NumericColumn(name=name, mean=mean, std=std, minimum=-5, maximum=5)


def make_checkpoint(schema: Schema, *hidden: int, seed: int = 0, **architecture: Any) -> Checkpoint:
    """Makes an MLP for a schema, with weights and running statistics drawn from a seed."""
    target = schema.target
    out = len(target.labels) if isinstance(target, ClassTarget) else len(schema.values)
    output = "softmax" if isinstance(target, ClassTarget) else "linear"
    config = MLPConfig(layer_sizes=(schema.width, *hidden, out), output=output, **architecture)
    rng = np.random.default_rng(seed)
    module = MLP(config, generator=torch.Generator().manual_seed(seed))
    tensors = {
        name: rng.uniform(0.5, 2.0, tensor.shape).astype(np.float32) if name.startswith("norms") else tensor
        for name, tensor in module.to_tensors().items()
    }
    return Checkpoint(config=config, schema=schema, tensors=tensors)


CLASSES = ClassTarget(name="kind", labels=("red", "green", "blue"))
SEVERAL = ValuesTarget(
    targets=(
        NumericTarget(name="rent", mean=12, std=4, minimum=3, maximum=40),
        NumericTarget(name="sold", mean=1.7e9, std=3e6, minimum=1.6e9, maximum=1.8e9, origin=1.7e9),
        NumericTarget(name="cost", mean=-0.2, std=0.05, minimum=-1, maximum=0),
    )
)
CHECKPOINTS = {
    "colours": make_checkpoint(
        Schema(columns=tuple(numeric(f"x{i}") for i in range(4)), target=CLASSES), 16, 16, normalization="batch"
    ),
    "price": make_checkpoint(
        Schema(
            columns=(numeric("area", 80, 30), numeric("rooms", 3, 1)),
            target=NumericTarget(name="price", mean=250, std=90, minimum=50, maximum=900),
        ),
        8,
        activation="gelu",
        normalization="layer",
    ),
    "mixed": make_checkpoint(
        Schema(
            columns=(numeric("age", 40, 12), CategoricalColumn(name="city", categories=("Rome", "Oslo", "Lima"))),
            target=ClassTarget(name="buys", labels=("no", "yes")),
        ),
        32,
        activation="tanh",
    ),
}


def metric_sum(server: Server, name: str) -> float:
    """Returns the sum of a metric's samples."""
    text = http_get(f"{server.url}/metrics").text
    return sum(map(float, re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)))


def make_store(folder: Path) -> Store:
    """Makes a store in a folder, with the three models of `CHECKPOINTS`."""
    store = Store(folder / "store")
    for name, checkpoint in CHECKPOINTS.items():
        store.publish(name, checkpoint)
    return store
