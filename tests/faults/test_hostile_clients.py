"""Hostile clients: slow, endless, malformed and greedy.

Each is cut off, memory stays bounded, and a crowd beside the attack gets every answer, correct and in time.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from crowd import Crowd, Query, counted, make_query
from footprint import Footprint, wait_for_footprint
from peak_memory import PeakMemory
from raw_http import RawAnswer, RawStream, chunk, chunked, get, post
from serving import CHECKPOINTS, Server, http_client, http_get, make_store, metric_sum, running, wait_until
from warm_server import warm_up

from models.store import Store

pytestmark = pytest.mark.faults

T = TypeVar("T")

HEADER_SECONDS = 2
BODY_SECONDS = 6
IDLE_SECONDS = 4
MAX_BODY_BYTES = 4 << 20
MAX_CONNECTIONS = 10_000
LATE_SECONDS = 4.0  # the cut-off and its test share two busy cores with the crowd and the attack
CROWD_P99_SECONDS = 1.0
MIB = 1 << 20
MAX_LOG_BYTES = 8_000  # per attack, so that noise does not fill the disk

PRICE = json.dumps({"model": "price", "instances": [[100, 3]]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with short timeouts, over the three models."""
    folder = tmp_path_factory.mktemp("hostile")
    store = make_store(folder)
    with running(
        store.root,
        folder,
        header_seconds=HEADER_SECONDS,
        body_seconds=BODY_SECONDS,
        idle_seconds=IDLE_SECONDS,
        max_body_bytes=MAX_BODY_BYTES,
    ) as server:
        warm_up(server)
        yield server


@contextmanager
def unharmed(server: Server, *, memory: int = 64 * MIB, p99: float = CROWD_P99_SECONDS) -> Iterator[Counter[str]]:
    """Runs a crowd beside a block that attacks the server, and checks that the attack did no harm.

    The crowd's answers are correct and in time, API processes grow by less than `memory` bytes, resources are released
    at the end, and the metrics add up.

    Yields:
        Counter to which the block adds its own answers with status 200, by model.
    """
    before, counts, logged = Footprint.of(server), counted(server), len(server.log())
    others: Counter[str] = Counter()
    with PeakMemory(server.api_pids()) as peak, Crowd(server, pause_seconds=0.05) as crowd:
        crowd.warm()
        yield others
        crowd.warm()
        report = crowd.stop()
        grown = peak.growth()
    print(f"{report}  API process grew by {grown / MIB:.1f} MiB")  # noqa: T201
    report.check()
    assert report.percentile(99) < p99, str(report)
    assert grown < memory, f"an API process grew by {grown / MIB:.0f} MiB"
    assert "Traceback" not in server.log(), server.log()
    assert len(server.log()) < logged + MAX_LOG_BYTES, server.log()[-MAX_LOG_BYTES:]
    wait_for_footprint(server, before)
    predicted = Counter({model: n for (model, status), n in report.statuses.items() if status == "200"}) + others

    def ours() -> Counter[str]:
        now = counted(server)
        return Counter({model: now[model, "200"] - counts[model, "200"] for model in CHECKPOINTS})

    wait_until(lambda: ours() == predicted, lambda: f"{ours()} is not {predicted}")


def at_once(n: int, client: Callable[[int], Coroutine[Any, Any, T]]) -> list[T]:
    """Runs `n` clients at once and returns their results; raises the errors of all failed ones together."""

    async def run() -> list[T]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client(i)) for i in range(n)]
        return [task.result() for task in tasks]

    return asyncio.run(run())


async def drip(server: Server, begin: bytes, rest: Iterator[bytes]) -> tuple[RawAnswer | None, float]:
    """Sends `begin`, then the rest in drops; returns the answer, and the seconds until the connection was closed."""
    async with await RawStream.connect(server.port) as stream:
        began = time.monotonic()

        async def feed() -> None:
            if await stream.send(begin):
                for drop in rest:
                    await asyncio.sleep(0.1)  # the attack: just often enough to seem alive
                    if not await stream.send(drop):
                        return

        feeding = asyncio.create_task(feed())
        answer = await stream.answer()
        await stream.ended()
        took = time.monotonic() - began
        await feeding
        return answer, took


