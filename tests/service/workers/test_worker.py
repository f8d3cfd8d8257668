"""A worker's batches: merged by model, and a fault in one request affects only that request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from awaited import Awaited

from models.columns.schema import NumericColumn, NumericTarget, Schema
from models.errors import StoreError
from service.batching.batcher import Batcher
from service.batching.link import WorkerPool
from service.errors import ClientGone, DeadlineExceeded, ModelFault, QueueFull
from service.stream import frames
from service.stream.frames import FrameReader, Kind
from service.workers.fault_isolation import MergedBatch
from service.workers.frame_server import FrameServer

KEY = "double@1#sha256:00"


class DoublingAPI:
    """A model that doubles its input, raises on -13, answers NaN to -7, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.loading, self.load_on = threading.Event(), threading.Event()
        self.memory = {KEY}
        self.pinned: set[str] = set()
        self.pins = 0
        self.running = threading.Event()
        self.crowding: list[str] = []
        self.tidy = lambda: None

    def predict(self, batch: MergedBatch) -> np.ndarray[Any, np.dtype[np.float32]]:
        self.running.set()
        self.go.wait(10)
        x = np.concatenate([part.matrix() for part in batch.parts])
        self.batches.append(len(x))
        if (x == -13).any():
            raise RuntimeError("thirteen")
        return np.where(x == -7, np.float32(np.nan), 2 * x)

    def load(self, key: str) -> dict[str, Any]:
        if "bad" in key:
            raise StoreError("is bad.")
        self.loading.set()
        assert self.load_on.wait(10)
        return {"batch_invariant": True}

    def restore(self, key: str) -> dict[str, Any]:
        return self.load(key)

    def fetch(self, key: str) -> dict[str, Any]:
        facts = self.load(key)
        self.memory.add(key)
        self.pinned.add(key)
        self.pins += 1
        return facts

    def pin(self, key: str) -> bool:
        if key in self.memory:
            self.pinned.add(key)
            self.pins += 1
        return key in self.memory

    def unpin(self, key: str) -> None:
        self.pinned.discard(key)
        self.pins -= 1

    def make_room(self, key: str) -> list[str]:
        return [other for other in self.crowding if other in self.pinned]


class _Stopped(Exception):
    pass


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[DoublingAPI, Path]]:
    """A frame server on a real socket, in a thread."""
    api, path = DoublingAPI(), tmp_path / "w"
    metrics: Any = SimpleNamespace(
        observe_batch=lambda *_: None,
        observe_busy=lambda _: None,
        measure_memory=lambda: None,
        flush_if_due=lambda: None,
    )
    server = FrameServer(api, metrics, path, max_batch_rows=64, about={"device": "cpu"})
    stop, wake = socket.socketpair()

    def stopped() -> None:
        raise _Stopped

    def serve() -> None:
        with contextlib.suppress(_Stopped):
            server.serve_forever()

    server._selector.register(stop, selectors.EVENT_READ, stopped)
    thread = threading.Thread(target=serve)
    thread.start()
    yield api, path
    api.go.set()
    wake.send(b"x")
    thread.join(10)
    server.close()
    stop.close()
    wake.close()


