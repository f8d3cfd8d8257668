"""HTTP/1.1 by hand: bytes that no client library would send, and whatever comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 60
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(path: str, *headers: str) -> bytes:
    """A GET request's bytes."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def post(body: bytes, *headers: str, length: int | None = None, path: str = "/predict") -> bytes:
    """A POST request's bytes; `length` is what its Content-Length says, where that is not the truth."""
    length = len(body) if length is None else length
    lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join((*lines, *headers, "", "")).encode() + body


def chunked(*chunks: bytes, path: str = "/predict") -> bytes:
    """A POST request's bytes with its body in chunks, the last of which is missing: add `END_OF_CHUNKS`."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(map(chunk, chunks))


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    """One chunk."""
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


END_OF_CHUNKS = b"0\r\n\r\n"


class RawStream:
    """One connection. Whatever the peer does to it, `send` says whether it still takes bytes and `read_all` ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, source: str = "127.0.0.1") -> Self:
        """A new connection; `source` is the loopback address it comes from, each of which has its own ports."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.abort()

    async def send(self, data: bytes) -> bool:
        """Sends the bytes as fast as the peer takes them; False where it takes no more."""
        if self._writer.is_closing() or self._reader.at_eof() or self._reader.exception() is not None:
            return False
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return True

    async def answer(self, patience: float = PATIENCE_SECONDS) -> RawAnswer | None:
        """The next answer; None where the connection ended before one came.

        Raises:
            TimeoutError: neither happened.
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
        """Returns once the peer has closed the connection.

        Raises:
            TimeoutError: it did not.
        """
        async with asyncio.timeout(patience):
            try:
                while await self._reader.read(_READ_BYTES):
                    pass
            except OSError:
                pass

    @property
    def open(self) -> bool:
        """Whether the peer has not closed it, as far as has been heard."""
        return not (self._reader.at_eof() or self._reader.exception() or self._writer.is_closing())

    def pause(self) -> None:
        """From now on, nothing is read from the socket."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Reads again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Closes it at once, with a reset where bytes are under way."""
        self._writer.transport.abort()
