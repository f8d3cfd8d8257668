"""Steady traffic beside a test: a thread that sends requests in turn, and a model whose drift is watched."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
from serving import Server, http_client

from models.store import Store
from training.fit import fit

Request = tuple[str, dict[str, Any]]  # path and JSON body


class Traffic:
    """A thread that sends requests in turn, from `with` on to the end of the block.

    Args:
        server: server that gets the requests.
        request: function that returns the request of a turn, by its number.
        pause_seconds: time between an answer and the next request.
    """

    def __init__(self, server: Server, request: Callable[[int], Request], pause_seconds: float = 0.02) -> None:
        self._server = server
        self._request = request
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self.statuses: Counter[int] = Counter()
        self.broken = 0  # number of requests without an answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        turn = 0
        with http_client(base_url=self._server.url, timeout=30) as client:
            while not self._stop.wait(self._pause):
                path, body = self._request(turn)
                turn += 1
                try:
                    self.statuses[client.post(path, json=body).status_code] += 1
                except httpx.TransportError:
                    self.broken += 1


def publish_numbers(store: Store) -> None:
    """Trains and publishes `numbers`, a classifier of four standard normal columns, with their distributions."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(2_000, 4)), columns=list("abcd"))
    table["y"] = np.where(table["a"] + rng.normal(size=2_000) > 0, "yes", "no")
    fit(table, target="y", name="numbers", epochs=2).publish(store)


def numbers_request(seed: int, rows: int, shift: float = 0.0) -> Request:
    """Returns a request of random rows for `numbers`, with the third column shifted."""
    cells = np.random.default_rng(seed).normal(size=(rows, 4))
    cells[:, 2] += shift
    return "/predict", {"model": "numbers", "instances": cells.tolist()}
