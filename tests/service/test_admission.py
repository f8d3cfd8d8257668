"""Admission: what happens to a request that ends before its rows are in the batcher."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.store import Store
from service.admission import Admission, Prediction
from service.batching.batcher import Batcher
from service.batching.catalog import Catalog
from service.batching.link import Loaded, WorkerPool
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import ClientGone, DeadlineExceeded
from service.metrics import ModelMetrics
from service.settings import Settings
from service.step_queue import StepQueue
from tests.serving import make_checkpoint

TARGET = ClassTarget(name="y", labels=("a", "b"))
SCHEMA = Schema(columns=(NumericColumn(name="x", mean=0, std=1, minimum=-1, maximum=1),), target=TARGET)


class Call(Prediction):
    """A request whose client can hang up or cancel the call.

    Args:
        admission: admission of the process.
        spent: part of its 30 seconds that has passed, in seconds.

    Attributes:
        errors: errors that ended the request.
        has_gone: True once the client has hung up.
    """

    has_gone = False
    sticky = None

    def __init__(self, admission: Admission, *, spent: float = 0.0) -> None:
        super().__init__(admission, time.perf_counter() - spent)
        self.seconds = 30.0
        self.errors: list[Exception] = []

    @property
    def disconnected(self) -> bool:
        """True if the client has hung up."""
        return self.has_gone

    def answered(self, answer: Answer, start: int) -> None:
        """Takes the answer."""

    def failed(self, error: Exception) -> None:
        """Notes the error."""
        self.errors.append(error)


@pytest.mark.parametrize("way", ["cancelled", "hung up", "waits", "late"])
def test_a_request_that_ends_while_its_model_is_loaded_is_not_continued(tmp_path: Path, way: str) -> None:
    store = Store(tmp_path / "store")
    for seed in range(2):
        store.publish("a", make_checkpoint(SCHEMA, 2, seed=seed))
    continued: list[ServedVersion] = []

    async def run() -> Call:
        loop, go = asyncio.get_running_loop(), asyncio.Event()

        async def load(key: str) -> Loaded:
            if "@1" in key:
                await go.wait()
            return Loaded(batch_invariant=True)

        catalog = Catalog(
            store,
            load,
            lambda name, version: ModelMetrics(name, version, lambda _: None),
            capacity=10,
            default_model=None,
        )
        await catalog.refresh()
        pool = WorkerPool([tmp_path / "worker"], lambda: None)
        batcher = Batcher(pool, max_batch_rows=8, max_queue_rows=100, on_resent=lambda: None)
        metrics: Any = SimpleNamespace(unrouted=None)
        admission = Admission(catalog, batcher, StepQueue(loop), metrics, None, Settings())
        call = Call(admission, spent=29.9 if way == "late" else 0.0)
        admission.load_first(call, "a@1", continued.append)
        await asyncio.sleep(0.01)
        if way == "cancelled":
            call.fail(ClientGone("the client has cancelled the call."))
        call.has_gone = way == "hung up"
        if way != "late":  # the load of a late request takes longer than the tenth of a second that is left to it
            go.set()
        await asyncio.wait_for(asyncio.gather(*admission._loading), 15)  # half of the whole time of a request
        return call

    call = asyncio.run(run())
    assert [version.version for version in continued] == ([1] if way == "waits" else [])
    expected = {"waits": [], "late": [DeadlineExceeded]}.get(way, [ClientGone])
    assert [type(error) for error in call.errors] == expected
