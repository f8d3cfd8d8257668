"""A real server over `LaneProtocol` with one direct path that echoes, and clients that send bytes by hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop

from service.http.connection_watch import ConnectionWatch, HttpLimits
from service.http.direct_routes import DirectRoutes
from service.http.exchange import Exchange
from service.http.lane_protocol import LaneProtocol
from service.http.problems import problem_of


class Echo:
    """A direct path that answers with the request's body, now or on `release`, and refuses `X-Refuse: 1`."""

    def __init__(self) -> None:
        self.held: list[Exchange] = []
        self.holds = False
        self.repeats = 1  # makes an answer longer than its request
        self.begun = 0

    def begin(self, exchange: Exchange) -> None:
        self.begun += 1
        exchange.request_id = b"id"
        if (b"x-refuse", b"1") in exchange.headers:
            exchange.respond(403, b"text/plain", b"refused")

    def handle(self, exchange: Exchange) -> None:
        if self.holds:
            self.held.append(exchange)
        else:
            exchange.respond(200, b"text/plain", exchange.body * self.repeats)

    def refuse(self, exchange: Exchange, error: Exception) -> None:
        problem = problem_of(error)
        exchange.respond(problem.status, b"text/plain", problem.code.encode())


class App:
    """An ASGI application that answers with the request's path, and the direct path POST /echo."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.direct = DirectRoutes()
        self.direct.add("POST", "/echo", self.echo)
        self.watch: ConnectionWatch

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = scope["path"].encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Service:
    """A real server in a thread, and its clients."""

    def __init__(self, **limits: float | bytes) -> None:
        defaults: dict[str, Any] = {
            "header_seconds": 30,
            "body_seconds": 30,
            "idle_seconds": 30,
            "max_connections": 100,
            "max_body_bytes": 1_000_000,
            "max_buffered_bytes": 2_000_000,
        }
        self.app = App()
        self.refused = 0
        self.app.watch = ConnectionWatch(HttpLimits(**defaults | limits), self._count_refused)
        config = uvicorn.Config(
            self.app, http=LaneProtocol, ws="none", lifespan="off", log_config=None, loop="uvloop", proxy_headers=False
        )
        self.server = uvicorn.Server(config)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.loop: asyncio.AbstractEventLoop
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_until(lambda: self.server.started)

    def _count_refused(self) -> None:
        self.refused += 1

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            await self.server.serve([self.listener])

        with contextlib.closing(self.listener), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def exchange(self, data: bytes, until: Callable[[bytes], bool] | None = None) -> bytes:
        """Sends bytes on a new connection; returns the answer until the server closes or the condition holds."""
        with self.connect() as stream:
            stream.sendall(data)
            return read(stream, until)

    def release(self) -> None:
        """Answers the held requests and returns when that is done."""
        released = threading.Event()

        def answer() -> None:
            held, self.app.echo.held = self.app.echo.held, []
            for exchange in held:
                exchange.respond(200, b"text/plain", exchange.body)
            released.set()

        self.loop.call_soon_threadsafe(answer)
        assert released.wait(10)

    def listener_is_open(self) -> bool:
        return self.listener.fileno() >= 0

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def read(stream: socket.socket, until: Callable[[bytes], bool] | None = None) -> bytes:
    received = b""
    while until is None or not until(received):
        data = stream.recv(65536)
        if not data:
            assert until is None, received
            break
        received += data
    return received


def post(body: bytes, *headers: bytes, path: bytes = b"/echo", close: bool = False) -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, *([b"Connection: close"] if close else []), b"", body])


def get(path: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path
