"""Compressed bodies: decompressed within the limits, and never at the cost of other requests."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from echo_service import Service, get, post, read, wait_until

from service.http.inflater import STEP_BYTES, Inflater

TEXT = b"".join(b'{"row":%d,"value":%.3f},' % (i, i * 0.37) for i in range(20_000))  # 500 KB


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


ENCODED = {
    b"gzip": gzip.compress(TEXT),
    b"GZip": gzip.compress(TEXT, 1),
    b"x-gzip": gzip.compress(TEXT[:1000]) + gzip.compress(b"") + gzip.compress(TEXT[1000:]),
    b"deflate": zlib.compress(TEXT),
    b"Deflate": raw_deflate(TEXT),
    b"identity": TEXT,
    b"": TEXT,
    b"identity, gzip": gzip.compress(TEXT),
}


def chunked(body: bytes, size: int, *headers: bytes) -> bytes:
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return b"\r\n".join([b"POST /echo HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", *headers, b"", encoded])


@pytest.mark.parametrize("coding", ENCODED)
def test_it_is_what_it_was(service: Service, coding: bytes) -> None:
    header = b"Content-Encoding: " + coding
    body = ENCODED[coding]
    requests = post(body, header) + post(b"<plain>") + chunked(body, 1000, header)
    received = service.exchange(requests, lambda data: data.count(TEXT) == 2)
    assert received.count(b"HTTP/1.1 200") == 3
    assert b"\r\n\r\n<plain>HTTP/1.1 200" in received
    wait_until(lambda: service.app.watch.buffered_bytes == 0)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"Deflate"])
def test_it_may_come_byte_by_byte(service: Service, coding: bytes) -> None:
    body = {b"gzip": gzip.compress, b"deflate": zlib.compress, b"Deflate": raw_deflate}[coding](b"hello " * 50)
    request = chunked(body, 1, b"Content-Encoding: " + coding)
    assert service.exchange(request, lambda data: data.endswith(b"hello " * 50)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"gzip, br", b"compress", b"aws-chunked"])
def test_another_coding_is_415_and_told_what_is_read(service: Service, coding: bytes) -> None:
    received = service.exchange(post(b"hello", b"Content-Encoding: " + coding))
    assert received.endswith(b"unsupported-media-type")
    twice = [b"Content-Encoding: gzip", b"Content-Encoding: gzip"]
    assert service.exchange(post(b"hello", *twice)).endswith(b"unsupported-media-type")


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"",
        gzip.compress(TEXT)[:-1],
        gzip.compress(TEXT)[:-8] + bytes(8),  # a wrong checksum
        gzip.compress(TEXT) + b"hello",
        zlib.compress(TEXT),
    ],
)
def test_what_is_not_of_its_coding_is_422(service: Service, body: bytes) -> None:
    assert service.exchange(post(body, b"Content-Encoding: gzip")).endswith(b"invalid-request")
    assert service.exchange(chunked(body, 500, b"Content-Encoding: gzip")).endswith(b"invalid-request")
    wait_until(lambda: service.app.watch.buffered_bytes == 0)


def test_what_follows_a_deflate_stream_or_cuts_it_short_is_422(service: Service) -> None:
    for compressed in (zlib.compress(TEXT), raw_deflate(TEXT)):
        for body in (compressed + b"x", compressed[:-1], b"\x78", b""):
            assert service.exchange(post(body, b"Content-Encoding: deflate")).endswith(b"invalid-request")


@pytest.mark.parametrize("limit", [100_000, 1_000_000])
def test_the_limit_holds_for_what_it_becomes(make_service: Callable[..., Service], limit: int) -> None:
    service = make_service(max_body_bytes=limit)
    exact = gzip.compress(b"x" * limit)
    received = service.exchange(post(exact, b"Content-Encoding: gzip"), lambda data: data.endswith(b"x" * limit))
    assert received.startswith(b"HTTP/1.1 200")
    for body in (gzip.compress(b"x" * (limit + 1)), gzip.compress(bytes(50 * limit))):
        assert service.exchange(post(body, b"Content-Encoding: gzip")).endswith(b"too-large")
    wait_until(lambda: service.app.watch.buffered_bytes == 0)


def test_the_limit_holds_for_what_was_sent_and_becomes_nothing(make_service: Callable[..., Service]) -> None:
    service = make_service(max_body_bytes=100_000)
    nothing = gzip.compress(b"") * 6_000
    assert service.exchange(chunked(nothing, 4096, b"Content-Encoding: gzip")).endswith(b"too-large")


def test_bombs_of_many_clients_hold_up_nobody(make_service: Callable[..., Service]) -> None:
    # The steps of all connections take turns, so another request waits for a few steps, not for whole bodies.
    limit = 8 << 20
    service = make_service(max_body_bytes=limit, max_buffered_bytes=1 << 30)
    bombs = [gzip.compress(bytes(limit - 1)), gzip.compress(b"") * 20_000]  # a large one, and many empty members
    streams = [service.connect() for _ in range(8)]
    try:
        for i, stream in enumerate(streams):
            stream.sendall(post(bombs[i % 2], b"Content-Encoding: gzip")[:-1])  # without an end, so without an answer
        wait_until(lambda: bool(service.app.watch.inflations._waiting))
        answered = 0
        with service.connect() as other:
            while service.app.watch.inflations._waiting:
                other.sendall(get(b"/<x>"))
                read(other, lambda data: data.endswith(b"<x>"))
                answered += 1
    finally:
        for stream in streams:
            stream.close()
    assert answered > 12, "while the eight bodies were inflated"


@pytest.mark.parametrize("member", [bytes(50 << 20), b"", b"ab"], ids=["a bomb", "of nothing", "of two bytes"])
def test_a_step_is_bounded_whatever_it_inflates(member: bytes) -> None:
    packed = gzip.compress(member)
    body = (packed * (1 + (1 << 16) // len(packed)))[: 1 << 16]
    inflater = Inflater("gzip")
    inflater.feed(body)
    more = True
    while more:
        before = inflater.pending_bytes
        data, more = inflater.step()
        assert len(data) <= STEP_BYTES
        members_begun = (before - inflater.pending_bytes) / len(packed)
        assert members_begun <= 32
    assert inflater.pending_bytes == 0
