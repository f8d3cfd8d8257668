"""Large bodies that wait for memory: a client that expects 100 sends its body when admitted, not before."""

from __future__ import annotations

import gzip
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from echo_service import Echo, Service, get, post, read, wait_until

from service.errors import ReadingCongested
from service.http.body_gate import BodyGate, Entry
from service.http.exchange import Exchange

BODY = bytes(range(256)) * 400
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LONG_BODY = BODY * 9  # more than a server reads at once
FULL = 32 << 20
HELD_SECONDS = 0.2
PAUSE_SECONDS = 0.8


class _Placeholder:
    """Stands for the exchange of a body that uses all memory."""

    def hold_body(self) -> None:
        """Does nothing."""

    def release_body(self) -> None:
        """Does nothing."""


class GatedEcho(Echo):
    """An echo behind a body gate.

    Attributes:
        entries: entries of announced bodies, the first of which uses all memory.
        seconds: time until the deadline; a body is held for half of it at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate: BodyGate
        self.entries: list[Entry] = []
        self.seconds = 60.0

    def fill(self, service: Service) -> None:
        """Uses up the gate's memory."""
        self.gate = BodyGate(service.loop, lambda size: 0.0)
        self.entries = [self.gate.enter(_Placeholder(), FULL, 60, lambda: None)]  # type: ignore[arg-type]
        self.gate.has_come(self.entries[0])

    def begin(self, exchange: Exchange) -> None:
        super().begin(exchange)
        size = int(exchange.fields[b"content-length"])
        if size > 10:
            expired = partial(exchange.refuse_held, ReadingCongested(retry_after=1), PAUSE_SECONDS)
            self.entries.append(self.gate.enter(exchange, size, self.seconds, expired))

    def handle(self, exchange: Exchange) -> None:
        exchange.respond(200, b"text/plain", exchange.body)


@pytest.fixture
def gated(service: Service) -> Service:
    gate_echo(service)
    return service


def gate_echo(service: Service) -> GatedEcho:
    """Puts the echo of a service behind a gate without room."""
    echo = service.app.echo = GatedEcho()
    service.app.direct.add("POST", "/echo", echo)
    in_loop(service, lambda: echo.fill(service))
    return echo


def in_loop(service: Service, call: Callable[[], object]) -> None:
    done = threading.Event()
    service.loop.call_soon_threadsafe(lambda: (call(), done.set()))
    assert done.wait(10)


def echo_of(service: Service) -> GatedEcho:
    assert isinstance(service.app.echo, GatedEcho)
    return service.app.echo


def make_room(service: Service) -> None:
    echo = echo_of(service)
    in_loop(service, lambda: echo.gate.leave(echo.entries[0]))


def has_come(stream: socket.socket) -> bool:
    return bool(select.select([stream], [], [], 0)[0])


@pytest.mark.parametrize(
    "before", [b"", post(b"<first>"), get(b"/<first>") + post(b"<first>")], ids=["alone", "behind one", "behind two"]
)
@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_it_is_asked_for_its_body_when_that_is_let_in(gated: Service, before: bytes, coding: bytes | None) -> None:
    sent = gzip.compress(BODY, 0) if coding else BODY
    headers = [b"Expect: 100-continue", *([b"Content-Encoding: gzip"] if coding else [])]
    head = post(sent, *headers, close=True).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with gated.connect() as stream:
        stream.sendall(before + head)
        if before:
            read(stream, lambda data: data.count(b"<first>") == before.count(b"<first>"))
        wait_until(lambda: len(echo_of(gated).entries) == 2)
        gated.exchange(get(b"/<after>"), lambda data: data.endswith(b"<after>"))
        assert echo_of(gated).entries[1].is_held
        assert not has_come(stream)
        make_room(gated)
        assert read(stream, lambda data: data.endswith(b"\r\n\r\n")) == CONTINUE
        stream.sendall(sent)
        received = read(stream)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(b"\r\n\r\n" + BODY)
    assert gated.app.watch.buffered_bytes == 0


def test_one_that_is_refused_while_it_is_held_keeps_its_body(gated: Service) -> None:
    echo_of(gated).seconds = HELD_SECONDS
    head = post(BODY, b"Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    received = gated.exchange(head, lambda data: b"\r\n\r\n" in data)
    assert received.startswith(b"HTTP/1.1 429")
    assert b"100 Continue" not in received
    make_room(gated)
    assert echo_of(gated).gate.bytes == 0


def test_a_refused_client_keeps_its_connection_and_is_read_after_a_pause(gated: Service) -> None:
    echo_of(gated).seconds = HELD_SECONDS
    with gated.connect() as stream:
        sender = threading.Thread(target=stream.sendall, args=(post(LONG_BODY) + get(b"/<after>"),))
        began = time.monotonic()
        sender.start()
        received = read(stream, lambda data: data.endswith(b"<after>"))
        sender.join()
    assert time.monotonic() - began >= PAUSE_SECONDS
    assert received.startswith(b"HTTP/1.1 429")
    assert received.count(b"HTTP/1.1 200") == 1
    assert gated.app.watch.buffered_bytes == 0


def test_a_refused_client_of_a_body_too_large_to_drop_is_disconnected(gated: Service) -> None:
    echo_of(gated).seconds = HELD_SECONDS
    head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % FULL
    with gated.connect() as stream:
        stream.sendall(head)
        received = read(stream)
    assert received.startswith(b"HTTP/1.1 429")
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_a_refused_client_that_never_sends_the_rest_is_disconnected() -> None:
    service = Service(body_seconds=0.5)
    try:
        echo = gate_echo(service)
        echo.seconds = HELD_SECONDS
        received = service.exchange(post(BODY)[:-1])
    finally:
        service.stop()
    assert received.startswith(b"HTTP/1.1 429")
    assert received.count(b"HTTP/1.1") == 1


def test_a_client_is_disconnected_where_connections_are_many() -> None:
    service = Service(max_connections=2)
    try:
        gate_echo(service).seconds = HELD_SECONDS
        received = service.exchange(post(BODY)[:-1])
    finally:
        service.stop()
    assert received.startswith(b"HTTP/1.1 429")
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_a_refused_body_that_is_still_inflated_leaves_an_idle_connection() -> None:
    large = 256 << 20
    service = Service(max_body_bytes=large, max_buffered_bytes=large, idle_seconds=0.5)
    try:
        gate_echo(service).seconds = 0.02
        received = service.exchange(post(gzip.compress(bytes(large // 2), 9), b"Content-Encoding: gzip"))
    finally:
        service.stop()
    assert received.startswith(b"HTTP/1.1 429")
    assert b"connection: close" not in received.lower(), "the server closes the idle connection, and not at once"


def test_one_that_sends_without_waiting_is_answered_once(gated: Service) -> None:
    with gated.connect() as stream:
        request = post(BODY, b"Expect: 100-continue", close=True)
        sender = threading.Thread(target=stream.sendall, args=(request,))
        sender.start()
        wait_until(lambda: len(echo_of(gated).entries) == 2)
        make_room(gated)
        received = read(stream)
        sender.join()
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.count(b"100 Continue") <= 1
    assert received.endswith(BODY)


def test_one_that_leaves_while_it_is_held_harms_nothing(gated: Service) -> None:
    head = post(BODY, b"Expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with gated.connect() as stream:
        stream.sendall(head)
        wait_until(lambda: len(echo_of(gated).entries) == 2)
    make_room(gated)
    wait_until(lambda: not gated.server.server_state.connections)
    assert gated.app.watch.buffered_bytes == 0
