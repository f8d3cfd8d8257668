"""Congestion: more clients than an API process can read from; accepted requests are still answered at full speed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import orjson
import pytest
from open_loop import CheckedQuery, Outcome, closed_loop
from serving import Oracle, Server, make_checkpoint, numeric, running

from models.columns.schema import ClassTarget, Schema
from models.store import Store

pytestmark = pytest.mark.faults

COLUMNS = 64
SECONDS = 3.0
ATTEMPTS = 6
GOODPUT_RATIO = 0.85
TOLERANCE = 2e-5
CHECKPOINT = make_checkpoint(
    Schema(columns=tuple(numeric(f"x{i}") for i in range(COLUMNS)), target=ClassTarget(name="y", labels=("no", "yes"))),
    64,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a small network, for which reading a request costs far more than inference."""
    folder = tmp_path_factory.mktemp("congestion")
    store = Store(folder / "store")
    store.publish("narrow", CHECKPOINT)
    with running(store.root, folder) as server:
        yield server


def make_checked_query(rows: int) -> CheckedQuery:
    """Makes a request; its answer is checked in full the first time, then byte for byte."""
    dice = random.Random(rows)
    table = [[round(dice.gauss(0, 1), 6) for _ in range(COLUMNS)] for _ in range(rows)]
    oracle = Oracle(CHECKPOINT)
    expected = np.array([oracle(row) for row in table[:100]])
    known = set[bytes]()

    def fault_in(body: bytes) -> str | None:
        if body in known:
            return None
        answer = np.array(orjson.loads(body)["probabilities"])
        if answer.shape != (rows, 2) or not np.allclose(answer[:100], expected, atol=TOLERANCE, rtol=0):
            return f"not what torch says: {body[:200]!r}"
        known.add(body)
        return None

    return CheckedQuery(orjson.dumps({"model": "narrow", "instances": table}), rows, fault_in)


def measure(server: Server, query: CheckedQuery, *, clients: int, deadline_seconds: float) -> Outcome:
    """Runs clients that send again immediately after each answer or refusal."""
    outcome = closed_loop(server, [query], clients=clients, seconds=SECONDS, deadline_seconds=deadline_seconds)
    assert not outcome.wrong, outcome.wrong
    assert set(outcome.statuses) <= {200, 429, 503, 504}, outcome
    return outcome


def goodput_ratio(
    server: Server,
    query: CheckedQuery,
    load: tuple[int, float],
    reference: tuple[int, float],
    wanted: float,
) -> tuple[float, float]:
    """Returns the ratio of the goodput under one load to that under another, and the greatest goodput of the latter.

    Three seconds on a shared machine vary by a tenth or two, so a ratio that is too low is measured again.

    Args:
        server: server to load.
        query: request that all clients send.
        load: number of clients and their deadline in seconds.
        reference: load to compare with.
        wanted: ratio at which the measurement ends.
    """
    ratio = capacity = 0.0
    for _ in range(ATTEMPTS):
        outcomes = [measure(server, query, clients=c, deadline_seconds=d) for c, d in (reference, load)]
        ratio = max(ratio, outcomes[1].goodput / outcomes[0].goodput)
        capacity = max(capacity, outcomes[0].goodput)
        print(f"{query.rows} rows, {load}: {ratio:.2f} of {reference}: {outcomes[1]}")  # noqa: T201
        if ratio >= wanted:
            break
    return ratio, capacity


# Relative to the goodput of 64 clients. A thousand sockets cost both sides more than 64 do, so this much is lost even
# without refusals. At 1,000 rows only the reading matters.
RATIO_TO_FEW_CLIENTS = {1: 0.5, 20: 0.6, 1000: GOODPUT_RATIO}
# Relative to the goodput with a deadline of 30 s. A crowd of short requests is not held back. 2,000 bodies of 640 kB
# exceed the kernel's memory for TCP, so that it drops data, and bodies arrive a retransmission too late for 0.2 s.
RATIO_AT_SHORT_DEADLINES = {(20, 2000, 0.2): 0.5, (1000, 2000, 0.2): 0.1}
LONGEST_PAUSE_SECONDS = {1: 0.0, 20: 0.0, 1000: 10.0}
# Where the machine is so slow that it cannot answer one request of each client within that time, some requests are
# sent in vain, too.
RATIO_BEYOND_CAPACITY = 0.5


@pytest.mark.parametrize("rows", [1, 20, 1000])
def test_neither_clients_nor_deadlines_cost_goodput(server: Server, rows: int) -> None:
    query = make_checked_query(rows)
    measure(server, query, clients=64, deadline_seconds=30)  # warm-up
    missed = []
    for clients in (64, 1000, 2000):
        for deadline_seconds in (30.0, 1.0, 0.2):
            waits_long = deadline_seconds == 30
            compared_to = (64 if waits_long else clients, 30.0)
            wanted = (
                RATIO_TO_FEW_CLIENTS[rows]
                if waits_long
                else RATIO_AT_SHORT_DEADLINES.get((rows, clients, deadline_seconds), GOODPUT_RATIO)
            )
            ratio, capacity = goodput_ratio(server, query, (clients, deadline_seconds), compared_to, wanted)
            if clients > capacity * (deadline_seconds + LONGEST_PAUSE_SECONDS[rows]):
                wanted = min(wanted, RATIO_BEYOND_CAPACITY)
            if ratio < wanted:
                missed.append((clients, deadline_seconds, ratio))
    assert not missed, missed
