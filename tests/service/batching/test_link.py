"""Workers that die with batches: everything is sent again, and suspected requests are sent alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from awaited import Awaited

from service.batching.batcher import Batcher
from service.batching.link import Loaded, WorkerPool
from service.errors import ClientGone, ModelFault, ModelUnavailable, NoWorker
from service.stream import frames
from service.stream.frames import FrameReader, Kind, PredictFrame

KEY = "double@1#sha256:00"
POISON = -13.0

Decide = Callable[["MortalWorker", PredictFrame], bool]  # returns True if the worker survives this batch


class MortalWorker:
    """A worker on a real socket that doubles its input or dies; a successor listens at once."""

    def __init__(self, path: Path, lives: Decide = lambda *_: True, load: Callable[[str], str | None] | None = None):
        self.path, self.lives, self.load = path, lives, load or (lambda _: None)
        self.batches: list[tuple[int, ...]] = []
        self.refuses: str | None = None  # reason why the worker cannot load the batches' model
        self.deaths = 0
        self.connections: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for connection in self.connections:
            connection.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        writer.write(frames.encode(Kind.HELLO, 0, json.dumps({"worker": 0, "pid": 1, "device": "cpu"}).encode()))
        cutter = FrameReader()
        while data := await reader.read(1 << 16):
            for frame in cutter.feed(data):
                if frame.kind in (Kind.LOAD, Kind.RESTORE):
                    try:
                        reason = self.load(bytes(frame.payload).decode())
                    except ConnectionError:
                        return self._die(writer)
                    writer.write(frames.encode(Kind.LOADED, frame.id, json.dumps({"error": reason}).encode()))
                    continue
                batch = frames.decode_predict(bytes(frame.payload))
                if frame.kind is Kind.RETRY:
                    writer.write(frames.encode(Kind.STARTED, frame.id))
                self.batches.append(batch.segments)
                if self.refuses is not None:
                    refusal = json.dumps({"key": batch.key, "error": self.refuses}).encode()
                    writer.write(frames.encode(Kind.REFUSED, frame.id, refusal))
                    continue
                if not self.lives(self, batch):
                    return self._die(writer)
                writer.write(frames.encode_answer(frame.id, 2 * batch.matrix(), {}, time.monotonic()))
        return None

    def _die(self, writer: asyncio.StreamWriter) -> None:
        self.deaths += 1
        writer.transport.abort()


def with_workers(
    workers: list[MortalWorker], scenario: Callable[[Batcher, WorkerPool], Awaitable[Any]]
) -> tuple[Any, int]:
    """Runs a scenario; returns its result, and the number of batches that were sent again."""
    resent = 0

    def on_resent() -> None:
        nonlocal resent
        resent += 1

    async def run() -> Any:
        pool = WorkerPool([worker.path for worker in workers], lambda: batcher.dispatch_all())
        batcher = Batcher(pool, max_batch_rows=8, max_queue_rows=1000, on_resent=on_resent)
        for worker in workers:
            await worker.start()
        pool.start()
        try:
            async with asyncio.timeout(20):
                while pool.up < len(workers):
                    await asyncio.sleep(0.001)
                return await scenario(batcher, pool)
        finally:
            await pool.close()
            for worker in workers:
                await worker.stop()

    return asyncio.run(run()), resent


METRICS = SimpleNamespace(queue_wait=SimpleNamespace(observe=lambda *_: None))
SERVED: Any = SimpleNamespace(key=KEY, name="double", metrics=METRICS, shadow=None)
OTHER: Any = SimpleNamespace(key="other@1#sha256:11", name="other", metrics=METRICS, shadow=None)


async def ask(batcher: Batcher, values: list[float], served: Any = SERVED) -> list[float]:
    waiter = Awaited()
    batcher.submit(waiter, served, np.float32(values).tobytes(), len(values), 15.0)
    return await waiter.values(len(values))


def test_a_worker_that_dies_costs_no_answer(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path / "w", lives=lambda self, _: len(self.batches) % 4 != 0)

    async def scenario(batcher: Batcher, _: WorkerPool) -> list[list[float]]:
        return await asyncio.gather(*(ask(batcher, [float(i), i + 0.5]) for i in range(40)))

    answers, resent = with_workers([worker], scenario)
    assert answers == [[2.0 * i, 2 * i + 1.0] for i in range(40)]
    assert 0 < worker.deaths <= resent <= 2 * worker.deaths, "one batch in hand, and perhaps one that waited"


def test_a_request_in_pieces_survives_the_death_of_one_of_two_workers(tmp_path: Path) -> None:
    workers = [
        MortalWorker(tmp_path / "0"),
        MortalWorker(tmp_path / "1", lives=lambda self, _: len(self.batches) != 2),
    ]

    async def scenario(batcher: Batcher, _: WorkerPool) -> list[list[float]]:
        return await asyncio.gather(*(ask(batcher, [100.0 * n + i for i in range(50)]) for n in range(4)))

    answers, resent = with_workers(workers, scenario)
    assert answers == [[2 * (100.0 * n + i) for i in range(50)] for n in range(4)]
    assert resent in (1, 2), "one batch was in its hands, and perhaps one waited"


def test_a_request_that_kills_workers_fails_and_all_others_are_answered(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path / "w", lives=lambda _, batch: not (batch.matrix() == POISON).any())

    async def scenario(batcher: Batcher, _: WorkerPool) -> list[Any]:
        values = [1.0, 2.0, POISON, 3.0, 4.0]
        return await asyncio.gather(*(ask(batcher, [value]) for value in values), return_exceptions=True)

    (one, two, poisoned, three, four), resent = with_workers([worker], scenario)
    assert [one, two, three, four] == [[2.0], [4.0], [6.0], [8.0]]
    assert isinstance(poisoned, ModelFault)
    assert "died 3 times" in str(poisoned)
    assert (worker.deaths, resent) == (3, 2), "after the third death there is nothing to send again"
    # Twice together, then each alone: nobody else is in a batch that causes a third death.
    assert worker.batches[:2] == [(1,) * 5] * 2
    assert set(worker.batches[2:]) == {(1,)}


def test_what_waited_behind_a_request_that_kills_workers_is_not_suspected_of_it(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path / "w", lives=lambda _, batch: not (batch.matrix() == POISON).any())

    async def scenario(batcher: Batcher, _: WorkerPool) -> list[Any]:
        return await asyncio.gather(
            ask(batcher, [POISON]), ask(batcher, [1.0], OTHER), ask(batcher, [2.0], OTHER), return_exceptions=True
        )

    (poisoned, one, two), resent = with_workers([worker], scenario)
    assert isinstance(poisoned, ModelFault)
    assert (one, two) == ([2.0], [4.0])
    assert worker.deaths == 3
    assert resent == 5, "they were lost as often, and the poison was sent again twice"


def test_a_worker_out_of_step_is_connected_anew(tmp_path: Path) -> None:
    worker = MortalWorker(tmp_path / "w")

    async def scenario(batcher: Batcher, pool: WorkerPool) -> list[float]:
        worker.connections[0].write(b"\xff" * 64)
        while len(worker.connections) < 2 or not pool.up:
            await asyncio.sleep(0.001)
        return await ask(batcher, [21.0])

    answer, _ = with_workers([worker], scenario)
    assert answer == [42.0]


def test_a_batch_whose_answer_cannot_be_read_is_sent_again(tmp_path: Path) -> None:
    def answers_nonsense(worker: MortalWorker, batch: PredictFrame) -> bool:
        if len(worker.batches) == 1:
            worker.connections[0].write(frames.encode(Kind.ANSWER, 1, b"nonsense"))
        return True

    answer, resent = with_workers([MortalWorker(tmp_path / "w", answers_nonsense)], lambda b, _: ask(b, [21.0]))
    assert answer == [42.0]
    assert resent == 1


class SilentOnceWorker(MortalWorker):
    """A worker that answers nothing on its first connection."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.connections:
            return await super()._serve(reader, writer)
        self.connections.append(writer)
        writer.write(frames.encode(Kind.HELLO, 0, json.dumps({"worker": 0, "pid": 1, "device": "cpu"}).encode()))
        await reader.read(-1)
        return None


