"""Clients with an account: each request ends as an answer, as an error or as nothing."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 10.0  # longer than any server here takes to give a request up
_RETRY_SECONDS = 0.02  # between two attempts to connect
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")


@dataclass(frozen=True)
class Answer:
    """The answer to a request: its HTTP status and its body."""

    status: int
    body: bytes


@dataclass(frozen=True)
class Sent:
    """A request that was sent.

    Attributes:
        at: moment of sending, in seconds of `time.monotonic`.
        status: HTTP status of the answer, or None if the connection broke or no answer came in time.
    """

    at: float
    status: int | None

    @property
    def answered(self) -> bool:
        """True if the request got an answer that is no error."""
        return self.status == 200


def make_request(path: str, body: bytes) -> bytes:
    """Returns the bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection to the server, which carries one request at a time.

    Attributes:
        open: False if the server has closed the connection or said that it closes it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._closes = False

    @classmethod
    async def to(cls, port: int) -> Connection:
        """Connects to a port of the loopback interface.

        Raises:
            OSError: the connection was refused, or not accepted in time.
        """
        opening = asyncio.open_connection("127.0.0.1", port, limit=2**20)
        return cls(*await asyncio.wait_for(opening, PATIENCE_SECONDS))

    @property
    def open(self) -> bool:
        """True if the server has neither closed the connection nor announced an end."""
        return not self._closes and not self._reader.at_eof() and not self._writer.is_closing()

    def send(self, request: bytes) -> None:
        """Sends a request; `answer` waits for the answer."""
        self._writer.write(request)

    async def answer(self) -> Answer | None:
        """Returns the answer to the request, or None if the connection broke or nothing came in time."""
        try:
            return await asyncio.wait_for(self._read(), PATIENCE_SECONDS)
        except (OSError, EOFError, ValueError):  # a TimeoutError is an OSError
            self._closes = True
            return None

    async def _read(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError(f"an answer without a length: {head!r}")
        self._closes = b"\r\nconnection: close" in head
        return Answer(int(head[9:12]), await self._reader.readexactly(int(length[1])))

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()


class Crowd:
    """Clients that each send one request after the other, as fast as the answers come.

    A client whose connection was closed connects again. Inside `async with` they run; at its end each waits for the
    answer to its last request.

    Args:
        port: port of the server.
        request: bytes of every request.
        clients: number of clients.

    Attributes:
        sent: requests that have ended, in the order of their ends.
        refused: number of attempts to connect that failed; no request was sent then.
    """

    def __init__(self, port: int, request: bytes, clients: int) -> None:
        self.sent: list[Sent] = []
        self.refused = 0
        self._port = port
        self._request = request
        self._clients = clients
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        connection: Connection | None = None
        while not self._stopping:
            if connection is not None and not connection.open:
                connection.close()
                connection = None
            if connection is None:
                connection = await self._connect()
                continue
            at = time.monotonic()
            connection.send(self._request)
            answer = await connection.answer()
            self.sent.append(Sent(at, answer.status if answer is not None else None))
            await asyncio.sleep(0)  # the loop sees whether the server has closed the connection
        if connection is not None:
            connection.close()

    async def _connect(self) -> Connection | None:
        try:
            return await Connection.to(self._port)
        except OSError:
            self.refused += 1
            await asyncio.sleep(_RETRY_SECONDS)
            return None
