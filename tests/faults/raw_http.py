"""HTTP/1.1 by hand: bytes that no client library would send, and their answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 60
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class RawAnswer:
    """One answer as received."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(path: str, *headers: str) -> bytes:
    """Returns the bytes of a GET request."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def post(body: bytes, *headers: str, length: int | None = None, path: str = "/predict") -> bytes:
    """Returns the bytes of a POST request.

    Args:
        body: body of the request.
        headers: lines of further header fields.
        length: value of Content-Length; None for the true length.
        path: path of the request.
    """
    length = len(body) if length is None else length
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join((*lines, *headers, "", "")).encode() + body


def chunked(*chunks: bytes, path: str = "/predict") -> bytes:
    """Returns the bytes of a POST request in chunks, without the last: add `END_OF_CHUNKS`."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(map(chunk, chunks))


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """Returns one chunk."""
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


END_OF_CHUNKS = b"0\r\n\r\n"


class RawStream:
    """One connection. After any end of the connection, `send` returns False and `read_all` ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> Self:
        """Opens a connection from a loopback address; each address has its own range of ports."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.abort()

    async def send(self, data: bytes) -> bool:
        """Sends bytes at the peer's pace; returns False if the peer takes no more."""
        if self._writer.is_closing() or self._reader.at_eof() or self._reader.exception() is not None:
            return False
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return True

    async def answer(self, patience: float = PATIENCE_SECONDS) -> RawAnswer | None:
        """Returns the next answer, or None if the connection ended first.

        Raises:
            TimeoutError: neither happened in time.
        """
        async with asyncio.timeout(patience):
            try:
                head = await self._reader.readuntil(b"\r\n\r\n")
                status, *lines = head.decode("latin-1").split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await self._reader.readexactly(int(headers.get("content-length", 0)))
            except (asyncio.IncompleteReadError, OSError):
                return None
        return RawAnswer(int(status.split()[1]), headers, body)

    async def ended(self, patience: float = PATIENCE_SECONDS) -> None:
        """Returns when the peer has closed the connection.

        Raises:
            TimeoutError: the connection is still open.
        """
        async with asyncio.timeout(patience):
            try:
                while await self._reader.read(_READ_BYTES):
                    pass
            except OSError:
                pass

    @property
    def open(self) -> bool:
        """True if the peer is not known to have closed the connection."""
        return not (self._reader.at_eof() or self._reader.exception() or self._writer.is_closing())

    def pause(self) -> None:
        """Stops reading from the socket."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Reads from the socket again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Closes the connection at once, with a reset if bytes are in flight."""
        self._writer.transport.abort()
