"""An ASGI application whose answers are compressed where the client asks for it and they are long enough."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.compression import VARY, CompressionBudget, Compressor, accepted_coding, compress, compressor

_WORTH_BYTES = 1024  # these routes cost far more than compressing their answers does


class WithCompression:
    """Compresses answers, those in one piece at once, and those in several as they come.

    Args:
        app: application below, whose answers are compressed.
        budget: bytes that are compressed on the event loop, of these answers and all others of the process.
    """

    def __init__(self, app: ASGIApp, budget: CompressionBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        given = b"\n".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        takes_chunks = scope["http_version"] == "1.1"  # as an answer has to come whose length is not known
        await self._app(scope, receive, _Compressing(send, accepted_coding(given), takes_chunks, self._budget))


class _Compressing:
    """The `send` of one request: holds the start of an answer until its body says whether it is compressed."""

    def __init__(self, send: Send, coding: bytes | None, takes_chunks: bool, budget: CompressionBudget) -> None:
        self._send = send
        self._coding = coding
        self._takes_chunks = takes_chunks
        self._budget = budget
        self._stream: Compressor | None = None  # of an answer in several pieces
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], VARY]
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            if self._coding is not None and _is_worth_it(start, message):
                if not message.get("more_body"):
                    message = await _compressed(start, message, self._coding, self._budget)
                elif self._takes_chunks:
                    self._stream = _begin_stream(start, self._coding)
            await self._send(start)
        if self._stream is not None:
            message = await self._next_piece(self._stream, message)
        await self._send(message)

    async def _next_piece(self, stream: Compressor, message: Message) -> Message:
        piece = message.get("body", b"")
        at_once = self._budget.take(len(piece))
        piece = stream.compress(piece) if at_once else await asyncio.to_thread(stream.compress, piece)
        return {**message, "body": piece if message.get("more_body") else piece + stream.flush()}


def _is_worth_it(start: Message, message: Message) -> bool:
    if len(message.get("body", b"")) < _WORTH_BYTES:
        return False
    return "content-encoding" not in Headers(raw=start["headers"])


def _begin_stream(start: Message, coding: bytes) -> Compressor:
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"] = coding.decode()
    del headers["content-length"]
    start["headers"] = headers.raw
    return compressor(coding)


async def _compressed(start: Message, message: Message, coding: bytes, budget: CompressionBudget) -> Message:
    body = message["body"]
    at_once = budget.take(len(body))
    smaller = compress(body, coding) if at_once else await asyncio.to_thread(compress, body, coding)
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"] = coding.decode()
    headers["content-length"] = str(len(smaller))
    start["headers"] = headers.raw
    return {**message, "body": smaller}
