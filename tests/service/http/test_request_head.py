"""Heads that HTTP does not allow, by RFC 9112: the right status, then the connection closes."""

from __future__ import annotations

import pytest
from echo_service import Service, get, post, read, wait_until

ROUTES = [b"POST /echo", b"GET /other"]


def ask(service: Service, route: bytes, *lines: bytes, version: bytes = b"1.1", body: bytes = b"") -> bytes:
    return service.exchange(
        b"\r\n".join([route + b" HTTP/" + version, *lines, b"", body]),
        None if version == b"1.0" else lambda data: b"\r\n\r\n" in data,
    )


def refused(received: bytes, status: int) -> bool:
    return received.startswith(b"HTTP/1.1 %d" % status) and received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"Host: a", b"Host: b"),
        (b"Host: a", b"Host: a"),
        (b"Host: a", b"X: y", b"hOST:"),
        (b"Host: a b",),
        (b"Host: a,b:x",),
        (b"Host: a/b",),
        (b"Host: user@a",),
        (b"Host: a\xc3\xa9",),
        (b"Host: [::1",),
        (b"Host: a:80:80",),
    ],
)
def test_no_host_two_hosts_or_what_is_no_host_is_400(service: Service, route: bytes, lines: tuple[bytes, ...]) -> None:
    sound = post(b"<sound>")
    received = service.exchange(sound + b"\r\n".join([route + b" HTTP/1.1", *lines, b"", b""]) + sound)
    first, _, second = received.partition(b"<sound>")
    assert first.startswith(b"HTTP/1.1 200")
    assert refused(second, 400)
    assert b"connection: close" in second


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "host", [b"", b"x", b"a.b-c_d.example:8000", b"127.0.0.1:1", b"[::1]:80", b"[fe80::1]", b"a%20b", b"x:"]
)
def test_a_host_is_taken(service: Service, route: bytes, host: bytes) -> None:
    assert ask(service, route, b"Host: " + host, b"Content-Length: 0").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("route", ROUTES)
def test_http_1_0_needs_no_host_and_may_not_have_two(service: Service, route: bytes) -> None:
    assert ask(service, route, b"Content-Length: 0", version=b"1.0").startswith(b"HTTP/1.1 200")
    assert refused(ask(service, route, b"Host: a", b"Host: b", version=b"1.0"), 400)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("codings", "status"),
    [
        ((b"gzip, chunked",), 501),
        ((b"gzip", b"chunked"), 501),
        ((b"foo , Chunked",), 501),
        ((b"identity, chunked",), 501),
        ((b"gzip",), 400),  # RFC 9112, 6.3: the end of the body is unknown
        ((b"xchunked",), 400),
        ((b"chunked, gzip",), 400),
        ((b"chunked, chunked",), 400),
        ((b"chunked", b"chunked"), 400),
        ((b"",), 400),
    ],
)
def test_a_transfer_coding_that_is_not_read_is_501(
    service: Service, route: bytes, codings: tuple[bytes, ...], status: int
) -> None:
    lines = [b"Transfer-Encoding: " + coding for coding in codings]
    body = b"5\r\nhello\r\n0\r\n\r\n" + post(b"smuggled")
    assert refused(service.exchange(b"\r\n".join([route + b" HTTP/1.1", b"Host: x", *lines, b"", body])), status)
    assert service.app.echo.begun == 0


def test_chunks_are_read_and_http_1_0_has_none(service: Service) -> None:
    lines = [b"Host: x", b"Transfer-Encoding: Chunked", b"", b"5\r\nhello\r\n0\r\n\r\n"]
    head = b"\r\n".join([b"POST /echo HTTP/1.1", *lines])
    assert service.exchange(head, lambda data: data.endswith(b"hello")).startswith(b"HTTP/1.1 200")
    assert refused(service.exchange(head.replace(b"1.1", b"1.0", 1)), 400)


def test_a_length_beside_chunks_is_400(service: Service) -> None:
    for lines in ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], [b"Content-Length: 5", b"Content-Length: 5"]):
        for order in (lines, lines[::-1]):
            request = b"\r\n".join([b"POST /echo HTTP/1.1", b"Host: x", *order, b"", b"5\r\nhello\r\n0\r\n\r\n"])
            assert refused(service.exchange(request), 400)


def test_a_client_that_waits_behind_others_is_asked_for_its_body_when_its_turn_comes(service: Service) -> None:
    service.app.echo.holds = True
    head, _, _ = post(b"hello", b"Expect: 100-continue").partition(b"\r\n\r\n")
    with service.connect() as stream:
        stream.sendall(post(b"first") + get(b"/second") + head + b"\r\n\r\n")
        wait_until(lambda: bool(service.app.echo.held))
        service.release()
        received = read(stream, lambda data: data.endswith(b"100 Continue\r\n\r\n"))
        assert received.count(b"HTTP/1.1 200") == 2
        stream.sendall(b"hello")
        wait_until(lambda: bool(service.app.echo.held))
        service.release()
        assert read(stream, lambda data: data.endswith(b"hello")).startswith(b"HTTP/1.1 200")


def test_a_client_is_not_asked_for_a_body_that_is_not_wanted_or_has_come(service: Service) -> None:
    head, _, _ = post(b"hello", b"Expect: 100-continue", b"X-Refuse: 1").partition(b"\r\n\r\n")
    until = lambda data: data.endswith(b"refused")  # noqa: E731
    assert service.exchange(head + b"\r\n\r\n", until).startswith(b"HTTP/1.1 403")
    service.app.echo.holds = True
    with service.connect() as stream:
        stream.sendall(post(b"first") + post(b"hello", b"Expect: 100-continue", close=True))
        for _ in range(2):
            wait_until(lambda: bool(service.app.echo.held))
            service.release()
        assert b"100 Continue" not in read(stream)


def test_http_1_0_is_not_asked_for_its_body(service: Service) -> None:
    request = b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
    assert service.exchange(request).startswith(b"HTTP/1.1 200")
