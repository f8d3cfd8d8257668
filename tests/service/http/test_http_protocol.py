"""Requests of one connection: the direct path and ASGI side by side, and the limits of a client."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable

import pytest
from echo_service import Service, get, post, read, wait_until

from service.http.protocol import MAX_HEAD_BYTES


def test_an_answer_has_the_head_that_http_asks_for(service: Service) -> None:
    head, _, body = service.exchange(post(b"hello", close=True)).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    assert status == b"HTTP/1.1 200 OK"
    fields = dict(line.split(b": ", 1) for line in lines)
    assert fields.pop(b"date").endswith(b" GMT")
    assert fields == {
        b"server": b"uvicorn",
        b"content-type": b"text/plain",
        b"x-content-type-options": b"nosniff",
        b"x-request-id": b"id",
        b"vary": b"accept-encoding",
        b"content-length": b"5",
        b"connection": b"close",
    }
    assert body == b"hello"


@pytest.mark.parametrize("target", [b"/echo?x=1", b"http://host/echo", b"/%65cho", b"/echo#part"])
def test_every_way_of_writing_the_path_is_the_direct_one(service: Service, target: bytes) -> None:
    assert service.exchange(post(b"hello", path=target, close=True)).endswith(b"\r\n\r\nhello")
    assert service.app.echo.begun == 1


def test_a_body_may_come_in_any_pieces(service: Service) -> None:
    chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = post(b"hello") + chunked + b"".join(b"1\r\n%c\r\n" % c for c in b"world") + b"0\r\n\r\n"
    with service.connect() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            stream.sendall(bytes([byte]))
        received = read(stream, lambda data: data.endswith(b"world"))
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\nhello" in received


def test_pipelined_requests_of_both_ways_are_answered_in_their_order(service: Service) -> None:
    requests = [post(b"<%d>" % i) if i % 3 else get(b"/<%d>" % i) for i in range(60)]
    received = service.exchange(b"".join(requests), lambda data: b"<59>" in data)
    assert [int(part.partition(b">")[0]) for part in received.split(b"<")[1:]] == list(range(60))


def test_one_request_of_a_connection_is_handled_at_a_time(service: Service) -> None:
    echo = service.app.echo
    echo.holds = True
    with service.connect() as stream:
        stream.sendall(b"".join(post(b"<%d>" % i) for i in range(5)))
        for i in range(5):
            wait_until(lambda: bool(echo.held))
            assert len(echo.held) == 1
            assert echo.begun == i + 1
            service.release()
            read(stream, lambda data, i=i: data.endswith(b"<%d>" % i))  # type: ignore[misc]


def test_a_body_whose_head_waited_in_the_pipeline_is_read_when_its_turn_comes(service: Service) -> None:
    service.app.echo.holds = True
    second = post(b"y" * 500_000, close=True)
    with service.connect() as stream:
        stream.sendall(post(b"first") + second[:200])
        wait_until(lambda: bool(service.app.echo.held))
        sender = threading.Thread(target=stream.sendall, args=(second[200:],))
        sender.start()
        service.release()
        wait_until(lambda: bool(service.app.echo.held) and len(service.app.echo.held[0].body) == 500_000)
        service.release()
        assert read(stream).endswith(b"\r\n\r\n" + b"y" * 500_000)
        sender.join()


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(service: Service) -> None:
    with service.connect() as stream:
        head, _, body = post(b"hello", b"Expect: 100-continue", close=True).partition(b"\r\n\r\n")
        stream.sendall(head + b"\r\n\r\n")
        assert read(stream, lambda data: data.endswith(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(body)
        assert read(stream).endswith(b"\r\n\r\nhello")


UPGRADE = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"]


def test_a_request_that_would_upgrade_is_answered_as_if_it_had_not_asked(service: Service) -> None:
    requests = post(b"hello", *UPGRADE) + post(b"there") + get(b"/<1>") + post(b"world", *UPGRADE) + post(b"end")
    for size in (len(requests), 1, 7):
        with service.connect() as stream:
            for at in range(0, len(requests), size):
                stream.sendall(requests[at : at + size])
            received = read(stream, lambda data: data.endswith(b"end"))
        bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
        assert bodies == [b"hello", b"there", b"/<1>", b"world", b"end"]


def test_a_tunnel_is_400(service: Service) -> None:
    assert service.exchange(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_request_refused_by_its_head_is_answered_before_its_body_and_the_connection_goes_on(service: Service) -> None:
    with service.connect() as stream:
        request = post(b"x" * 10_000, b"X-Refuse: 1")
        stream.sendall(request[:200])
        assert read(stream, lambda data: data.endswith(b"refused")).startswith(b"HTTP/1.1 403")
        stream.sendall(request[200:] + post(b"hello", close=True))
        assert read(stream).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_ends_the_connection_with_413(
    make_service: Callable[..., Service], chunked: bool
) -> None:
    service = make_service(max_body_bytes=1000)
    body = b"x" * 1001
    if chunked:
        request = (
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + body + b"\r\n0\r\n\r\n"
        )
    else:
        request = post(body)
    assert service.exchange(post(b"y" * 1000) + request).endswith(b"too-large")
    assert service.app.watch.buffered_bytes == 0


def test_bodies_together_are_limited_too(make_service: Callable[..., Service]) -> None:
    size = 20_000
    service = make_service(max_buffered_bytes=30_000)
    with service.connect() as first:
        first.sendall(post(b"x" * size)[:-1])
        wait_until(lambda: service.app.watch.buffered_bytes == size - 1)
        assert service.exchange(post(b"y" * size)).startswith(b"HTTP/1.1 503")
        small = b"y" * 12_000
        assert service.exchange(post(small, close=True)).endswith(small), "whose sender is not whom it is against"
        first.sendall(b"x")
        read(first, lambda data: data.endswith(b"x" * size))
        assert service.app.watch.buffered_bytes == 0
        first.sendall(post(b"x" * size)[:-1])
        wait_until(lambda: service.app.watch.buffered_bytes == size - 1)
    wait_until(lambda: service.app.watch.buffered_bytes == 0)


def test_a_head_without_an_end_is_431(service: Service) -> None:
    for endless in (b"POST /echo HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, b"\r\n" * MAX_HEAD_BYTES):
        assert service.exchange(endless).startswith(b"HTTP/1.1 431")


def test_a_head_without_an_end_behind_a_request_in_hand_is_431_after_its_answer(service: Service) -> None:
    service.app.echo.holds = True
    with service.connect() as stream:
        stream.sendall(post(b"hello"))
        wait_until(lambda: bool(service.app.echo.held))
        stream.sendall(b"POST /echo HTTP/1.1\r\nX: " + b"x" * 4 * MAX_HEAD_BYTES)
        [connection] = service.app.watch._connections
        wait_until(lambda: connection._final_problem is not None)  # type: ignore[attr-defined]
        service.release()
        received = read(stream)
    assert received.count(b"HTTP/1.1 ") == 2
    assert b"\r\n\r\nhelloHTTP/1.1 431" in received


def test_what_came_in_one_piece_with_a_refused_body_is_no_request(make_service: Callable[..., Service]) -> None:
    service = make_service(max_body_bytes=1000)
    chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = service.exchange(chunked + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n" + post(b"next") + get(b"/more"))
    assert received.endswith(b"too-large")
    assert service.app.echo.begun == 1


@pytest.mark.parametrize(
    "junk", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST /echo HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_not_http_is_400_and_the_connection_closes(service: Service, junk: bytes) -> None:
    received = service.exchange(junk)
    assert received.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in received


def test_two_lengths_or_a_length_and_chunks_are_refused(service: Service) -> None:
    for smuggled in (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        assert service.exchange(smuggled).startswith(b"HTTP/1.1 400"), smuggled


def test_slow_clients_are_let_go(make_service: Callable[..., Service]) -> None:
    service = make_service(header_seconds=0.3, body_seconds=0.3, idle_seconds=0.3)
    with service.connect() as silent, service.connect() as head, service.connect() as body, service.connect() as idle:
        head.sendall(b"POST /echo HTTP/1.1\r\n")
        body.sendall(post(b"hello")[:-1])
        idle.sendall(post(b"hello"))
        assert read(silent) == b""
        assert read(head).startswith(b"HTTP/1.1 408")
        assert read(body).endswith(b"request-timeout")
        assert read(idle).endswith(b"hello")
    wait_until(lambda: not service.server.server_state.connections)


def test_a_body_that_has_come_and_was_not_read_is_not_late(service: Service) -> None:
    # As when other work holds the event loop: then the client is not the one that is slow.
    request = post(b"hello")
    with service.connect() as stream:
        stream.sendall(request[:-3])
        wait_until(lambda: service.app.echo.begun == 1)
        send_and_time_out(service, stream, request[-3:])
        assert read(stream, lambda data: data.endswith(b"hello")).startswith(b"HTTP/1.1 200")


def test_what_comes_when_the_time_is_over_does_not_put_it_off(service: Service) -> None:
    # Otherwise a client that sends endlessly, and faster than the server reads, would never be late.
    request = post(b"hello, world")
    with service.connect() as stream:
        stream.sendall(request[:-6])
        wait_until(lambda: service.app.echo.begun == 1)
        send_and_time_out(service, stream, request[-6:-3])
        wait_until(lambda: service.app.watch.buffered_bytes == len(b"hello, world") - 3)
        send_and_time_out(service, stream, request[-3:-1])
        assert read(stream).endswith(b"request-timeout")


def send_and_time_out(service: Service, stream: socket.socket, data: bytes) -> None:
    """Sends bytes, and lets the connection's time end while the bytes are received but not read."""
    held, looked = threading.Event(), threading.Event()

    def hold_up() -> None:
        [protocol] = service.server.server_state.connections
        held.set()  # nothing is read until this returns
        waiting = protocol.transport.get_extra_info("socket")
        wait_until(lambda: bool(select.select([waiting.fileno()], [], [], 0)[0]))
        protocol.timed_out()
        looked.set()

    service.loop.call_soon_threadsafe(hold_up)
    assert held.wait(10)
    stream.sendall(data)
    assert looked.wait(10)