@pytest.mark.parametrize(
    ("begin", "rest", "limit"),
    [
        pytest.param(b"", b"GET /health/live HTTP/1.1\r\nHost: x" + b"x" * 10_000, HEADER_SECONDS, id="slow head"),
        pytest.param(b"POST /predict HTTP/1.1\r\n", b"X-A: b\r\n" * 2_000, HEADER_SECONDS, id="slow headers"),
        pytest.param(post(b"", length=5_000), b" " * 5_000, BODY_SECONDS, id="slow body"),
        pytest.param(chunked(), b"1\r\n \r\n" * 2_000, BODY_SECONDS, id="slow chunks"),
        pytest.param(post(PRICE[:-1], length=len(PRICE)), b"", BODY_SECONDS, id="a body that stops short of its end"),
    ],
)
def test_500_slow_clients_are_cut_off_with_408(server: Server, begin: bytes, rest: bytes, limit: float) -> None:
    drops = [rest[at : at + 1] for at in range(len(rest))]
    with unharmed(server):
        for answer, took in at_once(500, lambda _: drip(server, begin, iter(drops))):
            assert answer is not None
            assert answer.status == 408
            assert answer.headers["connection"] == "close"
            assert took < limit + LATE_SECONDS


def test_connections_that_say_nothing_more_are_closed(server: Server) -> None:
    async def silent(n: int) -> None:
        async with await RawStream.connect(server.port) as stream:
            if n % 2:
                await stream.send(get("/health/live"))
                answer = await stream.answer()
                assert answer is not None
                assert answer.status == 200
            await stream.ended(max(HEADER_SECONDS, IDLE_SECONDS) + LATE_SECONDS)

    with unharmed(server):
        at_once(1_000, silent)


def test_bytes_beyond_the_content_length_are_another_request_and_no_good_one(server: Server) -> None:
    async def longer(_: int) -> tuple[RawAnswer | None, RawAnswer | None]:
        async with await RawStream.connect(server.port) as stream:
            await stream.send(post(PRICE + b'  , "more": 1}' * 100, length=len(PRICE)))
            answers = await stream.answer(), await stream.answer()
            await stream.ended()
            return answers

    with unharmed(server) as others:
        for first, second in at_once(100, longer):
            assert first is not None
            assert first.status == 200, first.body
            assert second is None or second.status == 400, second
            others["price"] += 1


def test_a_body_that_says_it_is_too_large_is_refused_unread(server: Server) -> None:
    async def refused(n: int) -> RawAnswer | None:
        length = MAX_BODY_BYTES + 1 if n % 2 else 10**30
        async with await RawStream.connect(server.port) as stream:
            await stream.send(post(b"", length=length))
            answer = await stream.answer(BODY_SECONDS)  # though no byte of the body was sent
            await stream.ended()
            return answer

    with unharmed(server):
        for answer in at_once(200, refused):
            assert answer is not None
            assert answer.status in (413, 400), answer  # a number of 30 digits is not a valid length
            assert answer.headers["connection"] == "close"