def test_a_client_that_left_takes_both_the_rows_that_came_back_and_those_that_waited(tmp_path: Path) -> None:
    worker = SilentOnceWorker(tmp_path / "w")

    async def scenario(batcher: Batcher, pool: WorkerPool) -> list[float]:
        waiter = Awaited()
        batcher.submit(waiter, SERVED, np.zeros(12, np.float32).tobytes(), 12, 15.0)
        while not pool.links[0].in_flight:
            await asyncio.sleep(0.001)
        assert batcher.waiting_rows() > 0
        waiter.disconnected = True
        worker.connections[0].transport.abort()
        with pytest.raises(ClientGone):
            await waiter.outcome
        return await ask(batcher, [21.0])

    answer, _ = with_workers([worker], scenario)
    assert answer == [42.0]
    assert len(worker.connections) == 2


def test_loading_waits_for_a_worker_that_says_so(tmp_path: Path) -> None:
    asked = []

    def load(key: str) -> str | None:
        asked.append(key)
        if len(asked) == 1:
            raise ConnectionError
        return "is damaged"

    async def scenario(_: Batcher, pool: WorkerPool) -> Loaded:
        return await pool.load(KEY)

    loaded, _ = with_workers([MortalWorker(tmp_path / "w", load=load)], scenario)
    assert loaded.error == "is damaged"
    assert asked == [KEY] * 2


