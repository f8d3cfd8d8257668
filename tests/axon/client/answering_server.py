"""A server on a real socket, with answers from a function of the test, and a record of all requests."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

ANSWER = {"model": "m", "version": 1, "predictions": [1.5]}


@dataclass
class Recorded:
    """A recorded request.

    Attributes:
        line: first line.
        headers: headers, with names in lower case.
        body: body of the request.
    """

    line: str
    headers: dict[str, str]
    body: bytes


class Last(bytes):
    """Bytes after which the server closes the connection."""


@dataclass
class AnsweringServer:
    """A server that takes each answer from a function of the number of the request, counted from 0.

    Attributes:
        answer: function that returns the bytes of an answer; None closes the connection without an answer.
        requests: requests so far.
        connections: number of connections so far.
    """

    answer: Callable[[int, Recorded], bytes | None]
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Ends all connections and threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            try:
                while (recorded := _read(reader)) is not None:
                    with self._lock:
                        number = len(self.requests)
                        self.requests.append(recorded)
                    if (answer := self.answer(number, recorded)) is None:
                        break
                    connection.sendall(answer)
                    if isinstance(answer, Last):
                        break
            except OSError:
                pass
            with self._lock:
                self._open.discard(connection)


def _read(reader: BinaryIO) -> Recorded | None:
    line = reader.readline().decode()
    if not line:
        return None
    headers = {}
    while (text := reader.readline().decode().strip()) != "":
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    return Recorded(line.strip(), headers, reader.read(int(headers.get("content-length", 0))))


def response(status: int, body: object = None, **headers: str) -> bytes:
    """Returns the bytes of an answer: a JSON document, or an unchanged text."""
    content = body.encode() if isinstance(body, str) else json.dumps(ANSWER if body is None else body).encode()
    fields = {"content-length": str(len(content)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + content


def problem(status: int, code: str, detail: str = "Something.", **more: object) -> dict[str, object]:
    """Returns a problem document of Axon."""
    return {"type": f"urn:axon:problem:{code}", "status": status, "detail": detail, "request_id": "r-1", **more}


@contextmanager
def answering(answer: Callable[[int, Recorded], bytes | None]) -> Iterator[AnsweringServer]:
    """Runs a server for the length of a block."""
    server = AnsweringServer(answer)
    try:
        yield server
    finally:
        server.close()