def test_a_connection_too_many_is_told_and_closed(make_service: Callable[..., Service]) -> None:
    service = make_service(max_connections=2)
    with service.connect() as one, service.connect() as two:
        for stream in (one, two):
            stream.sendall(post(b"hello"))
            read(stream, lambda data: data.endswith(b"hello"))
        assert service.exchange(b"").startswith(b"HTTP/1.1 503")
    wait_until(lambda: not service.server.server_state.connections)
    assert service.exchange(post(b"hello", close=True)).endswith(b"hello")


@pytest.mark.parametrize(
    "path", [b"/health/live", b"/health/ready", b"/metrics", b"/health%2Flive?x", b"/ping", b"/health"]
)
@pytest.mark.parametrize("root", [b"", b"/axon", b"/a/b"])
def test_probes_are_answered_at_the_limit_behind_a_prefix_too(
    path: bytes, root: bytes, make_service: Callable[..., Service]
) -> None:
    service = make_service(max_connections=1, root_path=root)
    with service.connect() as one:
        one.sendall(post(b"hello"))
        read(one, lambda data: data.endswith(b"hello"))
        assert service.exchange(get(path)).startswith(b"HTTP/1.1 200"), "where the proxy takes the prefix away"
        assert service.exchange(get(root + path)).startswith(b"HTTP/1.1 200"), "and where it leaves it"
        for other in (b"/x" + path, root + root + b"/models", root + b"/", b"/axo" + path, b"/axonx" + path):
            assert service.exchange(get(other)).startswith(b"HTTP/1.1 503")


