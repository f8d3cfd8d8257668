"""An ASGI application whose answers are compressed where the client asks for it and they are long enough."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.compression import THREAD_BYTES, VARY, Compressor, accepted_coding, compress, compressor

_WORTH_BYTES = 1024  # these routes cost far more than compressing their answers does


class WithCompression:
    """Compresses answers, those in one piece at once, and those in several as they come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        given = b"\n".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        takes_chunks = scope["http_version"] == "1.1"  # as an answer has to come whose length is not known
        await self._app(scope, receive, _Compressing(send, accepted_coding(given), takes_chunks))


class _Compressing:
    """The `send` of one request: holds the start of an answer until its body says whether it is compressed."""

    def __init__(self, send: Send, coding: bytes | None, takes_chunks: bool) -> None:
        self._send = send
        self._coding = coding
        self._takes_chunks = takes_chunks
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
                    message = await _compressed(start, message, self._coding)
                elif self._takes_chunks:
                    self._stream = _begin_stream(start, self._coding)
            await self._send(start)
        if self._stream is not None:
            piece = self._stream.compress(message.get("body", b""))
            message = {**message, "body": piece if message.get("more_body") else piece + self._stream.flush()}
        await self._send(message)


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


async def _compressed(start: Message, message: Message, coding: bytes) -> Message:
    body = message["body"]
    smaller = compress(body, coding) if len(body) < THREAD_BYTES else await asyncio.to_thread(compress, body, coding)
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["content-encoding"] = coding.decode()
    headers["content-length"] = str(len(smaller))
    start["headers"] = headers.raw
    return {**message, "body": smaller}