def test_a_client_that_goes_on_sending_reads_its_413_all_the_same(server: Server) -> None:
    with unharmed(server), http_client(base_url=server.url) as client:
        for _ in range(5):
            answer = client.post("/predict", content=b" " * (8 * MAX_BODY_BYTES))
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(chunk(b" " * 65_536), id="large chunks"),
        pytest.param(chunk(b" ") * 1_000, id="small chunks"),
        pytest.param(chunk(b" ", b";x=" + b"y" * 60_000), id="chunk extensions"),
        pytest.param(b"FFFFFFFFFFFFFFF\r\n" + b" " * 65_536, id="a chunk without end"),
        pytest.param(b"0\r\n" + b"X-Trailer: y\r\n" * 4_000, id="trailers"),
        pytest.param(b"1;" + b"0" * 65_536, id="a chunk's size line without end"),
    ],
)
def test_an_endless_body_is_cut_off(server: Server, endless: bytes) -> None:
    async def bomb(_: int) -> tuple[RawAnswer | None, float]:
        async with await RawStream.connect(server.port) as stream:
            began = time.monotonic()
            answering = asyncio.create_task(stream.answer())
            if await stream.send(chunked()):
                while not answering.done() and await stream.send(endless):
                    pass
            answer = await answering
            await stream.ended()
            return answer, time.monotonic() - began

    with unharmed(server, memory=16 * (MAX_BODY_BYTES * 2) + 64 * MIB, p99=2 * CROWD_P99_SECONDS):
        for answer, took in at_once(4, bomb):
            assert took < BODY_SECONDS + LATE_SECONDS
            assert answer is None or answer.status in (400, 408, 413, 431), answer


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * MIB, id="a long header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 100_000, id="many headers"),
        pytest.param(b"GET /" + b"y" * MIB, id="a long path"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"y" * MIB, id="a long header name"),
    ],
)
def test_a_head_without_end_is_refused(server: Server, head: bytes) -> None:
    async def refused(_: int) -> RawAnswer | None:
        async with await RawStream.connect(server.port) as stream:
            sending = asyncio.create_task(stream.send(head))
            answer = await stream.answer()
            await stream.ended()
            await sending
            return answer

    with unharmed(server):
        for answer in at_once(50, refused):
            assert answer is not None
            assert answer.status in (431, 414), answer


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(random.Random(0).randbytes(5_000), id="noise"),
        pytest.param(b"\x00" * 5_000, id="zeros"),
        pytest.param(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", id="a version that is none"),
        pytest.param(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", id="a length below zero"),
        pytest.param(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello", id="two in one"),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            id="two lengths",
        ),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
            id="a chunk's size that is no number",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", id="a space before a colon"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", id="a folded header"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", id="a zero byte in a header"),
    ],
)
def test_what_is_not_http_is_refused_and_closed(server: Server, request_: bytes) -> None:
    async def refused(_: int) -> RawAnswer | None:
        async with await RawStream.connect(server.port) as stream:
            await stream.send(request_)
            answer = await stream.answer()
            await stream.ended()
            return answer

    with unharmed(server):
        for answer in at_once(50, refused):
            assert answer is None or answer.status == 400, answer