@pytest.mark.slow
def test_a_client_that_hangs_up_is_known_to_have(service: Service) -> None:
    service.app.echo.holds = True
    with service.connect() as stream:
        stream.sendall(post(b"hello"))
        wait_until(lambda: bool(service.app.echo.held))
        [exchange] = service.app.echo.held
        assert not exchange.disconnected
    wait_until(lambda: exchange.disconnected)
    service.release()
    wait_until(lambda: service.app.watch.buffered_bytes == 0)


def test_a_client_that_reads_no_answers_is_sent_no_more_than_a_few(service: Service) -> None:
    count, size = 200, 100_000
    with service.connect() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        request = post(b"x" * size)
        sender = threading.Thread(target=stream.sendall, args=(request * count,))
        sender.start()
        seen = -1
        while seen != service.app.echo.begun:  # until the number no longer changes
            seen = service.app.echo.begun
            threading.Event().wait(0.3)
        assert seen < count // 2
        received = 0
        while service.app.echo.begun < count or received < count * size:
            data = stream.recv(1 << 20)
            assert data, (received, service.app.echo.begun)
            received += len(data)
        sender.join()


def test_a_client_that_reads_no_answers_has_no_small_requests_answered_either(service: Service) -> None:
    echo = service.app.echo
    echo.holds = True
    with service.connect() as stream:
        stream.sendall(post(b"first") + post(b"long"))
        wait_until(lambda: bool(echo.held))
        [connection] = service.app.watch._connections
        echo.holds, echo.repeats = False, 4_000_000
        service.release()
        wait_until(lambda: connection.flow.write_paused)  # type: ignore[attr-defined]
        echo.repeats = 1
        stream.sendall(post(b"third") * 100)
        wait_until(lambda: connection.flow.read_paused or echo.begun > 2)  # type: ignore[attr-defined]
        assert echo.begun == 2
        received = read(stream, lambda data: data.endswith(b"third") and data.count(b"third") == 100)
    assert received.count(b"long") == 4_000_000


