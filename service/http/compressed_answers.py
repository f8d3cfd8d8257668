"""ASGI middleware that compresses long answers for clients that accept compression."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.compression import VARY, CompressionBudget, Compressor, accepted_coding, compress, compressor

_WORTH_BYTES = 1024  # answers of these routes cost far more than their compression


class WithCompression:
    """Compresses answers: an answer in one piece at once, an answer in several pieces one by one.

    Args:
        app: application that answers.
        budget: budget of the process for compression on the event loop.
    """

    def __init__(self, app: ASGIApp, budget: CompressionBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        given = b"\n".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        takes_chunks = scope["http_version"] == "1.1"  # needed for an answer of unknown length
        await self._app(scope, receive, _Compressing(send, accepted_coding(given), takes_chunks, self._budget))


class _Compressing:
    """The `send` function of one request: keeps the start of an answer until the body has decided on compression."""

    def __init__(self, send: Send, coding: bytes | None, takes_chunks: bool, budget: CompressionBudget) -> None:
        self._send = send
        self._coding = coding
        self._takes_chunks = takes_chunks
        self._budget = budget
        self._stream: Compressor | None = None  # compressor of an answer in several pieces
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
        """Returns the message with its piece of the body compressed."""
        piece = message.get("body", b"")
        at_once = self._budget.take(len(piece))
        piece = stream.compress(piece) if at_once else await asyncio.to_thread(stream.compress, piece)
        return {**message, "body": piece if message.get("more_body") else piece + stream.flush()}


def _is_worth_it(start: Message, message: Message) -> bool:
    """Returns True if the body is long enough and has no coding yet."""
    if len(message.get("body", b"")) < _WORTH_BYTES:
        return False
    return "content-encoding" not in Headers(raw=start["headers"])


def _begin_stream(start: Message, coding: bytes) -> Compressor:
    """Changes the headers of an answer in several pieces, and returns the compressor."""
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"] = coding.decode()
    del headers["content-length"]
    start["headers"] = headers.raw
    return compressor(coding)


async def _compressed(start: Message, message: Message, coding: bytes, budget: CompressionBudget) -> Message:
    """Changes the headers of an answer in one piece, and returns the message with a compressed body."""
    body = message["body"]
    at_once = budget.take(len(body))
    smaller = compress(body, coding) if at_once else await asyncio.to_thread(compress, body, coding)
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"] = coding.decode()
    headers["content-length"] = str(len(smaller))
    start["headers"] = headers.raw
    return {**message, "body": smaller}