def cases() -> Iterator[tuple[str, bytes, int]]:
    """Yields bodies that are almost JSON, or unusual JSON: name, bytes, and status of the answer."""

    def body(instances: bytes, model: bytes = b'"colours"') -> bytes:
        return b'{"model":' + model + b',"instances":' + instances + b"}"

    nested = b"[" * 1_000_000 + b"]" * 1_000_000
    yield "nothing", b"", 422
    yield "nested lists", nested, 422
    yield "nested rows", body(nested), 422
    yield "nested cells", body(b"[[" + nested + b",0,0,0]]"), 422
    yield "nested objects", b'{"a":' * 500_000 + b"1" + b"}" * 500_000, 422
    yield "nested model", body(b"[[0,0,0,0]]", nested), 422
    yield "lists that do not end", b"[" * 3_000_000, 422
    yield "a cell beyond float64", body(b"[[1e400,0,0,0]]"), 422
    yield "a cell beyond float32", body(b"[[1e39,0,0,0]]"), 422
    yield "a number of a million digits", body(b"[[" + b"9" * 1_000_000 + b",0,0,0]]"), 422
    yield "a fraction of ten thousand digits", body(b"[[0." + b"3" * 10_000 + b",0,0,0]]"), 200
    yield "a fraction of a million digits", body(b"[[0." + b"3" * 1_000_000 + b",0,0,0]]"), 422
    yield "an exponent of a million digits", body(b"[[1e" + b"9" * 1_000_000 + b",0,0,0]]"), 422
    yield "not a number", body(b"[[NaN,0,0,0]]"), 422
    yield "infinity", body(b"[[-Infinity,0,0,0]]"), 422
    for odd in (b"01", b"+1", b".5", b"1.", b"0x1", b"1_0", b"'1'", b"1e", b"--1"):
        yield f"the number {odd.decode()}", body(b"[[" + odd + b",0,0,0]]"), 422
    yield "a lone surrogate as a cell", body(b'[["\\ud800",0,0,0]]'), 422
    yield "a lone surrogate as a category", body(b'[[30,"\\udc00"]]', b'"mixed"'), 422
    yield "a lone surrogate as a key", body(b'[{"\\ud800":0,"x1":0,"x2":0,"x3":0}]'), 422
    yield "bytes that are not UTF-8", body(b'[["\xff\xfe",0,0,0]]'), 422
    yield "an overlong encoding", body(b'[["\xc0\xaf",0,0,0]]'), 422
    yield "UTF-16", body(b"[[0,0,0,0]]").decode().encode("utf-16"), 422
    yield "a zero byte", body(b"[[0,0,0,0]]") + b"\0", 422
    yield "two documents", body(b"[[0,0,0,0]]") * 2, 422
    yield "a long string as a category", body(b'[[30,"' + b"x" * 3_000_000 + b'"]]', b'"mixed"'), 422
    yield "a long string as a model", body(b"[[0,0,0,0]]", b'"' + b"m" * 3_000_000 + b'"'), 422
    yield "a path as a model", body(b"[[0,0,0,0]]", b'"../../etc/passwd"'), 404
    yield "a zero byte in a model", body(b"[[0,0,0,0]]", b'"colours\\u0000"'), 404
    yield "a row of a million cells", body(b"[[" + b"0," * 1_000_000 + b"0]]"), 422
    yield "rows without cells", body(b"[" + b"[]," * 90_000 + b"[]]"), 422
    yield "rows beyond number", body(b"[" + b"[0,0,0,0]," * 100_000 + b"[0,0,0,0]]"), 413
    yield "rows beyond number without cells", body(b"[" + b"[]," * 1_000_000 + b"[]]"), 422
    keys = b",".join(b'"k%d":0' % n for n in range(200_000))
    yield "a row of many keys", body(b"[{" + keys + b"}]"), 422
    yield "a document of many keys", b"{" + keys + b',"instances":[[0,0,0,0]]}', 422
    for value in (b"null", b"true", b'"text"', b"12", b"[]", b"{}"):
        yield f"{value.decode()} as a document", value, 422
        yield f"{value.decode()} as instances", body(value), 422
        yield f"{value.decode()} as a row", body(b"[" + value + b"]"), 422
        if value != b"12":
            yield f"{value.decode()} as a cell", body(b"[[" + value + b",0,0,0]]"), 422
        if value not in (b"null", b'"text"'):
            yield f"{value.decode()} as a model", body(b"[[0,0,0,0]]", value), 422


@pytest.mark.parametrize("status", [200, 404, 413, 422])
def test_json_that_nobody_means_gets_a_problem_and_costs_the_others_nothing(server: Server, status: int) -> None:
    bodies = [(what, body) for what, body, expected in cases() if expected == status]

    async def send(n: int) -> list[str]:
        faults = []
        async with await RawStream.connect(server.port) as stream:
            for what, body in bodies[n % len(bodies) :] + bodies[: n % len(bodies)]:
                await stream.send(post(body))
                answer = await stream.answer()
                if answer is None or answer.status != status:
                    faults.append(f"{what}: {answer}"[:400])
                elif status >= 400:
                    document = json.loads(answer.body)
                    assert answer.headers["content-type"] == "application/problem+json"
                    assert document["status"] == status
                    assert len(answer.body) < 20_000, f"{what}: its own words come back at length"
        return faults

    with unharmed(server, memory=8 * 10 * MAX_BODY_BYTES, p99=2 * CROWD_P99_SECONDS) as others:
        assert not set(itertools.chain.from_iterable(at_once(8, send)))
        if status == 200:
            others["colours"] += 8 * len(bodies)


