"""Compressed answers: small ones on the event loop, large ones in a thread, while other requests are answered."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from echo_service import Service, get, post, read, wait_until

from service.http import exchange
from service.http.compressed_answers import WithCompression
from service.http.compression import (
    THREAD_BYTES,
    TURN_BYTES,
    WORTH_BYTES,
    CompressionBudget,
    CompressionQueue,
    accepted_coding,
    compress,
)

GZIP = b"Accept-Encoding: gzip"
DIGITS = b"".join(b"%.7f," % (i * 0.37) for i in range(100_000))


@pytest.mark.parametrize("size", [WORTH_BYTES - 1, WORTH_BYTES, THREAD_BYTES - 1, THREAD_BYTES, 1_000_000])
def test_an_answer_is_compressed_from_some_size_on(service: Service, size: int) -> None:
    head, _, body = service.exchange(post(DIGITS[:size], GZIP, close=True)).partition(b"\r\n\r\n")
    assert (b"\r\ncontent-encoding: gzip" in head) == (size >= WORTH_BYTES)
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert (gzip.decompress(body) if size >= WORTH_BYTES else body) == DIGITS[:size]


def test_a_large_answer_holds_up_nobody_and_keeps_its_place(make_service: Callable[..., Service]) -> None:
    service = make_service(max_body_bytes=1 << 25, max_buffered_bytes=1 << 28)
    service.app.echo.repeats = 20
    answered = 0
    with service.connect() as large, service.connect() as other:
        large.sendall(post(DIGITS, GZIP) + get(b"/next") + post(b"<end>", close=True))
        wait_until(lambda: service.app.echo.begun == 1)
        large.setblocking(False)
        while not _has_come(large):
            other.sendall(get(b"/<x>"))
            read(other, lambda data: data.endswith(b"<x>"))
            answered += 1
        large.settimeout(20)
        received = read(large)
    head, _, rest = received.partition(b"\r\n\r\n")
    packed, _, after = rest.partition(b"HTTP/1.1 200 OK")
    assert gzip.decompress(packed) == DIGITS * 20
    assert after.endswith(b"<end>" * 20)
    assert b"/next" in after
    assert b"content-encoding: gzip" in head
    assert answered > 3, "others were answered while it was compressed"


def test_of_many_answers_at_once_a_few_are_compressed_on_the_loop(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A thread compresses the others, and each connection's answers keep their order.
    on_loop, size = [0], THREAD_BYTES - 1
    monkeypatch.setattr(exchange, "compress", _counted(on_loop, lambda: threading.get_ident() == service.thread.ident))
    service.app.echo.holds = True
    streams = [service.connect() for _ in range(30)]
    for stream in streams:
        stream.sendall(post(DIGITS[:size], GZIP) + post(b"<end>", close=True))
    wait_until(lambda: len(service.app.echo.held) == len(streams))
    service.app.echo.holds = False
    service.release()
    for stream in streams:
        head, _, rest = read(stream).partition(b"\r\n\r\n")
        packed, _, after = rest.partition(b"HTTP/1.1 200 OK")
        assert b"content-encoding: gzip" in head
        assert gzip.decompress(packed) == DIGITS[:size]
        assert after.endswith(b"\r\n\r\n<end>")
        stream.close()
    assert 0 < on_loop[0] * size <= TURN_BYTES
    again = service.exchange(post(DIGITS[:size], GZIP, close=True))
    assert gzip.decompress(again.partition(b"\r\n\r\n")[2]) == DIGITS[:size]
    assert on_loop[0] * size > TURN_BYTES - size, "another turn has a budget of its own"


def _counted(count: list[int], counts: Callable[[], bool]) -> Callable[..., bytes]:
    def counted(body: bytes, coding: bytes) -> bytes:
        count[0] += counts()
        return compress(body, coding)

    return counted


def test_asgi_answers_share_the_budget() -> None:
    # Answers of the framework's routes are also compressed in a thread once many come at once.
    on_loop = [0]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": DIGITS[:60_000]})

    async def ask(wrapped: WithCompression) -> bytes:
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)

        scope = {"type": "http", "http_version": "1.1", "headers": [(b"accept-encoding", b"gzip")]}
        await wrapped(scope, send, send)  # type: ignore[arg-type]
        return bytes(messages[1]["body"])

    async def run() -> list[bytes]:
        budget = CompressionBudget()
        take = budget.take

        def counted(size: int) -> bool:
            taken = take(size)
            on_loop[0] += taken
            return taken

        budget.take = counted  # type: ignore[method-assign]
        wrapped = WithCompression(app, budget)
        return await asyncio.gather(*(ask(wrapped) for _ in range(20)))

    assert [gzip.decompress(body) for body in asyncio.run(run())] == [DIGITS[:60_000]] * 20
    assert on_loop == [TURN_BYTES // 60_000]


def _has_come(stream: object) -> bool:
    try:
        return bool(stream.recv(1, 2))  # type: ignore[attr-defined]  # 2: MSG_PEEK
    except BlockingIOError:
        return False


def test_a_client_that_leaves_while_its_answer_is_compressed_harms_nothing(service: Service) -> None:
    service.app.echo.repeats = 20
    for _ in range(5):
        with service.connect() as stream:
            stream.sendall(post(DIGITS[:900_000], GZIP))
    wait_until(lambda: service.app.echo.begun == 5)
    wait_until(lambda: not service.server.server_state.connections)
    assert service.app.watch.buffered_bytes == 0


@pytest.mark.parametrize(
    ("asked", "coding"),
    [
        (b"", None), (b"gzip", b"gzip"), (b"deflate", b"deflate"), (b"deflate, gzip", b"gzip"), (b"br", None),
        (b"*", b"gzip"), (b"*;q=0", None), (b"gzip;q=0", None), (b"gzip; Q=0.000", None), (b"x-gzip", b"gzip"),
        (b"gzip;q=x", None), (b"gzip;q=0.1, deflate;q=0.2", b"deflate"), (b"identity", None), (b",,", None),
        (b"br\ngzip", b"gzip"), (b"gzip;q=0.5, identity;q=0.9", None), (b"gzip, identity", b"gzip"), (b";q=1", None),
    ],
)  # fmt: skip
def test_what_is_asked_for(asked: bytes, coding: bytes | None) -> None:
    assert accepted_coding(asked) == coding


def test_an_answer_that_cannot_be_sent_keeps_no_other_from_its_client() -> None:
    bodies = [DIGITS[: THREAD_BYTES - 5_000 + 100 * size] for size in range(100)]
    sent: list[bytes | None] = []

    def finish(compressed: bytes | None) -> None:
        sent.append(compressed)
        if len(sent) % 3 == 0:
            raise BrokenPipeError

    async def run() -> None:
        queue = CompressionQueue()
        for body in bodies:
            queue.add(body, b"gzip", finish)
        queue.add(cast(bytes, "no bytes"), b"gzip", finish)
        async with asyncio.timeout(30):
            while len(sent) <= len(bodies):
                await asyncio.sleep(0.001)

    asyncio.run(run())
    assert sent.count(None) == 1, "what cannot be compressed is handed back as such"
    assert sorted(len(gzip.decompress(body)) for body in sent if body is not None) == sorted(map(len, bodies))
