"""A server for the tests of other protocols: with keys, a root path, low limits, and a model that cannot be loaded."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from serving import CHECKPOINTS, Oracle, Server, make_checkpoint, make_store, running

from models.checkpoint import Checkpoint
from service.access import new_key

MOST_ROWS = 3000
SECRET, KEY = new_key("alice", "predict,read")
READ_SECRET, READ_KEY = new_key("bob", "read")
SECOND = make_checkpoint(CHECKPOINTS["colours"].schema, 8, seed=5)  # version 2 of `colours`, which alias `old` is not
MODELS: Mapping[str, Checkpoint] = CHECKPOINTS | {"colours": SECOND}
ORACLES = {name: Oracle(checkpoint) for name, checkpoint in MODELS.items()}
FIRST = Oracle(CHECKPOINTS["colours"])


def rows_of(name: str, count: int) -> list[list[Any]]:
    """Returns rows of a model, drawn from a seed."""
    dice = random.Random(count)
    if name == "mixed":
        return [[dice.randint(18, 90), dice.choice(["Rome", "Oslo", "Lima"])] for _ in range(count)]
    width = len(MODELS[name].schema.columns)
    return [[round(dice.gauss(0.3, 1.7), 4) for _ in range(width)] for _ in range(count)]


@contextmanager
def protocol_server(folder: Path) -> Iterator[Server]:
    """Runs the server; the default model is `mixed`."""
    store = make_store(folder)
    store.publish("colours", SECOND)
    store.set_alias("colours", "old", 1)
    broken = store.publish("broken", CHECKPOINTS["price"]).path
    payload = bytearray(broken.read_bytes())
    payload[-1] ^= 1
    broken.write_bytes(payload)
    limits = {"max_request_rows": MOST_ROWS, "max_queue_rows": MOST_ROWS, "max_body_bytes": 400_000}
    keys = f"{KEY} {READ_KEY}"
    with running(store.root, folder, api_keys=keys, root_path="/axon", default_model="mixed", **limits) as server:
        yield server


def ask(server: Server, method: str, path: str, content: bytes | str = b"", **headers: str) -> httpx.Response:
    """Sends a request with the key for predictions, without a media type."""
    given = {"X-API-Key": SECRET} | headers
    return httpx.request(method, f"{server.url}{path}", content=content or None, headers=given, timeout=60)


@contextmanager
def stopped_worker(server: Server) -> Iterator[None]:
    """Stops the worker for the length of a block, so that rows wait."""
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)