class RecordingSelector(selectors.DefaultSelector):
    """A selector that records its timeouts."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(timeout)


def test_a_worker_stays_awake_for_a_moment_only_where_batches_follow_each_other_closely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.workers.frame_server._SPIN_SECONDS", 0.3)
    server = FrameServer(DoublingAPI(), SimpleNamespace(), tmp_path / "w", max_batch_rows=64, about={})  # type: ignore[arg-type]
    server._selector.close()
    server._selector = recorded = RecordingSelector()
    ours, theirs = socket.socketpair()
    recorded.register(theirs, selectors.EVENT_READ)

    def select(timeout: float) -> tuple[bool, list[float | None]]:
        """Returns True if something was ready, and the timeouts that the selector got."""
        recorded.timeouts.clear()
        found = server._select(timeout)
        return bool(found and theirs.recv(1)), recorded.timeouts

    try:
        assert select(0.01) == (False, [0.01]), "no batch was ever run: it sleeps"
        server._ended = time.perf_counter()
        ours.send(b"x")
        assert select(5) == (True, [5])
        server._ended = time.perf_counter()
        sender = threading.Timer(0.05, ours.send, [b"x"])
        sender.start()
        found, timeouts = select(5)
        sender.join()
        assert found
        assert set(timeouts) == {0}, "one batch came soon, so it was awake for the next"
        server._ended = time.perf_counter()
        found, timeouts = select(0.01)
        assert not found
        assert timeouts[-1] == 0.01, "none came, so it went to sleep"
        assert set(timeouts[:-1]) == {0}
        assert select(0.01) == (False, [0.01]), "and it stays asleep until batches come closely again"
    finally:
        ours.close()
        theirs.close()
        server.close()


def ask(path: Path, segments: list[list[float]]) -> frames.AnswerFrame:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        data = [np.float32(segment).tobytes() for segment in segments]
        stream.sendall(frames.encode_predict(1, KEY, [len(segment) for segment in segments], data))
        reader = FrameReader()
        while True:
            for frame in reader.feed(stream.recv(65536)):
                if frame.kind is Kind.ANSWER:
                    return frames.decode_answer(bytes(frame.payload))
                assert json.loads(bytes(frame.payload))["device"] == "cpu"


def test_a_fault_is_told_to_the_request_that_caused_it(worker: tuple[DoublingAPI, Path]) -> None:
    answer = ask(worker[1], [[1, 2], [-13], [3], [4, -7], [5], [-13, 6], [8]])
    assert set(answer.faults) == {1, 3, 5}
    assert "RuntimeError" in answer.faults[1]
    assert "row 1 is not finite" in answer.faults[3]
    good = [0, 1, 3, 6, 9]
    np.testing.assert_array_equal(answer.matrix[good, 0], [2, 4, 6, 10, 16])


class Served:
    """The part of a served version that the batcher uses."""

    def __init__(self) -> None:
        self.key, self.name, self.shadow = KEY, "double", None
        self.schema = Schema(
            columns=(NumericColumn(name="x", mean=0, std=1, minimum=-100, maximum=100),),
            target=NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1),
        )
        self.metrics = SimpleNamespace(queue_wait=SimpleNamespace(observe=lambda *_: None))


def with_batcher(path: Path, scenario: Any, **limits: int) -> Any:
    async def run() -> Any:
        pool = WorkerPool([path], lambda: batcher.dispatch_all())
        limits_ = {"max_batch_rows": 8, "max_queue_rows": 40} | limits
        batcher = Batcher(pool, on_resent=lambda: None, **limits_)
        pool.start()
        try:
            async with asyncio.timeout(20):
                while not pool.up:
                    await asyncio.sleep(0.001)
                return await scenario(batcher)
        finally:
            await pool.close()

    return asyncio.run(run())


def submit(
    batcher: Batcher, values: list[float], timeout: float = 10, gone: bool = False
) -> Coroutine[Any, Any, list[float]]:
    data = np.float32(values).tobytes()
    waiter = Awaited(disconnected=gone)
    batcher.submit(waiter, Served(), data, len(values), timeout)  # type: ignore[arg-type]
    return waiter.values(len(values))


def test_requests_gather_while_a_batch_is_out_and_each_gets_its_own(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker

    async def scenario(batcher: Batcher) -> list[list[float]]:
        api.go.clear()
        first = asyncio.create_task(submit(batcher, [100.0]))
        while not batcher._pool.links[0].in_flight:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(submit(batcher, [float(i), i + 0.5])) for i in range(10)]
        await asyncio.sleep(0)
        api.go.set()
        return await asyncio.gather(first, *rest)

    answers = with_batcher(path, scenario)
    assert answers == [[200.0], *([2.0 * i, 2 * i + 1.0] for i in range(10))]
    assert api.batches[0] == 1
    assert api.batches[1:] == [8, 8, 4]


def test_a_request_larger_than_a_batch_is_cut_up_and_lets_others_in(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker

    async def scenario(batcher: Batcher) -> tuple[list[float], list[float]]:
        big = asyncio.create_task(submit(batcher, [float(i + 100) for i in range(30)]))
        small = asyncio.create_task(submit(batcher, [1.0]))
        return await asyncio.gather(big, small)

    big, small = with_batcher(path, scenario)
    assert big == [2.0 * (i + 100) for i in range(30)]
    assert small == [2.0]
    assert api.batches[0] == 5, "the small one should be in the first batch, beside half a batch of the big one"
    assert sum(api.batches) == 31


def test_a_full_batch_waits_at_the_worker_and_no_third_one(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker

    async def scenario(batcher: Batcher) -> list[list[float]]:
        await submit(batcher, [0.0] * 16)  # from here on the time of a full batch is known
        api.go.clear()
        first = asyncio.create_task(submit(batcher, [100.0]))
        [link] = batcher._pool.links
        while not link.in_flight:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(submit(batcher, [float(i)] * 6)) for i in range(8)]
        while len(link.in_flight) < 2:
            await asyncio.sleep(0.001)
        assert batcher.waiting_rows() == 48 - 16
        api.go.set()
        return await asyncio.gather(first, *rest)

    answers = with_batcher(path, scenario, max_batch_rows=16, max_queue_rows=100)
    assert answers == [[200.0], *([2.0 * i] * 6 for i in range(8))]
    assert api.batches == [16, 1, 16, 16, 16], "the third request of a batch is cut, and goes on in the next"


def test_the_queue_is_bounded_deadlines_hold_and_the_abandoned_are_dropped(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker

    async def scenario(batcher: Batcher) -> None:
        api.go.clear()
        held = asyncio.create_task(submit(batcher, [1.0]))
        while not batcher._pool.links[0].in_flight:
            await asyncio.sleep(0.001)
        late = [asyncio.create_task(submit(batcher, [2.0] * 30, timeout=0.05))]
        gone = asyncio.create_task(submit(batcher, [5.0] * 5, gone=True))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            submit(batcher, [3.0] * 6)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await late[0]
        assert time.monotonic() - started < 5
        assert batcher.waiting_rows() == 5, "what expired holds no place"
        fits = asyncio.create_task(submit(batcher, [4.0] * 30))
        await asyncio.sleep(0)
        api.go.set()
        assert await held == [2.0]
        assert await fits == [8.0] * 30
        with pytest.raises(ClientGone):
            await gone
        assert batcher.waiting_rows() == 0

    with_batcher(path, scenario, max_batch_rows=64)
    assert sum(api.batches) == 31


def test_a_model_fault_reaches_its_request_alone(worker: tuple[DoublingAPI, Path]) -> None:
    async def scenario(batcher: Batcher) -> list[Any]:
        tickets = [submit(batcher, [value]) for value in (1.0, -13.0, -7.0, 2.0)]
        return await asyncio.gather(*tickets, return_exceptions=True)

    first, raised, nan, last = with_batcher(worker[1], scenario)
    assert (first, last) == ([2.0], [4.0])
    assert isinstance(raised, ModelFault)
    assert isinstance(nan, ModelFault)


def test_others_are_answered_while_a_model_is_loaded(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(path))
        reader = FrameReader()
        received: list[frames.Frame] = []

        def next_frame() -> frames.Frame:
            while not received:
                received.extend(reader.feed(stream.recv(65536)))
            return received.pop(0)

        assert next_frame().kind is Kind.HELLO
        stream.sendall(frames.encode(Kind.LOAD, 1, b"slow@1#x") + frames.encode(Kind.LOAD, 2, b"bad@1#x"))
        assert api.loading.wait(10)
        stream.sendall(frames.encode_predict(3, KEY, [1], [np.float32([4.0]).tobytes()]) + frames.encode(Kind.PING, 4))
        assert {next_frame().id, next_frame().id} == {3, 4}
        api.load_on.set()
        loaded = [json.loads(bytes(next_frame().payload)) for _ in range(2)]
    assert loaded[0] == {"key": "slow@1#x", "error": None, "batch_invariant": True}
    assert loaded[1] == {"key": "bad@1#x", "error": "is bad.", "may_pass": False}


def test_a_model_whose_only_asker_dies_during_its_load_may_leave_the_memory(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker
    cold = "cold@1#sha256:11"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(path))
        stream.sendall(frames.encode_predict(1, cold, [1], [np.float32([4.0]).tobytes()], time.monotonic() + 60))
        assert api.loading.wait(10)
    ask(path, [[1.0]])  # answered after the worker has seen that the other stream is closed
    api.load_on.set()
    deadline = time.monotonic() + 5
    while cold not in api.memory or api.pinned:
        assert time.monotonic() < deadline, api.pinned
        time.sleep(0.005)
    assert ask(path, [[2.0]]).matrix.tolist() == [[4.0]]


def test_a_version_is_unpinned_once_where_its_asker_dies_during_the_forward(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker
    api.go.clear()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(path))
        rows = [np.float32([4.0]).tobytes()]
        batches = [frames.encode_predict(id_, KEY, [1], rows, time.monotonic() + 60) for id_ in (1, 2)]
        stream.sendall(b"".join(batches))
        assert api.running.wait(10)
    api.go.set()
    assert ask(path, [[1.0]]).matrix.tolist() == [[2.0]]
    deadline = time.monotonic() + 5
    while api.pins:
        assert time.monotonic() < deadline, api.pins
        time.sleep(0.005)


def test_rows_that_nobody_waits_for_any_more_cost_no_forward(worker: tuple[DoublingAPI, Path]) -> None:
    api, path = worker
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(10)
        stream.connect(str(path))
        one = np.float32([1.0]).tobytes()
        expired = frames.encode_predict(1, KEY, [1, 1], [one, one], time.monotonic() - 1)
        stream.sendall(expired + frames.encode_predict(2, KEY, [1], [one], time.monotonic() + 60))
        reader, answers = FrameReader(), {}
        while len(answers) < 2:
            for frame in reader.feed(stream.recv(65536)):
                if frame.kind is Kind.ANSWER:
                    answers[frame.id] = frames.decode_answer(bytes(frame.payload))
    assert api.batches == [1]
    assert set(answers[1].faults) == {0, 1}
    assert answers[2].matrix.tolist() == [[2.0]]
