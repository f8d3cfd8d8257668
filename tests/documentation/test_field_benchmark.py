"""The field benchmark: every goal has a figure in one run, and the account of what a fault costs is right."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks.field.__main__ import WORKLOADS
from benchmarks.field.clients import Connection, Crowd, make_request
from benchmarks.field.peers import FIELD
from benchmarks.field.traits import BAD_ROWS, BURSTS, CANDIDATES, CLIENTS, Burst, Loss, Traits
from benchmarks.field.traits_table import traits_table
from benchmarks.goals import FIELD_GOALS, goals_table
from benchmarks.load import LoadResult
from benchmarks.measure import Measurement, Results

ROOT = Path(__file__).parents[2]
REQUEST = make_request("/predict", b"{}")


def _cells(markdown: str) -> dict[str, list[str]]:
    """Returns the cells of each line of a table by the line's name."""
    lines = [line.strip("|").split("|") for line in re.findall(r"^\|.*\|$", markdown, re.MULTILINE)]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_one_run_of_the_field_has_a_figure_for_every_goal() -> None:
    results = Results()
    without_environment = ("axon", "fastapi", "fixed-bytes", "axon-oip-binary", "axon-grpc", "grpc-echo")
    for rank, server in enumerate((*without_environment, *FIELD)):
        for workload in WORKLOADS:
            load = LoadResult(seconds=1.0, answers=1000 // (rank + 1), failed=0, p50=0.001, p99=0.002)
            results.measurements.append(Measurement(server, workload, 0, load, cpu_seconds=0.1))
    assert all(goal.figure(results) is not None for goal in FIELD_GOALS)
    judged = _cells("\n".join(goals_table(FIELD_GOALS, results)))
    rank = len(without_environment) + list(FIELD).index("mosec")
    assert judged["tab-64: requests/s over mosec"] == [f"{1000 / (1000 // (rank + 1)):.2f} ×", "≥ 1.8", "met"]
    assert judged["tab-64: CPU seconds a request over mosec"] == [
        f"{(1000 // (rank + 1)) / 1000:.2f} ×",
        "≤ 0.6",
        "met",
    ]
    assert judged["tab-64: p99 over p50"] == ["2.00 ×", "≤ 2.2", "met"]


@asynccontextmanager
async def _server(*turns: bytes | None) -> AsyncIterator[int]:
    """Runs a server that sends one turn for each request of all connections, and closes at None or after the last."""
    remaining = list(turns)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while remaining:
                await reader.readexactly(len(REQUEST))
                turn = remaining.pop(0)
                if turn is None:
                    break
                writer.write(turn)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _answer(status: int, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} X", "Content-Length: 2", *lines, "", "{}")).encode()


def test_each_request_of_a_crowd_counts_once_as_answer_error_or_nothing() -> None:
    turns = [_answer(200), _answer(503), None, _answer(200, "Connection: close"), _answer(500), None]

    async def account() -> Crowd:
        async with _server(*turns) as port, Crowd(port, REQUEST, clients=1) as crowd:
            async with asyncio.timeout(30):
                while len(crowd.sent) < len(turns):
                    await asyncio.sleep(0.001)
        return crowd

    crowd = asyncio.run(account())
    assert [sent.status for sent in crowd.sent[: len(turns)]] == [200, 503, None, 200, 500, None]
    assert [sent.answered for sent in crowd.sent[: len(turns)]] == [True, False, False, True, False, False]
    assert not crowd.refused


def test_a_refused_connection_is_no_lost_request() -> None:
    async def account() -> Crowd:
        async with _server() as port:
            pass
        async with Crowd(port, REQUEST, clients=2) as crowd, asyncio.timeout(30):
            while crowd.refused < 2:
                await asyncio.sleep(0.001)
        return crowd

    assert asyncio.run(account()).sent == []


def test_a_half_sent_answer_is_none() -> None:
    async def ask() -> tuple[object, bool]:
        async with _server(_answer(200)[:-1], None) as port:
            connection = await Connection.to(port)
            connection.send(REQUEST)
            connection.send(REQUEST)
            try:
                return await connection.answer(), connection.open
            finally:
                connection.close()

    assert asyncio.run(ask()) == (None, False)


def test_the_table_adds_up_bursts_and_shows_the_median_and_the_largest_loss() -> None:
    kind, *kinds = BAD_ROWS
    others = [Burst(other, 63, 63, 400) for other in kinds]
    good = Traits(
        [Burst(kind, 63, 63, 422), Burst(kind, 63, 60, None), *others],
        kills=[Loss(0, 0, 0.25), Loss(4, 1, 0.75), Loss(1, 0, 0.5)],
        stops=[Loss(0, 2, 1.0), Loss(0, 0, None)],
    )
    gone = Traits([Burst(kind, 63, 0, 500), *others], kills=[Loss(64, 0, None)], stops=[Loss(0, 0, 3.0)])
    cells = _cells(traits_table({"a": good, "b": gone}))
    assert {len(row) for row in cells.values()} == {2}
    assert cells[f"one row of {CLIENTS} sent at once has {kind}: good rows answered"] == ["123 of 126", "0 of 63"]
    assert cells[f"one row of {CLIENTS} sent at once has {kind}: status of the bad one"] == ["422, none", "500"]
    assert cells["`kill -9` of a worker: requests without an answer"] == ["1 (4)", "64 (64)"]
    assert cells["`kill -9` of a worker: requests answered with an error"] == ["0 (1)", "0 (0)"]
    assert cells["`kill -9` of a worker: seconds until answers again"] == ["0.50 (0.75)", "never in 1 of 1"]
    assert cells["SIGTERM: seconds until all processes have ended"] == ["1.00 (1.00), never in 1 of 2", "3.00 (3.00)"]


def test_each_candidate_is_measured_for_speed_too_but_for_the_second_worker() -> None:
    assert {name for name in CANDIDATES if name not in FIELD} == {"axon", "mosec-2"}


@pytest.mark.slow
def test_axon_loses_no_request_to_a_bad_row_a_killed_worker_or_a_stop(temporary_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.field", "traits", "--only", "axon", "--times", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = {name: cells[0] for name, cells in _cells(done.stdout).items() if cells}
    for kind, status in zip(BAD_ROWS, ("422", "422", "422"), strict=True):
        good = f"{(CLIENTS - 1) * BURSTS:,}"
        assert cells[f"one row of {CLIENTS} sent at once has {kind}: good rows answered"] == f"{good} of {good}"
        assert cells[f"one row of {CLIENTS} sent at once has {kind}: status of the bad one"] == status
    for what in ("`kill -9` of a worker", "SIGTERM"):
        assert (
            cells[f"{what}: requests without an answer"] == cells[f"{what}: requests answered with an error"] == "0 (0)"
        )
    assert not list(temporary_folder.iterdir())