def test_of_two_equal_keys_the_last_counts(server: Server) -> None:
    query = make_query(random.Random(1), "price", 1)
    row = json.loads(query.body)["instances"][0]
    cells = {"area": row[0], "rooms": row[1]}
    twice = b'{"instances":[[1,2,3]],"model":"nobody","model":"price","instances":[{"rooms":99,"area":%r,"rooms":%r}]}'
    body = twice.replace(b"%r", b"%f") % (cells["area"], cells["rooms"])

    async def send(_: int) -> RawAnswer | None:
        async with await RawStream.connect(server.port) as stream:
            await stream.send(post(body))
            return await stream.answer()

    for answer in at_once(10, send):
        assert answer is not None
        assert answer.status == 200, answer.body
        assert query.fault_in(answer.body) is None


def test_a_pipelined_flood_is_answered_in_order_and_read_no_faster_than_it_reads(server: Server) -> None:
    rng = random.Random(2)
    queries = [make_query(rng, "price", 1) for _ in range(50)]
    requests, each = [post(query.body) for query in queries], 5_000

    async def flood(_: int) -> int:
        stream = await _thrifty_stream(server.port)
        async with stream:
            stream.pause()
            progress = 0

            async def feed() -> None:
                nonlocal progress
                for n in range(each):
                    assert await stream.send(requests[n % len(requests)])
                    progress += 1

            feeding = asyncio.create_task(feed())
            while not feeding.done():  # until the server stops reading, or the kernel's buffers have taken everything
                before = progress
                await asyncio.sleep(1.0)
                if progress == before:
                    break
            stream.resume()
            for n in range(each):
                answer = await stream.answer()
                assert answer is not None
                assert answer.status == 200
                assert queries[n % len(queries)].fault_in(answer.body) is None
            await feeding
            return each

    with unharmed(server, p99=2 * CROWD_P99_SECONDS) as others:
        others["price"] += sum(at_once(8, flood))


def test_clients_that_do_not_read_hold_little_memory(server: Server) -> None:
    query = make_query(random.Random(3), "colours", 400)  # the answer has about 30 kB
    request = post(query.body)

    async def greedy(_: int) -> None:
        stream = await _thrifty_stream(server.port)
        async with stream:
            stream.pause()
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(_feed(stream, request, 200))
                await asyncio.wait([feeding], timeout=5)
                feeding.cancel()

    before = Footprint.of(server)
    with PeakMemory(server.api_pids()) as peak:
        at_once(100, greedy)
        assert peak.growth() < 100 * MIB / 4 + 64 * MIB
    wait_for_footprint(server, before)


async def _feed(stream: RawStream, request: bytes, times: int) -> None:
    for _ in range(times):
        if not await stream.send(request):
            return