def test_loading_gives_up_when_the_workers_die_of_it(tmp_path: Path) -> None:
    def load(_: str) -> str | None:
        raise ConnectionError

    async def scenario(_: Batcher, pool: WorkerPool) -> Loaded:
        return await pool.load(KEY)

    with pytest.raises(NoWorker, match="died 3 times"):
        with_workers([MortalWorker(tmp_path / "w", load=load)], scenario)


def test_one_worker_that_cannot_load_is_reason_enough(tmp_path: Path) -> None:
    workers = [MortalWorker(tmp_path / "0"), MortalWorker(tmp_path / "1", load=lambda _: "has no memory left")]

    async def scenario(_: Batcher, pool: WorkerPool) -> Loaded:
        return await pool.load(KEY)

    assert with_workers(workers, scenario)[0].error == "has no memory left"


def test_a_batch_that_one_worker_refuses_goes_to_another_and_counts_as_no_loss(tmp_path: Path) -> None:
    workers = [MortalWorker(tmp_path / "0", load=lambda _: "is lost"), MortalWorker(tmp_path / "1")]
    workers[0].refuses = "is lost"

    async def scenario(batcher: Batcher, pool: WorkerPool) -> list[list[float]]:
        answers = [await ask(batcher, [float(i)]) for i in range(5)]
        assert pool.links[0].load_failures == {KEY: "is lost"}
        assert not pool.is_unloadable(KEY)
        assert pool.load_failures() == {KEY: "not worker 0, but others, can load it: is lost"}
        await pool.confirm({KEY})
        assert pool.links[0].load_failures == {KEY: "is lost"}, "it was asked again, and still cannot"
        assert pool.links[1].loaded == {KEY}
        return answers

    answers, resent = with_workers(workers, scenario)
    assert answers == [[2.0 * i] for i in range(5)]
    assert resent == 0
    assert len(workers[0].batches) == 1, "it is asked for no more of them"


def test_what_every_worker_refuses_is_unavailable_until_one_can_load_it_again(tmp_path: Path) -> None:
    lost = {KEY}
    workers = [MortalWorker(tmp_path / str(n), load=lambda key: "is lost" if key in lost else None) for n in range(2)]
    for worker in workers:
        worker.refuses = "is lost"

    async def scenario(batcher: Batcher, pool: WorkerPool) -> list[float]:
        for values in ([1.0], [1.0] * 20):  # the second one is split into several batches
            with pytest.raises(ModelUnavailable, match="GET /models says why"):
                await ask(batcher, values)
        assert pool.is_unloadable(KEY)
        assert pool.load_failures() == {KEY: "no worker can load it: is lost"}
        assert batcher.waiting_rows() == batcher.waiting_requests == 0
        workers[1].refuses = None
        lost.clear()
        await pool.confirm({KEY})
        assert pool.load_failures() == {}
        return await ask(batcher, [21.0])

    assert with_workers(workers, scenario)[0] == [42.0]


def test_a_successor_is_asked_for_what_is_served_and_what_has_ended_is_forgotten(tmp_path: Path) -> None:
    asked: list[str] = []

    def load(key: str) -> str | None:
        asked.append(key)
        return None

    worker = MortalWorker(tmp_path / "w", load=load)

    async def scenario(_: Batcher, pool: WorkerPool) -> None:
        await pool.confirm({KEY})
        await pool.confirm({KEY})
        assert asked == [KEY], "it has said so"
        worker.connections[0].transport.abort()
        while pool.up:
            await asyncio.sleep(0.001)
        while not pool.up:
            await asyncio.sleep(0.001)
        await pool.confirm({KEY, "b@1#x"})
        assert sorted(asked) == ["b@1#x", KEY, KEY]
        await pool.confirm({"b@1#x"})
        assert pool.links[0].loaded == {"b@1#x"}

    with_workers([worker], scenario)
