"""Large requests side by side: other requests are not delayed, and memory is a small multiple of the requests' size."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from loop_holds import HOLD_SECONDS, hold_under
from serving import Oracle, Server, make_checkpoint, numeric, running

from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, Schema
from models.store import Store

pytestmark = pytest.mark.faults

ROWS = 100_000
HEALTH_SECONDS = 0.1
MEMORY_SHARE = 6
MIB = 1 << 20
TOLERANCE = 2e-5
CHECKPOINT = make_checkpoint(
    Schema(
        columns=(
            numeric("age"),
            replace(numeric("income"), missing="mean"),
            replace(numeric("debt"), missing="indicator"),
            numeric("score"),
            CategoricalColumn(name="member", categories=("no", "yes"), encoding="sign"),
            CategoricalColumn(name="colour", categories=("red", "green", "blue")),
            CategoricalColumn(name="city", categories=tuple(f"city {i}" for i in range(500))),
            DateColumn(
                name="since", mean=19_000, std=600, minimum=18_000, maximum=21_000, parts=("month", "weekday", "hour")
            ),
            numeric("rate"),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    ),
    16,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a table of categories, dates and gaps."""
    store = Store(tmp_path_factory.mktemp("large") / "store")
    store.publish("table", CHECKPOINT)
    return store


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the table."""
    with running(store.root, tmp_path_factory.mktemp("large-server"), max_queue_rows=4 * ROWS) as server:
        yield server


def make_rows() -> list[dict[str, object]]:
    dice = random.Random(0)
    return [
        {
            "age": dice.randint(18, 90),
            "income": None if dice.random() < 0.1 else round(dice.gauss(0, 1), 4),
            "debt": None if dice.random() < 0.3 else round(dice.gauss(0, 1), 4),
            "score": round(dice.gauss(0, 1), 4),
            "member": dice.choice(("yes", "no")),
            "colour": dice.choice(("red", "green", "blue")),
            "city": f"city {dice.randrange(500)}",
            "since": f"20{dice.randint(10, 29)}-0{dice.randint(1, 9)}-15T1{dice.randrange(10)}:30:00Z",
            "rate": dice.random(),
        }
        for _ in range(ROWS)
    ]


def post(server: Server, body: bytes, **headers: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()


class Probe:
    """A client that asks for health all the time and keeps the latencies."""

    def __init__(self, server: Server) -> None:
        self.seconds: list[float] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(server.port,))

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self, port: int) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            while not self._ends.wait(0.003):
                began = time.perf_counter()
                connection.request("GET", "/health/live")
                assert connection.getresponse().read()
                self.seconds.append(time.perf_counter() - began)


def test_large_requests_hold_up_nobody(store: Store, tmp_path: Path) -> None:
    rows = make_rows()
    slowest_probes: list[float] = []
    hold = hold_under(
        lambda server: slowest_probes.append(ask_beside_probes(server, rows)),
        store.root,
        tmp_path,
        max_queue_rows=4 * ROWS,
    )
    print(f"hold {hold * 1e3:.1f} ms; slowest answers about health {slowest_probes} s")  # noqa: T201
    assert hold < HOLD_SECONDS
    assert min(slowest_probes) < HEALTH_SECONDS


def ask_beside_probes(server: Server, rows: list[dict[str, object]]) -> float:
    """Sends large requests, right and wrong ones, and checks the answers; returns the slowest answer about health."""
    body = orjson.dumps({"model": "table", "instances": rows})
    wrong = orjson.dumps({"instances": [*rows[:-1], {**rows[-1], "score": "x"}], "model": "table"})
    assert post(server, orjson.dumps({"model": "table", "instances": rows[:100]}))[0] == 200
    with Probe(server) as probe, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: post(server, one), [body, wrong, body, wrong, body, wrong]))
        late = post(server, body, **{"X-Request-Timeout-Seconds": "0.05"})
    assert [status for status, _ in answers] == [200, 422] * 3
    assert late[0] == 504
    told = orjson.loads(answers[1][1])["errors"]
    assert told == [{"row": ROWS - 1, "column": "score", "message": '"x" is not a number'}]
    oracle = Oracle(CHECKPOINT)
    probabilities = orjson.loads(answers[0][1])["probabilities"]
    assert len(probabilities) == ROWS
    for row in (0, 1, ROWS // 2, ROWS - 1):
        assert np.allclose(probabilities[row], oracle(rows[row]), atol=TOLERANCE, rtol=0)
    return max(probe.seconds)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b'"a",', b"1,"])
@pytest.mark.parametrize("form", [b'{"model":"table","instances":[%b]}', b'{"model":"table","instances":[[%b]]}'])
def test_many_small_things_take_little_memory_and_time(server: Server, unit: bytes, form: bytes) -> None:
    body = form % (unit * ((32 * MIB - 200) // len(unit)) + unit[:-1])
    [api] = server.api_pids()
    with open(f"/proc/{api}/clear_refs", "w") as file:  # noqa: PTH123 -- the peak begins anew
        file.write("5")
    before = memory(api, "VmRSS")
    with Probe(server) as probe:
        status, _ = post(server, body)
    grown = memory(api, "VmHWM") - before
    print(f"{len(body) / MIB:.0f} MiB of {unit!r}: {grown / len(body):.1f} × its bytes")  # noqa: T201
    assert status in (413, 422)
    assert grown < MEMORY_SHARE * len(body)
    assert max(probe.seconds) < HEALTH_SECONDS


def memory(pid: int, field: str) -> int:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))