async def _thrifty_stream(port: int) -> RawStream:
    """Opens a connection with a tiny receive buffer, so that answers pile up on the server's side."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return RawStream(*await asyncio.open_connection(sock=raw))


def test_clients_that_reset_their_connections_leave_nothing(server: Server) -> None:
    whole = post(PRICE)
    pieces = [b"", whole[:20], whole[:-5], whole, whole * 3, chunked(PRICE[:10]), get("/metrics"), get("/openapi.json")]

    async def leave(n: int) -> None:
        async with await RawStream.connect(server.port) as stream:
            await stream.send(pieces[n % len(pieces)])
            await asyncio.sleep(n % 5 / 100)  # before, during and after the work on the request

    before, counts = Footprint.of(server), metric_sum(server, "axon_queue_rows")
    with Crowd(server, pause_seconds=0.05) as crowd:
        for _ in range(5):
            at_once(400, leave)
        report = crowd.stop()
    report.check()
    assert report.percentile(99) < CROWD_P99_SECONDS, str(report)
    wait_for_footprint(server, before)
    wait_until(lambda: metric_sum(server, "axon_queue_rows") == counts)
    assert "Traceback" not in server.log(), server.log()


def test_many_large_bodies_that_never_end_do_not_fill_the_memory(server: Server) -> None:
    almost = post(b" " * (MAX_BODY_BYTES - 1), length=MAX_BODY_BYTES)

    async def hold(_: int) -> RawAnswer | None:
        async with await RawStream.connect(server.port) as stream:
            await stream.send(almost)
            answer = await stream.answer()
            await stream.ended()
            return answer

    # AXON_MAX_BUFFERED_BYTES, and an eighth more, by which a growing buffer may exceed its content.
    with unharmed(server, memory=512 * MIB * 9 // 8 + 96 * MIB, p99=2 * CROWD_P99_SECONDS):
        statuses = Counter(answer.status if answer is not None else 0 for answer in at_once(400, hold))
    assert set(statuses) <= {0, 408, 429, 503}, statuses


def test_10000_idle_connections_and_those_beyond_get_503(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, header_seconds=300, idle_seconds=300, max_connections=MAX_CONNECTIONS) as server:
        before = warm_up(server)
        with PeakMemory(server.api_pids()) as peak, Crowd(server, pause_seconds=0.05) as crowd:
            crowd.warm()
            open_, refused = asyncio.run(_idle(server, MAX_CONNECTIONS + 500, crowd))
            crowd.warm()
            report, grown = crowd.stop(), peak.growth()
        print(f"{report}  {open_} idle, {refused} refused, {grown / MIB:.0f} MiB")  # noqa: T201
        report.check()
        assert report.percentile(99) < 2 * CROWD_P99_SECONDS, str(report)
        assert MAX_CONNECTIONS - 200 <= open_ <= MAX_CONNECTIONS
        assert refused == MAX_CONNECTIONS + 500 - open_
        assert grown < MAX_CONNECTIONS * 32 * 1024
        wait_until(lambda: http_get(f"{server.url}/health/live").status_code == 200)
        wait_for_footprint(server, before)


async def _idle(server: Server, n: int, crowd: Crowd) -> tuple[int, int]:
    """Opens connections, of which half send a request first.

    Returns:
        The number of connections that stayed open, and the number that got 503.
    """
    gate = asyncio.Semaphore(100)
    streams: list[RawStream] = []
    refused = 0

    async def open_one(i: int) -> None:
        nonlocal refused
        async with gate:
            stream = await RawStream.connect(server.port, f"127.0.0.{1 + i % 4}")
            streams.append(stream)
            if i % 2 or i >= MAX_CONNECTIONS - 200:
                await stream.send(get("/models"))  # a probe would be answered even beyond the limit
                answer = await stream.answer()
                if answer is None or answer.status == 503:
                    assert answer is None or answer.headers["connection"] == "close"
                    await stream.ended()
                    refused += 1
                else:
                    assert answer.status == 200

    await asyncio.gather(*(open_one(i) for i in range(n)))
    crowd_answers = crowd.report.answers
    while crowd.report.answers < crowd_answers + 5_000:  # the crowd works on beside the idle connections
        await asyncio.sleep(0.05)
    open_ = sum(stream.open for stream in streams)
    for stream in streams:
        stream.abort()
    return open_, refused


def test_a_server_out_of_descriptors_serves_those_it_has(store: Store, tmp_path: Path) -> None:
    server = Server(store.root, tmp_path, header_seconds=300, idle_seconds=300)
    try:
        server.start(prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh"))
        before = warm_up(server)
        with Crowd(server, pause_seconds=0.05) as crowd:
            crowd.warm()

            async def crowd_out() -> None:
                streams = await asyncio.gather(*(RawStream.connect(server.port) for _ in range(500)))
                answers = crowd.report.answers
                while crowd.report.answers < answers + 3_000:
                    await asyncio.sleep(0.05)
                for stream in streams:
                    stream.abort()

            asyncio.run(crowd_out())
            crowd.warm()
            report = crowd.stop()
        report.check()
        wait_until(server.ready, server.log)
        wait_for_footprint(server, before)
        wait_until(lambda: not http_get(f"{server.url}/models").json()["problems"])
        assert len(server.log()) < 100_000
        server.stop()
    finally:
        server.kill()


def test_a_query_is_what_the_crowd_takes_it_for() -> None:
    """Tests the check that all other tests rely on: a wrong answer is detected."""
    query: Query = make_query(random.Random(5), "price", 2)
    document = {"model": "price", "version": 1, "predictions": [1.0, 2.0]}
    assert query.fault_in(json.dumps(document).encode()) is not None
