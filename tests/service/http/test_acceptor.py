"""Accepting connections: many per turn, an equal share for each process, and recovery from a lack of descriptors."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.http.connection_shares import ConnectionShares
from service.http.connection_watch import HttpLimits
from service.http.event_loop import EventLoop

LIMITS = HttpLimits(10, 10, 10, max_connections=1000, max_body_bytes=1, max_buffered_bytes=1)


class Echo(asyncio.Protocol):
    """A protocol that sends back the received bytes."""

    on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]

    def connection_lost(self, error: Exception | None) -> None:
        assert self.on_lost is not None
        self.on_lost()


@contextmanager
def echoing(shares: ConnectionShares, listener: socket.socket) -> Iterator[EventLoop]:
    """Runs an event loop in a thread that accepts connections on a listener."""
    ready, done = threading.Event(), asyncio.Event()
    loops: list[EventLoop] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, EventLoop)
        loop.prepare(shares.of(0), LIMITS, None)
        server = await loop.create_server(Echo, sock=listener)
        loops.append(loop)
        ready.set()
        await done.wait()
        server.close()
        await server.wait_closed()

    def run() -> None:
        with asyncio.Runner(loop_factory=EventLoop) as runner:
            runner.run(serve())

    with listener:
        thread = threading.Thread(target=run)
        thread.start()
        ready.wait()
        try:
            yield loops[0]
        finally:
            loops[0].call_soon_threadsafe(done.set)
            thread.join()


def wait_for_none(shares: ConnectionShares) -> None:
    """Waits until every connection has ended, because a loop that closes with open ones warns."""
    deadline = time.monotonic() + 20
    while shares.total():
        assert time.monotonic() < deadline, shares.total()
        time.sleep(0.005)


def make_listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    listener.setblocking(False)
    return listener


def test_a_turn_of_the_loop_accepts_many() -> None:
    listener = make_listener()
    address = listener.getsockname()
    shares = ConnectionShares(1)
    clients = [socket.create_connection(address, timeout=20) for _ in range(200)]  # the connections wait in the queue
    turns: list[int] = []
    with echoing(shares, listener) as loop:

        def count() -> None:
            turns.append(shares.total())
            if turns[-1] < 200:
                loop.call_soon(count)

        loop.call_soon_threadsafe(count)
        for client in clients:
            client.sendall(b"x")
            assert client.recv(10) == b"x"
        for client in clients:
            client.close()
        wait_for_none(shares)
    assert len(set(turns)) <= 10, f"200 connections take four turns of 64 at most: {turns}"


def test_the_count_of_connections_ends_at_nothing() -> None:
    listener = make_listener()
    address = listener.getsockname()
    shares = ConnectionShares(1)
    with echoing(shares, listener):
        for _ in range(50):
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(b"x")
                assert client.recv(10) == b"x"
        wait_for_none(shares)


def test_processes_that_take_turns_have_equal_shares() -> None:
    rng = random.Random(0)
    for processes in (2, 3, 4, 8):
        shares = ConnectionShares(processes)
        views = [shares.of(process) for process in range(processes)]
        for total in (16, 64, 500):
            held = [0] * processes
            while sum(held) < total:
                process = rng.randrange(processes)
                for _ in range(min(views[process].room(), total - sum(held))):
                    views[process].opened()
                    held[process] += 1
            assert max(held) - min(held) <= 1 + total // 16 + 1, (processes, total, held)
            for process, count in enumerate(held):
                for _ in range(count):
                    views[process].closed()


def test_a_process_that_does_not_look_is_passed_over_until_it_does() -> None:
    shares = ConnectionShares(2)
    here, hung = shares.of(0), shares.of(1)
    while here.room():
        here.opened()
    here.leave_to_others()
    here.pass_over_absent()
    assert here.room() > 1
    hung.room()
    assert here.room() == 0, "it is back, and has fewer"


FILES = 50  # for the loop itself, and for twenty connections and a few more


def test_an_accept_without_a_file_left_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    listener = make_listener()
    address = listener.getsockname()
    child = os.fork()
    if child == 0:  # the limit is the child's alone
        spare = [os.dup(listener.fileno()) for _ in range(FILES)]  # use up the lowest free numbers
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare[-1] + 1,) * 2)
        for file in spare:
            os.close(file)
        with echoing(ConnectionShares(1), listener):
            threading.Event().wait(30)
        os._exit(1)
    try:
        clients = [socket.create_connection(address, timeout=20) for _ in range(100)]
        for client in clients[:20]:
            client.sendall(b"x")
            assert client.recv(10) == b"x"
        for client in clients[:90]:
            client.close()
        for client in clients[90:]:
            client.sendall(b"x")
            assert client.recv(10) == b"x", "it was accepted once there was room"
            client.close()
        assert capfd.readouterr().out.count("run out of files") == 1, "a minute"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        listener.close()
