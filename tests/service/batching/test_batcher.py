"""The batcher: what it takes for the time of a row, and what it therefore accepts."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from service.batching.batch import Batch
from service.batching.batcher import Batcher
from service.batching.link import WorkerPool
from service.batching.ticket import Ticket
from service.errors import QueueFull
from service.stream.frames import AnswerFrame

KEY = "double@1#sha256:00"
METRICS = SimpleNamespace(queue_wait=SimpleNamespace(observe=lambda _: None))
SERVED: Any = SimpleNamespace(key=KEY, name="double", metrics=METRICS)
ROWS = 64


class Silent(Ticket):
    """A request whose answer nobody reads."""

    def answered(self, answer: object, start: int) -> None:
        """Takes the answer."""

    def failed(self, error: Exception) -> None:
        """Takes the error."""


def answer(finished: float) -> AnswerFrame:
    """An answer to a batch of `ROWS` rows that the worker had at `finished`."""
    return AnswerFrame(np.zeros((ROWS, 1), dtype=np.float32), {}, finished)


def refuses_after_one_batch(folder: Path, *, worker_seconds: float, unread_seconds: float) -> bool:
    """Whether a row is refused with 500 rows before it and 100 ms to go, after one batch.

    Args:
        folder: place of the worker's socket, on which nobody listens.
        worker_seconds: time that the worker took for the batch.
        unread_seconds: time that its answer lay unread, since this process was busy.
    """

    async def run() -> bool:
        pool = WorkerPool([folder / "worker.sock"], lambda: None)
        batcher = Batcher(pool, max_batch_rows=4096, max_queue_rows=100_000, on_resent=lambda: None)
        first = Silent()
        batcher.submit(first, SERVED, bytes(4 * ROWS), ROWS, 100.0)
        batch = Batch(batcher, KEY, [(first, 0, ROWS)])
        batch.encode(1)
        sent = time.monotonic()
        time.sleep(unread_seconds)
        batch.answered(answer(sent + worker_seconds))
        batcher.submit(Silent(), SERVED, bytes(4 * 500), 500, 100.0)
        try:
            batcher.admit(SERVED, 1000, 0.1)
        except QueueFull:
            return True
        return False

    return asyncio.run(run())


def test_an_answer_that_lies_unread_does_not_make_the_model_slow(tmp_path: Path) -> None:
    assert not refuses_after_one_batch(tmp_path, worker_seconds=0.001, unread_seconds=0.25)


def test_a_worker_that_is_slow_is_taken_for_slow(tmp_path: Path) -> None:
    assert refuses_after_one_batch(tmp_path, worker_seconds=1.0, unread_seconds=0.0)
