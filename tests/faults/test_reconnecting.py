"""Clients that reconnect while the server stops, with and without proxies; new clients beside a thousand busy ones.

A connected client is answered, and a late one is refused: no accepted request is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import uvloop
from proxies import Proxy, Replica
from reconnecting import Outcome, ReconnectingClients
from serving import Server, running

from models.store import Store

pytestmark = pytest.mark.faults

STOPS = 5
BUSY_CLIENTS = 1000

Record = Callable[[object], None]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"takes {program}")


proxies = pytest.mark.parametrize("kind", [pytest.param(kind, marks=needs(kind)) for kind in ("nginx", "haproxy")])


def stop_under_load(server: Server, port: int, *, keep_alive: bool) -> Outcome:
    """Stops a server while clients reconnect to a port, which is the server's own or a proxy's."""
    with ReconnectingClients(port, keep_alive=keep_alive) as clients:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.ended(0)
        gone = clients.outcome.refused + clients.outcome.statuses.total()
        deadline = time.monotonic() + 5
        while clients.outcome.refused + clients.outcome.statuses.total() < gone + 16:  # one more try each
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return clients.outcome


@pytest.mark.parametrize("api_processes", [1, 2])
@pytest.mark.parametrize("keep_alive", [False, True], ids=["a connection a request", "until told to close"])
def test_no_request_of_clients_that_reconnect_is_lost(
    store: Store, tmp_path: Path, record: Record, keep_alive: bool, api_processes: int
) -> None:
    for _ in range(STOPS):
        server = Server(store.root, tmp_path, api_processes=api_processes)
        try:
            server.start()
            outcome = stop_under_load(server, server.port, keep_alive=keep_alive)
        finally:
            server.kill()
        record(outcome)
        assert not outcome.lost, outcome
        assert outcome.statuses.keys() == {200}


def test_a_second_api_process_does_not_slow_clients_that_reconnect(
    store: Store, tmp_path: Path, record: Record
) -> None:
    rates = []
    for api_processes in (1, 2):
        with running(store.root, tmp_path, api_processes=api_processes) as server:
            with ReconnectingClients(server.port) as clients:
                began, before = time.monotonic(), clients.outcome.statuses[200]
                time.sleep(2)
                rates.append((clients.outcome.statuses[200] - before) / (time.monotonic() - began))
            assert not clients.outcome.lost
    record(f"{rates[0]:.0f} answers/s with one API process, {rates[1]:.0f} with two")
    # On two cores, which the clients and a worker also use, two processes are a little slower than one. A process that
    # leaves connections to others for too long is five times slower.
    assert rates[1] > rates[0] / 2


@proxies
def test_behind_a_proxy_nothing_fails_that_was_accepted(
    store: Store, tmp_path: Path, record: Record, kind: str
) -> None:
    server = Server(store.root, tmp_path)
    try:
        server.start()
        with Proxy(kind, tmp_path, [server.port]) as proxy:
            outcome = stop_under_load(server, proxy.port, keep_alive=True)
            broken = proxy.broken()
        record(outcome)
        assert not outcome.lost, outcome
        assert not broken, "the proxy was refused a connection, and nothing else"
        # A proxy whose only server refuses has no other to ask: nginx answers 502, HAProxy 503.
        assert outcome.statuses.keys() == {200, 502 if kind == "nginx" else 503}, outcome
    finally:
        server.kill()


@proxies
def test_behind_a_proxy_that_has_a_second_server_no_client_notices(
    store: Store, tmp_path: Path, record: Record, kind: str
) -> None:
    server = Server(store.root, tmp_path)
    try:
        server.start()
        with Replica() as replica, Proxy(kind, tmp_path, [server.port, replica.port]) as proxy:
            outcome = stop_under_load(server, proxy.port, keep_alive=True)
            record(outcome)
            assert not outcome.lost, outcome
            assert outcome.statuses.keys() == {200}, outcome
            assert replica.answers
    finally:
        server.kill()


@contextlib.contextmanager
def busy_clients(port: int) -> Iterator[None]:
    """Opens connections that each send the next request as soon as a part of an answer arrives."""
    body = orjson.dumps({"model": "price", "instances": [[100, 3]] * 20})
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    class Busy(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.send()

        def data_received(self, data: bytes) -> None:
            self.send()

        def send(self) -> None:
            self.transport.write(request)  # type: ignore[attr-defined]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        made = [await loop.create_connection(Busy, "127.0.0.1", port) for _ in range(BUSY_CLIENTS)]
        up.set()
        while not done.is_set():
            await asyncio.sleep(0.1)
        for transport, _ in made:
            transport.abort()

    up, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: uvloop.run(run()), name="busy")
    thread.start()
    up.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_newcomers_are_answered_beside_a_thousand_that_burst(store: Store, tmp_path: Path, record: Record) -> None:
    body = orjson.dumps({"model": "price", "instances": [[100, 3]]})
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    waits = []
    with running(store.root, tmp_path) as server, busy_clients(server.port):
        for _ in range(10):
            began = time.monotonic()
            with contextlib.ExitStack() as stack:
                streams = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
                    for _ in range(20)
                ]
                for stream in streams:
                    stream.sendall(request)
                for stream in streams:
                    assert stream.recv(65536).startswith(b"HTTP/1.1 ")
                    waits.append(time.monotonic() - began)
    record(f"newcomers waited {sum(waits) / len(waits):.2f} s on average, {max(waits):.2f} s at most")
    assert max(waits) < 2
