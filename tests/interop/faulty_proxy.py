"""A proxy in front of a server of S3's protocol that answers slowly, wrongly, half, or not at all."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

Fault = Literal["slow", "500", "garbage", "half", "other bytes", "cut"]

SLOW_SECONDS = 1.0
_PASSED_ON = ("content-type", "content-length", "content-range", "etag", "last-modified")


class FaultyProxy:
    """A proxy for the length of a `with` block.

    Args:
        port: port of the server on the loopback interface.

    Attributes:
        fault: function that returns the fault of a request by method and path; None for a true answer.
        requests: method and path of each request so far.
        most_at_once: largest number of requests that were open at the same time.
    """

    def __init__(self, port: int) -> None:
        self.fault: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []
        self.most_at_once = 0
        self._open = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextlib.contextmanager
    def counted(self, method: str, path: str):
        """Counts open requests."""
        with self._lock:
            self.requests.append((method, path))
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1


def _handler(proxy: FaultyProxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _pass_on(self) -> None:
            with proxy.counted(self.command, self.path), contextlib.suppress(OSError):
                self._answer(proxy.fault(self.command, self.path))

        def _answer(self, fault: Fault | None) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if fault == "cut":
                self.close_connection = True
                return
            if fault == "500":
                self._send(500, {}, b"<Error><Code>InternalError</Code><Message>AKIA-in-the-body</Message></Error>")
                return
            if fault == "slow":
                time.sleep(SLOW_SECONDS)
            upstream = HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
            except (OSError, HTTPException):
                self.close_connection = True
                return
            finally:
                upstream.close()
            headers = {name: value for name, value in answer.getheaders() if name.lower() in _PASSED_ON}
            if fault == "garbage":
                headers.pop("content-length", None)
                headers.pop("Content-Length", None)
                self._send(answer.status, headers, b"<html>\x00\xff a page of somebody's proxy")
                return
            if fault == "other bytes" and content:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._send(answer.status, headers, content, half=fault == "half")

        def _send(self, status: int, headers: dict[str, str], content: bytes, *, half: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            length = headers.get("Content-Length", len(content)) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    return Handler
