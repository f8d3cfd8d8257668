"""A client that half-closes its connection and still reads: its requests are answered, then the connection closes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest
from echo_service import Service, get, post, read, wait_until


def half_closed(service: Service, data: bytes) -> socket.socket:
    """Opens a connection, sends bytes, and half-closes the connection."""
    stream = service.connect()
    stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)
    return stream


@pytest.mark.parametrize("request_", [post(b"hello"), post(b"hello", close=True), get(b"/hello")])
def test_its_request_is_answered_and_the_connection_closes(service: Service, request_: bytes) -> None:
    with half_closed(service, request_) as stream:
        received = read(stream)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"hello")
    wait_until(lambda: not service.server.server_state.connections)


def test_its_pipeline_of_both_ways_is_answered_in_order(service: Service) -> None:
    requests = [post(b"<%d>" % i) if i % 3 else get(b"/<%d>" % i) for i in range(40)]
    with half_closed(service, b"".join(requests)) as stream:
        received = read(stream)
    assert [int(part.partition(b">")[0]) for part in received.split(b"<")[1:]] == list(range(40))


def test_an_answer_that_takes_its_time_is_sent_all_the_same(service: Service) -> None:
    service.app.echo.holds = True
    with half_closed(service, post(b"first") + post(b"second")) as stream:
        for _ in range(2):
            wait_until(lambda: bool(service.app.echo.held))
            assert not service.app.echo.held[0].disconnected
            service.release()
        received = read(stream)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.endswith(b"second")
    assert received.count(b"connection: close") == 1


@pytest.mark.slow
def test_an_answer_that_takes_long_comes_behind_an_interim_one_at_most(service: Service) -> None:
    # By the interim answer, the server finds out if the client still reads.
    service.app.echo.holds = True
    with half_closed(service, post(b"hello")) as stream:
        wait_until(lambda: bool(service.app.echo.held))
        assert read(stream, lambda data: data.endswith(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        time.sleep(1.5)  # a few sweeps of the watch
        assert not service.app.echo.held[0].disconnected
        service.release()
        assert read(stream).startswith(b"HTTP/1.1 200")


def test_a_large_answer_is_sent_whole_to_a_client_that_reads_slowly(service: Service) -> None:
    service.app.echo.repeats = 4_000_000
    with half_closed(service, post(b"hello")) as stream:
        time.sleep(0.5)
        received = read(stream)
    assert len(received) > 20_000_000


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", b""),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nConte", b""),
        (post(b"hello")[:-1], b"HTTP/1.1 400"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"HTTP/1.1 400"),
        (post(b"hello", b"X-Refuse: 1")[:-1], b"HTTP/1.1 403"),
    ],
)
def test_what_is_no_whole_request_ends_the_connection(service: Service, data: bytes, status: bytes) -> None:
    with half_closed(service, data) as stream:
        received = read(stream)
    assert received.startswith(status)
    assert received.count(b"HTTP/1.1") == bool(status)
    wait_until(lambda: not service.server.server_state.connections)
    assert service.app.watch.buffered_bytes == 0


def test_a_request_in_part_behind_one_in_hand_does_not_cost_it_its_answer(service: Service) -> None:
    service.app.echo.holds = True
    for rest in (post(b"second")[:-1], post(b"second")[:20]):
        with half_closed(service, post(b"first") + rest) as stream:
            wait_until(lambda: bool(service.app.echo.held))
            service.release()
            received = read(stream)
        assert b"\r\n\r\nfirst" in received
        assert b"\r\n\r\nsecond" not in received


def test_an_idle_one_is_closed(service: Service) -> None:
    with service.connect() as stream:
        stream.sendall(post(b"hello"))
        read(stream, lambda data: data.endswith(b"hello"))
        stream.shutdown(socket.SHUT_WR)
        assert read(stream) == b""


def test_one_that_does_not_read_its_answer_is_let_go(make_service: Callable[..., Service]) -> None:
    service = make_service(idle_seconds=0.3)
    service.app.echo.repeats = 4_000_000
    with half_closed(service, post(b"hello")):
        wait_until(lambda: service.app.echo.begun == 1)
        wait_until(lambda: not service.server.server_state.connections)
