"""Many answers at once, with many numbers or compressed: writing these delays no other client."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest
from loop_holds import HOLD_SECONDS, hold_under
from raw_http import RawStream, post
from serving import Oracle, Server, make_checkpoint, numeric

from models.columns.schema import ClassTarget, Schema
from models.store import Store

pytestmark = pytest.mark.faults

ROUNDS = 10
TOLERANCE = 2e-5
MODELS = {
    width: make_checkpoint(
        Schema(columns=(numeric("x"),), target=ClassTarget(name="y", labels=tuple(f"class {i}" for i in range(width)))),
        4,
    )
    for width in (3, 300, 1000)
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model for each number of classes."""
    store = Store(tmp_path_factory.mktemp("answers") / "store")
    for width, checkpoint in MODELS.items():
        store.publish(f"m{width}", checkpoint)
    return store


@pytest.mark.parametrize(
    ("clients", "rows", "width"),
    [(1, 1, 3), (256, 1, 1000), (64, 31, 300), (40, 300, 3), (40, 900, 3)],
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_many_answers_hold_up_nobody(
    clients: int, rows: int, width: int, coding: str, store: Store, tmp_path: Path, record: Callable[[object], None]
) -> None:
    values = [[i % 7 - 3] for i in range(rows)]  # short rows, since only the answers matter here
    request = post(orjson.dumps({"model": f"m{width}", "instances": values}), f"Accept-Encoding: {coding}")
    oracle = Oracle(MODELS[width])
    expected = np.array([oracle({"x": value}) for [value] in values])

    async def ask(stream: RawStream) -> None:
        for _ in range(ROUNDS):
            await stream.send(request)
            answer = await stream.answer()
            assert answer is not None
            assert answer.status == 200, answer.body
            body = gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body
            assert np.allclose(orjson.loads(body)["probabilities"], expected, atol=TOLERANCE, rtol=0)

    async def crowd(server: Server) -> None:
        streams = [await RawStream.connect(server.port) for _ in range(clients)]
        try:
            await asyncio.gather(*map(ask, streams))
        finally:
            for stream in streams:
                stream.abort()

    hold = hold_under(lambda server: asyncio.run(crowd(server)), store.root, tmp_path, max_queue_rows=200_000)
    record(f"hold {hold * 1e3:.1f} ms")
    assert hold < HOLD_SECONDS
