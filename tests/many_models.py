"""A store of many small models with different answers, and clients that ask all models at the same time."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from serving import CLASSES, Oracle, Server, http_get, make_checkpoint, numeric

from models.columns.schema import Schema
from models.store import Store


def schema_of(columns: int) -> Schema:
    """Returns a schema of so many numeric columns and three classes."""
    return Schema(columns=tuple(numeric(f"x{i}") for i in range(columns)), target=CLASSES)


class ManyModels:
    """Models `m000`, `m001`, … with one version each, whose networks take about `network_bytes` bytes of memory.

    Args:
        folder: folder of the store.
        count: number of models.
        hidden: width of the two hidden layers.
        columns: number of columns.

    Attributes:
        rows: two rows to ask each model about.
    """

    def __init__(self, folder: Path, count: int, hidden: int, columns: int = 4) -> None:
        self.rows = np.random.default_rng(0).normal(size=(2, columns)).tolist()
        self.store = Store(folder / "store")
        self.names = [f"m{number:03}" for number in range(count)]
        self.expected: dict[str, list[list[float]]] = {}
        for seed, name in enumerate(self.names):
            checkpoint = make_checkpoint(schema_of(columns), hidden, hidden, seed=seed)
            self.store.publish(name, checkpoint)
            self.expected[name] = [Oracle(checkpoint)(row) for row in self.rows]
        parameters = columns * hidden + hidden + hidden * hidden + hidden + 3 * hidden + 3
        self.network_bytes = 2 * 4 * parameters + 40_000  # the arrays, their copies on the device, and a few plans

    def fault_in(self, name: str, status: int, body: bytes) -> str | None:
        """Returns the reason why an answer to `rows` is wrong, or None."""
        if status != 200:
            return f"{name}: {status} {body[:300]!r}"
        answer = json.loads(body)
        if (answer["model"], answer["version"]) != (name, 1):
            return f"{name}: answered by {answer['model']}@{answer['version']}"
        if not np.allclose(answer["probabilities"], self.expected[name], rtol=1e-4, atol=1e-6):
            return f"{name}: {answer['probabilities']} instead of {self.expected[name]}"
        return None

    def ask(self, server: Server, clients: int, rounds: int) -> list[str]:
        """Has each of several clients ask all models `rounds` times in an order of its own; returns all faults."""
        faults: list[str] = []

        def client(seed: int) -> None:
            order = random.Random(seed)
            with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
                for _ in range(rounds):
                    for name in order.sample(self.names, len(self.names)):
                        body = json.dumps({"model": name, "instances": self.rows})
                        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                        response = connection.getresponse()
                        if fault := self.fault_in(name, response.status, response.read()):
                            faults.append(fault)

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return faults


def in_memory(server: Server) -> Iterator[str]:
    """Yields `name@version` of each version that `/models` lists as in memory."""
    listing: dict[str, Any] = http_get(f"{server.url}/models").json()
    for model in listing["models"]:
        for version in model["in_memory"]:
            yield f"{model['name']}@{version}"


def memory_metric(server: Server, name: str, process: str) -> float:
    """Returns the sum of a metric of the memory over the processes whose names begin with `process`."""
    text = http_get(f"{server.url}/metrics").text
    return sum(map(float, re.findall(rf'^axon_version{name}{{process="{process}-\d+"}} (\S+)$', text, re.MULTILINE)))