def test_a_client_that_never_reads_is_let_go(make_service: Callable[..., Service]) -> None:
    service = make_service(idle_seconds=0.3, max_body_bytes=20_000_000, max_buffered_bytes=20_000_000)
    with service.connect() as stream:
        stream.sendall(post(b"x" * 20_000_000))
        wait_until(lambda: service.app.echo.begun == 1)
        wait_until(lambda: not service.server.server_state.connections)


@pytest.mark.slow
def test_a_client_that_reads_slowly_is_not(make_service: Callable[..., Service]) -> None:
    size = 20_000_000
    service = make_service(idle_seconds=0.6, max_body_bytes=size, max_buffered_bytes=size)
    with service.connect() as stream:
        stream.sendall(post(b"x" * size))
        received = 0
        while received < size:  # for more than two seconds, with a bit every 0.1 s
            threading.Event().wait(0.1)
            bit = min(received + 800_000, size)
            while received < bit:
                data = stream.recv(50_000)
                assert data, received
                received += len(data)


def test_a_stopping_server_answers_what_has_come_in_part(make_service: Callable[..., Service]) -> None:
    service = make_service()
    service.app.echo.holds = True
    half_body, half_head = post(b"hello"), post(b"world")
    with service.connect() as body, service.connect() as head, service.connect() as held, service.connect() as silent:
        body.sendall(half_body[:-1])
        head.sendall(half_head[:10])
        held.sendall(post(b"there"))
        wait_until(lambda: service.app.echo.begun == 2 and len(service.server.server_state.connections) == 4)
        service.server.should_exit = True
        assert read(silent) == b""
        body.sendall(half_body[-1:])
        head.sendall(half_head[10:])
        wait_until(lambda: len(service.app.echo.held) == 3)
        service.release()
        for stream, expected in ((body, b"hello"), (head, b"world"), (held, b"there")):
            received = read(stream)
            assert received.endswith(expected)
            assert b"connection: close" in received


def test_who_has_just_connected_when_the_server_stops_may_still_ask(service: Service) -> None:
    with service.connect() as silent, service.connect() as asks:
        service.exchange(post(b"x", close=True))  # by now both are accepted
        service.server.should_exit = True
        wait_until(lambda: not service.listener_is_open())
        asks.sendall(post(b"late"))
        answer = read(asks)
        assert answer.endswith(b"late")
        assert b"connection: close" in answer
        began = time.monotonic()
        assert silent.recv(100) == b""
        assert time.monotonic() - began < 5
    service.stop()
